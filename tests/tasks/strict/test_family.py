"""A kind is named in a recipe, its options are its own, and other people's packages and modules add kinds."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field, TypeAdapter, ValidationError

from patchlake.tasks.errors import RecipeError
from patchlake.tasks.strict import Family, LocalPath, Name, Strict, sentences


class ToolOptions(Strict):
    """What every tool has."""

    name: Name = "tool"
    kind: str


class SawOptions(ToolOptions):
    """A saw."""

    teeth: Annotated[int, Field(ge=1)] = 10


class BookOptions(ToolOptions):
    """A book."""

    path: LocalPath


def saw(options: SawOptions, length: int) -> str:
    return f"{length} cm with {options.teeth} teeth"


TOOLS = Family(
    "tools",
    {"saw": (SawOptions, saw), "book": (BookOptions, lambda options: options.path), "late": ("no.such:X", "no.such:Y")},
    options=ToolOptions,
)
ENTRY: TypeAdapter[Any] = TypeAdapter(Annotated[ToolOptions, TOOLS])

DRILL = """
    from typing import Annotated
    from pydantic import Field
    from test_family_options import ToolOptions

    class Drill:
        class Options(ToolOptions):
            speed: Annotated[int, Field(ge=1)] = 3

        def __init__(self, options, length):
            self.said = (options.kind, options.speed, length)
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of modules and installed packages, forgotten afterwards."""
    known = set(sys.modules)
    shared = f"from {__name__} import ToolOptions" if __name__ in sys.modules else ""
    (tmp_path / "test_family_options.py").write_text(shared)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


def module(folder: Path, name: str, text: str = DRILL) -> None:
    (folder / f"{name}.py").write_text(textwrap.dedent(text))


def offer(folder: Path, **kinds: str) -> None:
    """Make a package that offers kinds, as pip installs one."""
    info = folder / "some_tools-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: some-tools\nVersion: 1.0\n")
    lines = "".join(f"{kind} = {at}\n" for kind, at in kinds.items())
    (info / "entry_points.txt").write_text(f"[patchlake.tools]\n{lines}")


def message(data: object) -> str:
    with pytest.raises(ValidationError) as caught:
        ENTRY.validate_python(data)
    return sentences(caught.value, prefix=("tools",))


def test_an_entry_is_a_word_or_a_mapping_or_a_kind_with_a_path() -> None:
    assert TOOLS.entry("saw") == SawOptions(kind="saw")
    assert TOOLS.entry({"kind": "saw", "teeth": 4}) == SawOptions(kind="saw", teeth=4)
    assert TOOLS.entry("book:a/b", Path("/base")) == BookOptions(kind="book", path="/base/a/b")
    assert TOOLS.entry("book:s3://b/c", Path("/base")) == BookOptions(kind="book", path="s3://b/c")


def test_entries_that_are_made_already_are_taken_and_written_as_their_own_options() -> None:
    entry = SawOptions(kind="saw", teeth=7)
    assert ENTRY.validate_python(entry) is entry
    assert ENTRY.dump_python(entry) == {"name": "tool", "kind": "saw", "teeth": 7}
    assert ENTRY.validate_json(ENTRY.dump_json(entry)) == entry


def test_builders_get_the_options_and_the_family_s_context() -> None:
    assert TOOLS.build(TOOLS.entry({"kind": "saw", "teeth": 2}), length=30) == "30 cm with 2 teeth"
    with pytest.raises(TypeError, match="expected an entry of a recipe's tools, got 3"):
        TOOLS.build(3)


@pytest.mark.parametrize(
    ("data", "parts"),
    [
        ("swa", ["tools: got kind 'swa'", "did you mean saw?", "'saw', 'book', 'late'"]),
        ({"kind": "boook"}, ["tools: got kind 'boook'", "did you mean book?"]),
        ({"kind": "zzz"}, ["tools: got kind 'zzz'; expected one of: 'saw'"]),
        ({"teeth": 3}, ["tools: got {'teeth': 3}", "`kind`", "'saw', 'book', 'late'"]),
        (3, ["tools: got 3", "a word or a mapping with `kind`"]),
        ({"kind": "saw", "tooth": 3}, ["tools.tooth: unknown key, got 3", "did you mean teeth?", "kind, name, teeth"]),
        ({"kind": "saw", "teeth": 0}, ["tools.teeth: got 0", "greater than or equal to 1"]),
        ({"kind": "book"}, ["tools.path: missing; expected a value"]),
        ({"kind": "saw", "teeth": 0, "tooth": 1}, ["tools.teeth: got 0", "tools.tooth: unknown key"]),
        ("nowhere:Thing", ["tools: got 'nowhere:Thing'", "a class in an importable module"]),
    ],
)
def test_what_is_wrong_is_said_with_what_there_is(data: object, parts: list[str]) -> None:
    text = message(data)
    assert [part for part in parts if part not in text] == [], text


def test_a_default_kind_may_be_left_out() -> None:
    family = Family("tools", {"saw": (SawOptions, saw)}, options=ToolOptions, default="saw")
    assert family.entry({"teeth": 5}) == SawOptions(kind="saw", teeth=5)


def test_a_kind_is_imported_only_where_it_is_named() -> None:
    assert TOOLS.ours == ("saw", "book", "late")
    with pytest.raises(ModuleNotFoundError, match="no"):
        TOOLS.entry("late")
    with pytest.raises(ModuleNotFoundError, match="no"):
        _ = TOOLS.get("late").builder


def test_a_part_of_a_family_takes_no_other_kinds(elsewhere: Path) -> None:
    offer(elsewhere, drill="drills:Drill")
    module(elsewhere, "drills")
    part = TOOLS.only("saw")
    assert part.entry("saw") == SawOptions(kind="saw")
    for kind in ("book", "drill", "drills:Drill"):
        with pytest.raises(RecipeError, match=f"got kind '{kind}'; expected one of: 'saw'$"):
            part.entry({"kind": kind})


def test_an_installed_package_offers_kinds_and_is_imported_only_where_one_is_named(elsewhere: Path) -> None:
    module(elsewhere, "drills")
    offer(elsewhere, drill="drills:Drill", saw="drills:Drill", broken="drills:Missing")
    assert TOOLS.names() == ["saw", "book", "late", "drill", "broken"]
    assert "did you mean drill?" in message("dril")
    assert TOOLS.entry("saw") == SawOptions(kind="saw"), "ours come first"
    assert "drills" not in sys.modules
    entry = TOOLS.entry({"kind": "drill", "speed": 8})
    assert TOOLS.build(entry, length=20).said == ("drill", 8, 20)
    assert "tools.speed: got 0" in message({"kind": "drill", "speed": 0})
    assert "broken is offered as drills:Missing by an installed package" in message("broken")


def test_a_class_without_options_takes_those_of_the_family(elsewhere: Path) -> None:
    module(elsewhere, "plain", "class Plain:\n    def __init__(self, options):\n        self.name = options.name\n")
    assert TOOLS.build(TOOLS.entry({"kind": "plain:Plain", "name": "p"})).name == "p"
    assert "unknown key" in message({"kind": "plain:Plain", "speed": 3})


def test_a_class_with_options_of_another_kind_is_refused(elsewhere: Path) -> None:
    module(elsewhere, "wrong", "class Wrong:\n    Options = dict\n")
    assert "wrong:Wrong: got options <class 'dict'>" in message("wrong:Wrong")


def test_a_module_may_lie_beside_the_recipe_and_another_process_finds_it(tmp_path: Path) -> None:
    """What is pickled here is unpickled where nothing is known of the folder."""
    module(
        tmp_path,
        "beside",
        """
        from patchlake.tasks.filters import FilterOptions

        class Mine:
            class Options(FilterOptions):
                amount: int = 1

            def __init__(self, options):
                self.amount = options.amount
        """,
    )
    program = """
        import pickle, sys
        from pathlib import Path
        from patchlake.tasks.strict import Family
        from patchlake.tasks.filters import FilterOptions
        family = Family("things", {}, options=FilterOptions)
        if len(sys.argv) > 1:
            sys.stdout.buffer.write(pickle.dumps(family.entry({"kind": "beside:Mine", "amount": 5}, Path(sys.argv[1]))))
        else:
            print(family.build(pickle.load(sys.stdin.buffer)).amount)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    written = subprocess.run([*command, str(tmp_path)], capture_output=True, check=True).stdout
    assert subprocess.run(command, input=written, capture_output=True, check=True).stdout == b"5\n"
