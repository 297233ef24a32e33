"""Engines: the same section gives the same records on each, but for times, processes and hosts."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from run_processes import (
    WAIT_SECONDS,
    command,
    descendants,
    identities,
    records,
    start,
    wait_for,
)
from run_toys import make_package, section

from harness.errors import InputError
from harness.experiments import Share, engines
from harness.experiments.engines.base import require
from harness.experiments.run_folder import machine_reserved

ENGINE_SECONDS = 90.0


MPI_ENVIRONMENT = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    # More ranks than cores: these measure nothing.
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}


def needs(module: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(missing, reason=f"{module} is not installed")


needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or shutil.which("mpiexec") is None,
    reason="mpi4py or mpiexec is not installed",
)
ENGINES = [
    pytest.param(("--engine", "ray"), id="ray", marks=needs("ray")),
    pytest.param(("--engine", "mpi"), id="mpi", marks=needs_mpi),
    pytest.param(
        ("--engine", "slurm", "--engine-option", "cluster=local"),
        id="submitit",
        marks=needs("submitit"),
    ),
    pytest.param(("--engine", "processes"), id="processes"),
]


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("engines"), "toys_of_engines")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, package: Path) -> Path:
    """The folder of an ordinary run, with the section's file beside it."""
    folder = tmp_path_factory.mktemp("whole")
    write_section(folder)
    done = start(command(folder, package, folder / "run"))
    assert done.wait(WAIT_SECONDS) == 3  # a contender gives a wrong answer
    return folder / "run"


def write_section(folder: Path, *, rounds: int = 2) -> None:
    text = section(contenders='["fine", "refused", "wrong"]', rounds=rounds)
    text = text.replace("size = [1]", "size = [1, 2, 3]") + 'twins = ["fine"]\n'
    (folder / "toy.toml").write_text(text)


def comparable(found: list[Any]) -> list[dict[str, Any]]:
    """Return the samples without times, counters, processes and places, in a fixed order."""
    kept = ("benchmark", "params", "status", "reason", "unit", "bytes", "runner", "cell")
    kept += ("round", "seed", "repetition")
    rows = [
        {name: getattr(record, name) for name in kept}
        | {name: value for name, value in record.extra.items() if name != "data"}
        for record in found
    ]
    return sorted(rows, key=lambda row: (row["cell"], row["round"], str(row)))


def run_whole(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        arguments,
        capture_output=True,
        text=True,
        timeout=ENGINE_SECONDS,
        check=False,
        env={**os.environ, **MPI_ENVIRONMENT},
    )


@pytest.mark.parametrize("options", ENGINES)
def test_every_engine_gives_the_same_records(
    tmp_path: Path, package: Path, whole: Path, options: tuple[str, ...]
) -> None:
    write_section(tmp_path)
    out = tmp_path / "run"
    arguments = command(tmp_path, package, out, "-j", "2", *options)
    done = run_whole(arguments)
    assert done.returncode == 3, done.stderr
    assert "no answer" not in done.stderr
    assert comparable(records(out)) == comparable(records(whole))
    assert len(list(out.glob("*.jsonl"))) in (1, 2)


@needs_mpi
def test_under_mpiexec_the_ranks_take_the_shares(
    tmp_path: Path, package: Path, whole: Path
) -> None:
    write_section(tmp_path)
    out = tmp_path / "run"
    program, *arguments = command(tmp_path, package, out, "-j", "2", "--engine", "mpi")
    launcher = ["mpiexec", "-n", "3", program, "-m", "mpi4py.futures"]
    done = run_whole([*launcher, *arguments])
    assert "Traceback" not in done.stderr
    assert comparable(records(out)) == comparable(records(whole))


@needs("ray")
def test_a_lost_ray_worker_loses_nothing(tmp_path: Path, package: Path) -> None:
    text = section(contenders='["slow", "fine"]', rounds=15)
    (tmp_path / "toy.toml").write_text(text.replace("size = [1]", "size = [1, 2]"))
    out = tmp_path / "run"
    process = start(command(tmp_path, package, out, "-j", "2", "--engine", "ray"))
    wait_for(lambda: len(records(out)) >= 5, "the run takes no samples")
    samplers = {record.process for record in records(out)}
    parents = [p for p in descendants(process.pid) if samplers & set(descendants(p))]
    # The nearest parent of a process that takes samples is the Ray worker.
    with suppress(ProcessLookupError):
        os.kill(parents[-1], signal.SIGKILL)
    _, said = process.communicate(timeout=ENGINE_SECONDS)
    assert process.returncode == 0, said
    found = identities(records(out))
    assert (found.total(), set(found.values())) == (60, {1})


@pytest.mark.parametrize("options", ENGINES)
def test_what_a_share_cannot_do_is_one_line(
    tmp_path: Path, package: Path, options: tuple[str, ...]
) -> None:
    write_section(tmp_path)
    arguments = command(tmp_path, package, tmp_path / "run", "-j", "2", *options)
    with machine_reserved(tmp_path / "data", "another one", shared=False):
        done = run_whole(arguments)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("bench-core: ") and "(another one) is measuring" in last
    assert records(tmp_path / "run") == []


def test_a_missing_engine_is_one_line_with_the_extra_that_installs_it() -> None:
    with pytest.raises(
        InputError, match=r"needs no_such_engine: .*pip install 'bench-core\[ray\]'"
    ):
        require("no_such_engine.part", "ray")


def test_engines_without_options_refuse_them(tmp_path: Path) -> None:
    assert set(engines.ENGINES) == {"processes", "ray", "mpi", "slurm"}
    shares: list[Share] = []
    for name in ("processes", "mpi"):
        with pytest.raises(InputError, match=f"engine '{name}' has no option 'speed'"):
            engines.get(name)(shares, {"speed": 1}, lambda: None)
