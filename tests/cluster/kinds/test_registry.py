"""Kinds by their names: those of other packages, hints for misspelt words, local paths relative to a folder."""

import textwrap

import jobs
import pytest
from pydantic import ValidationError

from patchlake.cluster.connect import connect
from patchlake.cluster.errors import ClusterError
from patchlake.cluster.kinds.registry import KINDS, parse, register

BORROWED = """
from contextlib import contextmanager
from typing import Literal

from distributed import Client, LocalCluster

from patchlake.cluster.spec import ClusterSpec


class BorrowedSpec(ClusterSpec):
    "Workers in this process, as somebody else's package would start theirs."

    kind: Literal["borrowed"] = "borrowed"
    hands: int = 1

    def size(self):
        return self.hands, self.hands

    @contextmanager
    def open(self, name):
        options = {"threads_per_worker": 1, "processes": False, "dashboard_address": "127.0.0.1:0"}
        with LocalCluster(n_workers=self.hands, **options) as cluster, Client(cluster, set_as_default=False) as client:
            yield client


not_a_kind = 3
"""


@pytest.fixture(autouse=True)
def _another_package(tmp_path, monkeypatch):
    """A module that can be imported, and a registry that forgets it after the test."""
    (tmp_path / "borrowed_kind.py").write_text(textwrap.dedent(BORROWED))
    monkeypatch.syspath_prepend(tmp_path)
    before = dict(KINDS)
    yield
    KINDS.clear()
    KINDS.update(before)


def test_a_kind_of_another_package_runs_items():
    register("borrowed", "borrowed_kind:BorrowedSpec")
    spec = parse({"kind": "borrowed", "hands": 2})
    assert spec.size() == (2, 2)
    with connect(spec) as cluster:
        assert sorted(outcome.result for outcome in cluster.run(jobs.double, range(10))) == list(range(0, 20, 2))
        assert cluster.num_workers == cluster.size == 2


def test_a_class_can_be_registered_itself_and_twice():
    from borrowed_kind import BorrowedSpec

    for _ in range(2):
        register("borrowed", BorrowedSpec)
    assert parse({"kind": "borrowed"}) == BorrowedSpec()


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ClusterError, match=r"'slurm' names patchlake\..*QueueSpec already.*borrowed_kind:BorrowedSpec"):
        register("slurm", "borrowed_kind:BorrowedSpec")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("nowhere:Spec", r"'broken' is nowhere:Spec, which can't be imported \(No module named 'nowhere'\)"),
        ("borrowed_kind:Other", "'broken' is borrowed_kind:Other, which can't be imported"),
        ("borrowed_kind:not_a_kind", "'broken' is borrowed_kind:not_a_kind: expected a subclass of ClusterSpec"),
    ],
)
def test_a_kind_that_can_t_be_imported_is_named(model, said):
    register("broken", model)
    with pytest.raises(ClusterError, match=said):
        parse({"kind": "broken"})


@pytest.mark.parametrize(
    ("given", "place", "hint"),
    [
        ({"kind": "slrum"}, ("kind",), "unknown kind, got 'slrum'; did you mean slurm? expected one of: local, ssh"),
        ({"kind": 3}, ("kind",), "unknown kind, got 3; expected one of: local"),
        ({"wrokers": 2}, ("wrokers",), "unknown key, got 2; did you mean workers? expected one of: "),
        ({"kind": "slurm", "prolog": []}, ("prolog",), "did you mean prologue? expected one of: "),
        ({"kind": "address", "adress": "x"}, ("adress",), "did you mean address? expected one of: "),
        ({"kind": "borrowed", "hand": 2}, ("hand",), "unknown key, got 2; did you mean hands? expected one of: kind,"),
    ],
)
def test_a_misspelt_kind_or_key_gets_a_hint(given, place, hint):
    register("borrowed", "borrowed_kind:BorrowedSpec")
    with pytest.raises(ValidationError) as caught:
        parse(given)
    (error,) = caught.value.errors()
    assert error["loc"] == place
    assert hint in str(error["ctx"]["error"])


def test_unknown_keys_deeper_down_are_placed_and_known_ones_listed():
    with pytest.raises(ValidationError) as caught:
        parse({"tls": {"ca": "a", "cert": "b", "kye": "c"}})
    places = {error["loc"]: error for error in caught.value.errors()}
    (sentence,) = [str(error["ctx"]["error"]) for place, error in places.items() if place[-1] == "kye"]
    assert sentence == "unknown key, got 'c'; did you mean key? expected one of: ca, cert, key"


@pytest.mark.parametrize(
    ("given", "paths"),
    [
        ({"tls": "certificates"}, {"tls": "/recipes/certificates"}),
        ({"tls": True}, {"tls": True}),
        ({"kind": "address", "scheduler_file": "../run/file"}, {"scheduler_file": "/run/file"}),
        ({"kind": "ssh", "hosts": ["a"], "key": "id", "known_hosts": "/etc/known"}, {"key": "/recipes/id"}),
        ({"kind": "ssh", "hosts": ["a"], "key": "~/id"}, {"key": "/home/me/id"}),
        ({"kind": "slurm", "folder": "jobs"}, {"folder": "/recipes/jobs"}),
        ({"kind": "slurm"}, {"folder": "~/.patchlake"}),
        ({"kind": "address", "address": "tcp://h:1"}, {"address": "tcp://h:1"}),
    ],
)
def test_local_paths_are_relative_to_the_base(given, paths, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    found = parse(given, base="/recipes")
    assert {name: getattr(found, name) for name in paths} == paths


def test_the_paths_of_certificates_are_local_too():
    found = parse({"tls": {"ca": "ca.pem", "cert": "c.pem", "key": "/k.pem"}}, base="/recipes")
    assert found.tls.model_dump() == {"ca": "/recipes/ca.pem", "cert": "/recipes/c.pem", "key": "/k.pem"}


def test_without_a_base_paths_stay_as_they_are():
    assert parse({"tls": "certificates"}).tls == "certificates"
