"""Identities of code and machine: they change with what a sample depends on, and only then."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from harness.experiments import identity
from harness.experiments.identity import code_digest, run_key

FILES = (
    "bench_core/__init__.py",
    "bench_core/formats/direct.py",
    "harness/__init__.py",
    "harness/clock.py",
    "harness/report/page.py",
    "harness/commands/run.py",
    "prevent_caching/__init__.py",
    "benchmarks/__init__.py",
    "benchmarks/loads.py",
)
MACHINE: dict[str, Any] = {
    "cpu": {"model": "EPYC", "usable_cores": 2},
    "memory_bytes": 1 << 34,
    "file_system": {"kind": "ext4"},
    "kernel": "6.1",
    "python": "3.11.7",
    "libraries": {"torch": "2.7.0", "pytest": "9.0"},
    "load_average": [0.1, 0.2, 0.3],
}


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small copy of the packages, found in the place of ours."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f'"""{name}"""\n')
    monkeypatch.setattr(identity, "_folder_of", lambda name: tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("name", FILES)
def test_a_byte_in_the_measured_code_makes_another_code(tree: Path, name: str) -> None:
    before = code_digest("benchmarks")
    (tree / name).write_bytes((tree / name).read_bytes() + b"#")
    is_measured = not name.startswith(("harness/report/", "harness/commands/"))
    assert (code_digest("benchmarks") != before) == is_measured


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "benchmarks/loads.py").rename(tree / "benchmarks/reads.py"),
        lambda tree: (tree / "bench_core/more.py").write_text(""),
        lambda tree: (tree / "harness/clock.py").unlink(),
        lambda tree: shutil.move(tree / "benchmarks/loads.py", tree / "bench_core/loads.py"),
    ],
    ids=["renamed", "added", "removed", "moved"],
)
def test_so_do_files_that_come_go_or_are_renamed(
    tree: Path, change: Callable[[Path], object]
) -> None:
    before = code_digest("benchmarks")
    change(tree)
    assert code_digest("benchmarks") != before


def test_what_is_no_code_and_where_it_lies_make_no_other_code(tree: Path, tmp_path: Path) -> None:
    before = code_digest(tree / "benchmarks")
    (tree / "harness" / "quick.toml").write_text("[quick]\n")
    (tree / "harness" / "report" / "more.py").write_text("")
    (tree / "benchmarks" / "__pycache__").mkdir()
    (tree / "benchmarks" / "__pycache__" / "loads.cpython-311.pyc").write_bytes(b"x")
    assert code_digest(tree / "benchmarks") == before
    copy = shutil.copytree(tree / "benchmarks", tmp_path / "elsewhere")
    assert code_digest(copy) == before


def test_the_digest_of_the_real_code_is_the_same_each_time() -> None:
    assert code_digest("benchmarks") == code_digest("benchmarks")
    assert len(code_digest("benchmarks")) == 64


def changed(*path: str, to: Any) -> dict[str, Any]:
    found = deepcopy(MACHINE)
    table = found
    for name in path[:-1]:
        table = table[name]
    table[path[-1]] = to
    return found


@pytest.mark.parametrize(
    "other",
    [
        changed("libraries", "torch", to="2.7.1"),
        changed("libraries", "safetensors", to="0.8"),
        changed("python", to="3.12.0"),
        changed("cpu", "usable_cores", to=4),
        changed("file_system", "kind", to="xfs"),
    ],
)
def test_another_library_python_processor_or_disk_makes_another_key(other: dict[str, Any]) -> None:
    assert run_key("code", "machine", other) != run_key("code", "machine", MACHINE)


def test_so_do_another_code_machine_and_limit_on_the_disk() -> None:
    keys = {
        run_key("code", "machine", MACHINE),
        run_key("other code", "machine", MACHINE),
        run_key("code", "other machine", MACHINE),
        run_key("code", "machine", MACHINE, {"read": "1MB/s", "write": None}),
        run_key("code", "machine", MACHINE, {"read": None, "write": "1MB/s"}),
    }
    assert len(keys) == 5
    assert {len(key) for key in keys} == {identity.DIGITS}


@pytest.mark.parametrize(
    "same",
    [
        changed("load_average", to=[9, 9, 9]),
        changed("libraries", "pytest", to="9.1"),
        dict(reversed(MACHINE.items())),
        changed("libraries", to=dict(reversed(MACHINE["libraries"].items()))),
    ],
)
def test_what_no_sample_depends_on_makes_no_other_key(same: dict[str, Any]) -> None:
    assert run_key("code", "machine", same) == run_key("code", "machine", MACHINE)
