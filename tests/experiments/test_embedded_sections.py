"""The embedded experiments: all can be run, all of their figures drawn, and no benchmark is left.

No sample is taken here but by the slow test: figures are planned from made-up samples of the cases.
"""

from __future__ import annotations

import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness import discovery
from harness.experiments import Experiment, Turn, call_for, define, library
from harness.experiments.estimate import estimate
from harness.experiments.pace import planned_bytes
from harness.experiments.run_folder import RunFolder
from harness.figure_spec import FigureSpec
from harness.records import Record, read_run
from harness.report.charts.declared import Declared, declared
from harness.report.load import load

NAMES = library.names()
UMBRELLAS = {
    "writes": "storage_writes.toml",
    "loads": "layer_loading.toml",
    "gpu_synchronisation": "gpu_synchronisation.toml",
    "instrument": "instrument.toml",
}
"""Sections that hold all of their file's."""

CASES = {f"W{number}" for number in range(1, 12)}
CASES |= {f"L{number}" for number in range(1, 11)}
"""What is to be known of writes and loads."""


@functools.cache
def defined(name: str, *, is_test: bool = False) -> Experiment:
    """A section's experiment; its data folder is never made."""
    call = call_for(name, directory=Path("nowhere"), is_test=is_test)
    return define(call)


def turns(name: str) -> dict[tuple[object, ...], Turn]:
    return {turn.key: turn for cell in defined(name).cells for turn in cell.turns}


def siblings(name: str) -> list[str]:
    """The sections of an umbrella's file, and those it extends."""
    entries = library.entries()
    file = UMBRELLAS[name]
    own = {other for other in NAMES if entries[other].path.name == file}
    extended = entries[name].table["extends"]
    return sorted(own | set([extended] if isinstance(extended, str) else extended) - {name})


def noted(figures: list[FigureSpec], benchmark: str) -> dict[str, object]:
    """What a benchmark would note beside its times, as far as figures draw it."""
    found: dict[str, object] = {"phases": {"save": 1.0, "load": 2.0}}
    for spec in figures:
        quantities = [spec.value, spec.x or ""] if spec.x_is_quantity else [spec.value]
        for quantity in quantities:
            if quantity.startswith("extra.") and spec.benchmark in (None, benchmark):
                is_list = spec.kind in ("timeline", "histogram")
                found[quantity.removeprefix("extra.")] = [1, 2] if is_list else 1.5
    return found


def sample(turn: Turn, cell: str, figures: list[FigureSpec]) -> Record:
    """A made-up sample, as large as the case's would be."""
    nbytes = planned_bytes(turn.case)
    counters = {"read_bytes": float(nbytes or 0)}
    return Record(
        benchmark=turn.case.benchmark,
        params=turn.case.params,
        value=1.0,
        bytes=nbytes,
        counters=counters,
        extra=noted(figures, turn.case.benchmark),
        cell=cell,
        started_at="2026-01-01T00:00:00.000+00:00",
    )


def figures_of(experiment: Experiment, folder: Path) -> list[Declared]:
    """Plan the experiment's figures from one made-up sample of each case."""
    with RunFolder(folder, code="0").new_shard(experiment) as writer:
        for cell in experiment.cells:
            for turn in cell.rounds[0]:
                if not turn.is_twin:
                    writer.sample(sample(turn, cell.id, experiment.section.figures))
    return declared(load([folder]))


@pytest.mark.parametrize("is_test", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_section_is_whole_and_all_its_figures_can_be_drawn(
    name: str, is_test: bool, tmp_path: Path
) -> None:
    experiment = defined(name, is_test=is_test)
    assert experiment.section.figures
    assert all(cell.turns for cell in experiment.cells)
    found = figures_of(experiment, tmp_path)
    assert [figure.reason for figure in found if figure.chart is None] == []
    assert [figure.name for figure in found] == [spec.name for spec in experiment.section.figures]


def test_a_figure_that_leaves_a_parameter_open_would_be_found(tmp_path: Path) -> None:
    experiment = defined("subset")
    spec = FigureSpec(name="open", kind="ecdf", series="format", panel="cache")
    section = experiment.section.model_copy(update={"figures": [spec]})
    (found,) = figures_of(Experiment(experiment.call, section, experiment.cells), tmp_path)
    assert found.chart is None
    assert "differ in selector" in found.reason


def test_every_benchmark_stands_in_a_section() -> None:
    measured = {cell.benchmark for name in NAMES for cell in defined(name).cells}
    assert {case.benchmark for case in discovery.cases()} - measured == set()


@pytest.mark.parametrize("name", UMBRELLAS)
def test_an_umbrella_measures_and_draws_all_that_its_parts_do(name: str) -> None:
    own, figures = turns(name), defined(name).section.figures
    for part in siblings(name):
        assert turns(part).keys() <= own.keys(), part
        assert all(figure in figures for figure in defined(part).section.figures), part


@pytest.mark.parametrize("name", ["writes", "loads"])
def test_an_umbrella_s_plan_lists_all_comparisons_of_its_parts(name: str, tmp_path: Path) -> None:
    listed = [row.comparison for row in estimate(defined(name), tmp_path).rows]
    parts = [c.name for part in siblings(name) for c in defined(part).section.comparisons]
    assert set(listed) == set(parts)


@pytest.mark.parametrize("name", ["quick", "writes", "loads"])
def test_what_is_quoted_has_samples_enough_and_the_machine_s_limits(name: str) -> None:
    experiment = defined(name)
    assert experiment.section.probe
    assert all(len(cell.rounds) >= 6 for cell in experiment.cells)


@pytest.mark.parametrize("name", NAMES)
def test_the_size_of_a_test_is_small(name: str) -> None:
    assert library.load(name).test
    whole, small = defined(name), defined(name, is_test=True)
    assert not small.section.probe
    assert {cell.comparison for cell in small.cells} == {cell.comparison for cell in whole.cells}
    assert len(small.cells) <= 13
    assert small.samples <= 400
    nbytes = [planned_bytes(turn.case) or 0 for cell in small.cells for turn in cell.turns]
    assert max(nbytes) <= 1 << 20
    assert sum(nbytes) <= 128 << 20


@pytest.mark.parametrize("name", NAMES)
def test_a_comment_says_what_a_section_asks(name: str) -> None:
    lines = library.entries()[name].path.read_text(encoding="utf-8").splitlines()
    assert lines[lines.index(f"[{name}]") - 1].startswith("# ")


def test_every_case_of_writes_and_loads_is_named() -> None:
    paths = {entry.path for entry in library.entries().values()}
    comments = [line for path in paths for line in path.read_text().splitlines() if line[:1] == "#"]
    assert set(re.findall(r"\b[WL]\d+\b", "\n".join(comments))) == CASES


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tensor_sizes", "round_trip", "subset", "host_and_event_time"])
def test_a_section_runs_at_the_size_of_its_test(name: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "run", name, "--test", "--dir", tmp_path / "data"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    (shard,) = tmp_path.glob("results/runs/*/*/*.jsonl")
    taken = [record.status for record in read_run(shard).records]
    expected = defined(name, is_test=True)
    # Of a case that is refused, such as one that needs a device, the first round alone is there.
    assert taken == ["ok"] * expected.samples or set(taken) == {"skipped"}
