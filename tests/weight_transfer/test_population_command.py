"""``bench-core population``: it saves what the library draws, alone and on MPI's ranks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench_core.weight_transfer import spaces
from bench_core.weight_transfer.population import evolve, generate
from bench_core.weight_transfer.population_chunks import CHUNK
from bench_core.weight_transfer.population_files import Population, load
from harness.cli import main

SPACE = spaces.get("feed-forward", layers=5, widths=(8, 16))
N = 2 * CHUNK + 77
ARGUMENTS = ["population", "feed-forward", str(N), "--set", "layers=5", "--set", "widths=[8, 16]"]


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


def equal(one: Population, other: Population) -> bool:
    return (
        one.space == other.space
        and np.array_equal(one.archs, other.archs)
        and np.array_equal(one.names, other.names)
    )


def test_what_is_drawn_and_evolved_is_saved(tmp_path: Path) -> None:
    path, chunks = tmp_path / "population.npz", tmp_path / "chunks"
    options = ["--seed", "4", "--evolve", "9", "--beta", "3", "--workers", "2"]
    assert run(*ARGUMENTS, str(path), *options, "--folder", str(chunks)) == 0
    assert equal(load(path), evolve(generate(SPACE, N, seed=4), 9, seed=5, beta=3))
    assert list(chunks.iterdir())


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["feed-forwart", "3"], "no search space 'feed-forwart'"),
        (["feed-forward", "3", "--set", "layers"], "'layers', expected NAME=JSON"),
        (["feed-forward", "3", "--set", "layer=2"], "did you mean 'layers'"),
        (["feed-forward", "--", "-3"], "-3 architectures"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("population", *arguments, str(tmp_path / "population.npz")) == 2
    said = capsys.readouterr().err
    assert found in said and said.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("mpiexec") is None, reason="mpiexec is not installed")
@pytest.mark.parametrize("processes", [1, 3])
def test_on_mpi_the_result_is_the_same(tmp_path: Path, processes: int) -> None:
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    path = tmp_path / "population.npz"
    launch = ["mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", str(processes)]
    module = ["-m", "mpi4py.futures", "-m", "harness.cli"]
    done = subprocess.run(
        [*launch, sys.executable, *module, *ARGUMENTS, str(path), "--seed", "4", "--mpi"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert equal(load(path), generate(SPACE, N, seed=4))
