"""The floors of the house: who may import whom, and that the library is imported in functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
FLOORS = {
    "errors": 0,
    "optional": 1,
    "torch_threads": 1,
    "write_ahead": 1,
    "data": 2,
    "formats": 2,
    "models": 2,
    "layer_loading": 3,
    "snapshots": 3,
    "storage_writes": 3,
    "model_search": 4,
    "weight_transfer": 4,
}
"""Of bench_core, from the ground; a room imports from lower floors only."""
PACKAGES = ("bench_core", "harness", "benchmarks", "prevent_caching")
KNOWN = {
    "bench_core": {"bench_core"},
    "harness": {"bench_core", "harness", "prevent_caching"},
    "benchmarks": {"bench_core", "harness", "benchmarks", "prevent_caching"},
    "prevent_caching": {"prevent_caching"},
}


class Import(NamedTuple):
    module: str
    is_at_import: bool
    """Whether it happens when the module is imported: not in a function, not for types alone."""


def imports(tree: ast.AST, is_at_import: bool = True) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, is_at_import) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield Import(node.module, is_at_import)
            # ``from bench_core import formats`` names a room, too.
            yield from (Import(f"{node.module}.{alias.name}", is_at_import) for alias in node.names)
        else:
            is_later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or (
                isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
            )
            yield from imports(node, is_at_import and not is_later)


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "bench_core").parts[0].removesuffix(".py")


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_knows_those_that_it_may(package: str) -> None:
    for path in files(package):
        found = {item.module.partition(".")[0] for item in imports(ast.parse(path.read_text()))}
        assert found.intersection(PACKAGES) <= KNOWN[package], path


def test_a_room_imports_from_lower_floors_only() -> None:
    for path in files("bench_core"):
        own = room_of(path)
        if own == "__init__":
            continue
        for item in imports(ast.parse(path.read_text())):
            package, _, rest = item.module.partition(".")
            other = rest.partition(".")[0]
            if package == "bench_core" and other not in ("", own):
                assert other in FLOORS, f"{path}: the room {other} has no floor"
                assert FLOORS[other] < FLOORS[own], f"{path}: {own} imports {other}"


@pytest.mark.parametrize("package", ["harness", "benchmarks"])
def test_the_library_is_imported_in_functions_so_that_old_commits_can_be_measured(
    package: str,
) -> None:
    for path in files(package):
        for item in imports(ast.parse(path.read_text())):
            if item.is_at_import:
                assert item.module.partition(".")[0] != "bench_core", path
