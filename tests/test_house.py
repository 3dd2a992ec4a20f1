"""How the code is laid out: sizes, circles, folders. Each test prints what breaks the rule."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from code_map import ROOT, CodeMap, cycles, is_private

MOST_LINES = {"file": 400, "function": 50, "class": 200}
MEDIAN_LINES = 110
MOST_MODULES = 12
"""At the top of tasks/, beside `__init__`."""
NAMED_TUPLE = {"_replace", "_asdict", "_fields", "_make"}
"""Public in spite of their names."""


@pytest.fixture(scope="module")
def code() -> CodeMap:
    return CodeMap.read()


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def held(offenders: list[str], rule: str) -> None:
    """Fail with every offender on a line of its own."""
    assert not offenders, "\n".join([f"{rule}:", *offenders])


def test_modules_do_not_import_each_other_in_circles(code: CodeMap) -> None:
    held([" <-> ".join(group) for group in cycles(code.imports)], "expected no circle, lazy imports counted")


def test_folders_do_not_import_each_other_in_circles(code: CodeMap) -> None:
    found = [f"{folder}: {' <-> '.join(g)}" for folder, graph in code.sibling_graphs() for g in cycles(graph)]
    held(found, "expected no circle between the parts of a folder")


def test_few_modules_stand_at_the_top_of_tasks() -> None:
    names = sorted(path.name for path in (ROOT / "tasks").glob("*.py") if path.name != "__init__.py")
    assert len(names) <= MOST_MODULES, names


def test_no_file_is_long(code: CodeMap) -> None:
    long = [f"{name}: {lines}" for name, lines in code.lines.items() if lines > MOST_LINES["file"]]
    held(long, f"expected files of at most {MOST_LINES['file']} lines")


def test_half_of_the_files_are_short(code: CodeMap) -> None:
    median = statistics.median(code.lines.values())
    print(f"median file: {median} lines of {len(code.lines)} files")
    assert median <= MEDIAN_LINES


@pytest.mark.parametrize("kind", ["function", "class"])
def test_no_function_and_no_class_is_long(code: CodeMap, kind: str) -> None:
    all_of_kind = [found for found in code.definitions() if found.is_class == (kind == "class")]
    long = [f"{found.place}: {found.lines}" for found in all_of_kind if found.lines > MOST_LINES[kind]]
    held(long, f"expected at most {MOST_LINES[kind]} lines a {kind}")


def test_every_folder_is_installed(code: CodeMap, project: dict[str, Any]) -> None:
    assert set(project["tool"]["setuptools"]["packages"]) == code.folders
    holding_code = {path.parent for top in ("flows", "tasks", "cluster") for path in (ROOT / top).rglob("*.py")}
    held([str(folder) for folder in holding_code if not (folder / "__init__.py").exists()], "expected an __init__.py")


@pytest.mark.parametrize("container", ["patchlake.tasks", "patchlake.flows", "patchlake.cluster"])
def test_the_ladder_of_imports_names_every_folder(code: CodeMap, project: dict[str, Any], container: str) -> None:
    contracts = project["tool"]["importlinter"]["contracts"]
    ladders = [contract for contract in contracts if container in contract.get("containers", [])]
    named = {part.strip(" ()") for ladder in ladders for layer in ladder["layers"] for part in _parts_of(layer)}
    folders = {name.split(".")[2] for name in code.folders if name.startswith(f"{container}.")}
    held(sorted(folders - named), f"expected every folder of {container} in a contract of layers")


def _parts_of(layer: str) -> list[str]:
    return layer.replace("|", ":").split(":")


def test_tests_use_public_names(code: CodeMap) -> None:
    private = code.private_names() - NAMED_TUPLE
    files = sorted((ROOT / "tests").rglob("*.py"))
    held([found for path in files for found in _private_uses(path, private)], "expected no private name of the code")


def _private_uses(path: Path, private: set[str]) -> Iterator[str]:
    """Yield where a test file imports, reads or patches a private name that the package defines."""
    where = path.relative_to(ROOT)
    tree = ast.parse(path.read_text())
    own = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)}
    for node in ast.walk(tree):
        match node:
            case ast.ImportFrom(module=str(module), names=names) if module.startswith("patchlake"):
                yield from (f"{where}:{node.lineno} {a.name}" for a in names if is_private(a.name))
            case ast.Attribute(value=value, attr=name) if name in private - own and ast.unparse(value) != "os":
                yield f"{where}:{node.lineno} .{name}"
            case ast.Call(func=ast.Attribute(attr="setattr"), args=[_, ast.Constant(value=str(name)), *_]):
                if is_private(name):
                    yield f"{where}:{node.lineno} {name!r}"


def test_the_picture_of_the_folders_is_as_they_are() -> None:
    done = subprocess.run([sys.executable, "docs/draw_house.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
