"""The figures that runs declare: each from the samples of its section, or why it is not drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError

from harness.errors import InputError
from harness.figure_spec import FigureSpec, figure_specs
from harness.report.charts.chart import Chart
from harness.report.charts.comparable import IncomparableError
from harness.report.charts.kinds import plan
from harness.report.table import Results, RunFacts


@dataclass(frozen=True)
class Declared:
    """One figure of one section."""

    section: str
    title: str
    """The section's title."""
    name: str
    """The figure's name; with the section's in front it is unique among sections."""
    chart: Chart | None
    reason: str = ""
    """Why there is no chart."""


def declared(results: Results, *, quoted: bool = False) -> list[Declared]:
    """Return all figures that the runs declare, section by section.

    A figure that would mix machines, software or states of the code is refused, with the reason,
    and drawn once for each of them instead.

    Args:
        results: the runs, and their samples.
        quoted: the figures of what was published in place of those of what was measured.
    """
    sections: dict[str, list[RunFacts]] = {}
    for run in results.runs:
        if run.chosen.get("figures") and bool(run.quoted) == quoted:
            sections.setdefault(run.section or run.run, []).append(run)
    return [
        item for section, runs in sections.items() for item in _of_section(section, runs, results)
    ]


def _of_section(section: str, runs: Sequence[RunFacts], results: Results) -> Iterator[Declared]:
    """Yield the figures of a section; runs that describe a figure differently have one each."""
    described: dict[str, list[RunFacts]] = {}
    for run in runs:
        for content in run.chosen["figures"]:
            # As it stands: the order of its labels is that of the figure.
            described.setdefault(json.dumps(content), []).append(run)
    for text, own in described.items():
        title = str(own[-1].chosen.get("title") or section)
        yield from _figures(Declared(section, title, "", None), json.loads(text), own, results)


def _figures(
    item: Declared, content: Mapping[str, Any], runs: Sequence[RunFacts], results: Results
) -> Iterator[Declared]:
    name = str(content.get("name", "figure"))
    item = replace(item, name=name)
    try:
        (spec,) = figure_specs([content])
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        yield replace(item, reason=f"figure {name}: {key}: {first['msg']}")
        return
    try:
        yield replace(item, chart=plan(spec, _part(results, runs)))
    except IncomparableError as error:
        yield replace(item, reason=str(error))
        yield from _apart(item, spec, runs, results)
    except InputError as error:
        yield replace(item, reason=str(error))


def _apart(
    item: Declared, spec: FigureSpec, runs: Sequence[RunFacts], results: Results
) -> Iterator[Declared]:
    """Yield the figure for each machine, software and code, if there are several."""
    groups: dict[tuple[str, str], list[RunFacts]] = {}
    for run in runs:
        groups.setdefault((results.settings[run.run], run.code), []).append(run)
    for group in groups.values() if len(groups) > 1 else ():
        try:
            yield replace(item, chart=plan(spec, _part(results, group)))
        except InputError as error:
            yield replace(item, reason=str(error))


def _part(results: Results, runs: Sequence[RunFacts]) -> Results:
    """Return the results of some runs alone."""
    names = {run.run for run in runs}
    samples = results.samples[results.samples["run"].isin(names)]
    return replace(results, samples=samples, runs=tuple(runs))
