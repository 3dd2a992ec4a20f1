"""The documented Kubernetes example: valid by the operator's own schemas. That is not to say that it runs."""

import copy
import re
from pathlib import Path

import dask_kubernetes
import jsonschema
import pytest
import yaml
from dask_kubernetes.operator import KubeCluster, make_cluster_spec

from patchlake.cluster.kinds.custom import ClassSpec, class_of
from patchlake.cluster.kinds.registry import parse
from patchlake.cluster.worker.options import options_of, parser

DOCS = Path(__file__).parents[3] / "docs" / "clusters.md"
CRDS = Path(dask_kubernetes.__file__).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"
NOT_OF_THE_SPEC = {"namespace"}


def strict(schema):
    """Forbid unknown keys wherever the schema names keys."""
    if isinstance(schema, dict):
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            strict(value)
    elif isinstance(schema, list):
        for value in schema:
            strict(value)
    return schema


@pytest.fixture(scope="module")
def validator():
    crd = yaml.safe_load((CRDS / "daskcluster.yaml").read_text())
    schema = strict(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
    return jsonschema.Draft7Validator(schema)


@pytest.fixture(scope="module")
def example():
    blocks = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    (text,) = (block for block in blocks if "KubeCluster" in block)
    return yaml.safe_load(text)["cluster"]


def resource(example):
    options = {name: value for name, value in example["options"].items() if name not in NOT_OF_THE_SPEC}
    return make_cluster_spec(**options)


def test_the_example_is_valid(validator, example):
    spec = parse(example)
    assert isinstance(spec, ClassSpec)
    assert class_of(spec.kind) is KubeCluster
    assert spec.size() == (1, 8)
    assert [error.message for error in validator.iter_errors(resource(example))] == []


def test_its_pods_run_our_worker(example, monkeypatch):
    (container,) = resource(example)["spec"]["worker"]["spec"]["containers"]
    assert container["args"][:2] == ["patchlake", "worker"]
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", "tcp://patchlake-scheduler:8786")
    options = options_of(parser().parse_args(container["args"][2:]))
    assert options.scheduler == "tcp://patchlake-scheduler:8786"
    assert options.workers == 1


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec["worker"].update(replicas="two"),
        lambda spec: spec["worker"]["spec"]["containers"][0].update(resource={}),
        lambda spec: spec["scheduler"].pop("service"),
        lambda spec: spec["worker"]["spec"]["containers"][0].update(resources={"limits": {"nvidia.com/gpu": [1]}}),
    ],
)
def test_mistakes_are_found(validator, example, spoil):
    broken = copy.deepcopy(resource(example))
    spoil(broken["spec"])
    assert list(validator.iter_errors(broken))


def test_every_example_of_the_docs_is_a_cluster():
    blocks = [yaml.safe_load(b)["cluster"] for b in re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)]
    assert {parse(block).kind for block in blocks} == {
        "local", "slurm", "ssh", "address", "dask_kubernetes.operator.KubeCluster",
    }  # fmt: skip
