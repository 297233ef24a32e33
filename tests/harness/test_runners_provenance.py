"""What importing the benchmarks decides: which tree measures, and which one is measured."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from runners_project import ROOT, run


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A working tree with its own harness, and another version of everything elsewhere."""
    for folder, version in (("work", "working tree"), ("other", "another version")):
        for package in ("harness", "prevent_caching", "bench_core"):
            (tmp_path / folder / package).mkdir(parents=True)
            (tmp_path / folder / package / "__init__.py").write_text(f"VERSION = {version!r}\n")
    (tmp_path / "work" / "benchmarks").mkdir()
    shutil.copy(ROOT / "benchmarks" / "__init__.py", tmp_path / "work" / "benchmarks")
    return tmp_path


def import_all(tree: Path, **variables: str) -> tuple[str, str]:
    """Import as asv does: the other version is on the path, the working tree's root is not."""
    script = (
        "import sys, importlib.machinery\n"
        "class Specific:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'benchmarks':\n"
        "            return importlib.machinery.PathFinder.find_spec(name, ['work'])\n"
        "sys.meta_path.insert(0, Specific())\n"
        "import benchmarks, harness, prevent_caching, bench_core\n"
        "print(harness.VERSION, prevent_caching.VERSION, bench_core.VERSION, sep='; ')\n"
    )
    done = run(tree, sys.executable, "-c", script, PYTHONPATH=str(tree / "other"), **variables)
    return done.stdout.strip(), done.stderr


def test_the_instrument_is_the_working_tree_s_and_the_library_the_environment_s(
    tree: Path,
) -> None:
    assert import_all(tree)[0] == "working tree; working tree; another version"


@pytest.mark.parametrize("variable", ["ASV_ENV_DIR", "BENCH_CORE_EXPECT"])
def test_the_library_of_the_commit_under_test_is_let_through(tree: Path, variable: str) -> None:
    printed, _ = import_all(tree, **{variable: str(tree / "other")})
    assert printed == "working tree; working tree; another version"


@pytest.mark.parametrize("variable", ["ASV_ENV_DIR", "BENCH_CORE_EXPECT"])
def test_any_other_library_stops_everything(tree: Path, variable: str) -> None:
    printed, complaint = import_all(tree, **{variable: str(tree / "work")})
    assert printed == ""
    assert f"RuntimeError: bench_core comes from {tree / 'other' / 'bench_core'}" in complaint
    assert f"expected below {tree / 'work'} ({variable})" in complaint


def test_a_library_that_is_missing_stops_everything(tree: Path) -> None:
    shutil.rmtree(tree / "other" / "bench_core")
    _, complaint = import_all(tree, ASV_ENV_DIR=str(tree / "empty"))
    assert "RuntimeError: bench_core comes from" in complaint


def test_a_path_that_only_begins_alike_is_another_folder(tree: Path) -> None:
    _, complaint = import_all(tree, ASV_ENV_DIR=str(tree / "oth"))
    assert "RuntimeError" in complaint
