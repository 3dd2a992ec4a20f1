"""The code as a reader of it sees it: files, their lengths, what they import, and private names. Nothing is imported.

code = CodeMap.read()
code.imports["patchlake.tasks.keys"]     # modules that this one imports, lazily too; not under TYPE_CHECKING
cycles(code.imports)                     # groups of modules that import each other in a circle
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TOPS = ("flows", "tasks", "cluster")
Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class Definition:
    """A function or a class, with its length in lines."""

    place: str
    is_class: bool
    lines: int


@dataclass(frozen=True)
class CodeMap:
    """Parsed source files of the package by module name."""

    trees: Mapping[str, ast.Module]
    paths: Mapping[str, Path]

    @classmethod
    def read(cls) -> CodeMap:
        """Parse every file of the package."""
        files = [ROOT / "__init__.py", *(path for top in TOPS for path in sorted((ROOT / top).rglob("*.py")))]
        paths = {_module_name(path): path for path in files}
        return cls({name: ast.parse(path.read_text()) for name, path in paths.items()}, paths)

    @cached_property
    def imports(self) -> Graph:
        """Module -> modules of this package that it imports anywhere, not counting those for type checkers alone."""
        return {name: set(self._imported(name, tree)) - {name} for name, tree in self.trees.items()}

    @property
    def folders(self) -> set[str]:
        """Dotted names of the package's folders."""
        return {name for name, path in self.paths.items() if path.name == "__init__.py"}

    @property
    def lines(self) -> dict[str, int]:
        """File -> its number of lines; `__init__` files without code are left out."""
        counts = {path: len(path.read_text().splitlines()) for path in self.paths.values()}
        return {str(p.relative_to(ROOT)): n for p, n in counts.items() if p.name != "__init__.py" or n > 5}

    def definitions(self) -> Iterator[Definition]:
        """Yield every function and class with its length, decorators included."""
        for name, tree in self.trees.items():
            path = self.paths[name].relative_to(ROOT)
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                    length = (node.end_lineno or node.lineno) - first + 1
                    yield Definition(f"{path}:{first} {node.name}", isinstance(node, ast.ClassDef), length)

    def private_names(self) -> set[str]:
        """Return names with one leading underscore that the package defines: functions, variables, attributes."""
        found = set()
        for tree in self.trees.values():
            for node in ast.walk(tree):
                match node:
                    case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                        found.add(name)
                    case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                        found.add(name)
        return {name for name in found if is_private(name)}

    def sibling_graphs(self) -> Iterator[tuple[str, Graph]]:
        """Yield each folder with the imports between its parts: files, and folders with all that is below them."""
        for folder in sorted(self.folders):
            graph: dict[str, set[str]] = {}
            for name, imported in self.imports.items():
                if (part := _part_of(name, folder)) is None:
                    continue
                others = {_part_of(other, folder) for other in imported}
                graph.setdefault(part, set()).update(other for other in others if other not in (None, part))
            yield folder, graph

    def _imported(self, name: str, tree: ast.Module) -> Iterator[str]:
        for node in _without_type_checking(tree):
            match node:
                case ast.Import(names=names):
                    yield from (found for alias in names if (found := self._known(alias.name)))
                case ast.ImportFrom(module=str(module), names=names) if module.startswith("patchlake"):
                    for alias in names:
                        inner = f"{module}.{alias.name}"
                        yield inner if inner in self.trees else module
                case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(module)), *_]):
                    yield from filter(None, [self._known(module)])

    def _known(self, module: str) -> str | None:
        return module if module in self.trees else None


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("patchlake", *(part for part in parts if part != "__init__")))


def _part_of(name: str, folder: str) -> str | None:
    """Return which part of a folder a module belongs to; None where it lies elsewhere."""
    if name == folder:
        return "__init__"
    return name.removeprefix(f"{folder}.").split(".")[0] if name.startswith(f"{folder}.") else None


def _without_type_checking(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield other
                yield from _without_type_checking(other)
            continue
        yield node
        yield from _without_type_checking(node)


def is_private(name: str) -> bool:
    """Whether a name begins with exactly one underscore and says something."""
    return name.startswith("_") and not name.startswith("__") and name != "_"


def cycles(graph: Graph) -> list[list[str]]:
    """Return the strongly connected components of more than one node (Tarjan), each sorted."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in graph.get(node, ()):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            at = stack.index(node)
            group, stack[at:] = stack[at:], []
            if len(group) > 1:
                found.append(sorted(group))

    for node in graph:
        if node not in index:
            visit(node)
    return sorted(found)
