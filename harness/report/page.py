"""The report as one HTML page that needs no other file and no network."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib import resources
from types import MappingProxyType
from typing import Final

from harness import units
from harness.limits import DRIFT_MARKS_RUN, NAMES, Limits, drift, meaning, unit
from harness.report import markup
from harness.report.analysis import Analysis, not_measured
from harness.report.display import DisplayTable
from harness.report.figures import SavedPlot
from harness.report.highlights import highlights
from harness.report.markup import Markup, element
from harness.report.shards import whole_runs
from harness.report.table import RunFacts
from harness.report.weak_runs import probes
from harness.report.work import machine_line
from harness.units import count

MOST_HIGHLIGHTS: Final = 60
MOST_CASES: Final = 12
"""Cases that are named for one reason why they were not measured."""
DESCRIBED: Final = frozenset({"figures", "published", "code", "title"})
"""Settings of a run that stand elsewhere on the page, or that its section has."""

SECTIONS: Final = {
    "answers": "Answers",
    "history": "Over the commits",
    "machine": "Machine and limits",
    "experiment": "The experiment's figures",
    "published": "Published, for comparison",
    "figures": "Figures",
    "tables": "Tables",
    "left-out": "Not measured",
    "again": "How to take this again",
}


def page(
    analysis: Analysis,
    tables: Sequence[DisplayTable],
    figures: Sequence[SavedPlot],
    not_drawn: int,
    further: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the page.

    Args:
        analysis: what the page is about.
        tables: all tables, in the order of the page.
        figures: the figures that were drawn; their PNG files are put into the page.
        not_drawn: how many figures were left out.
        further: HTML of those of `SECTIONS` that only some results have, by its name.
    """
    results = analysis.results
    runs = whole_runs(results.runs, results.settings)
    bodies = {
        **further,
        "machine": "".join(_quoted(run) if run.quoted else _machine(run) for run in runs),
        "again": _again(runs),
    }
    if not all(run.quoted for run in runs):
        bodies |= {
            "answers": _answers(analysis),
            "figures": "".join(_figures(figures, not_drawn)),
            "tables": "".join(_tables(tables)),
            "left-out": _left_out(analysis),
        }
    warnings = markup.items(analysis.warnings, "warnings") if analysis.warnings else ""
    names = [name for name in SECTIONS if name in bodies]
    parts = [
        _navigation(names),
        warnings,
        *(f'<h2 id="{name}">{SECTIONS[name]}</h2>{bodies[name]}' for name in names),
    ]
    return string.Template(_file("page.html")).substitute(
        title=escape(_title(runs)),
        lead=escape(_lead(analysis)),
        style=_file("page.css"),
        script=_file("page.js"),
        body="\n".join(parts),
        footer="Only samples that are verified, and proved cold where cold was asked for, are "
        "averaged. Ratios are of medians, round by round where contenders were interleaved, with a "
        "95 % bootstrap interval.",
    )


def _file(name: str) -> str:
    return resources.files("harness.report").joinpath(name).read_text(encoding="utf-8")


def _title(runs: Sequence[RunFacts]) -> str:
    measured = [run for run in runs if not run.quoted]
    named = measured or runs
    machines = ", ".join(dict.fromkeys(run.machine or "unknown machine" for run in named))
    if not measured:
        return machines
    codes = list(dict.fromkeys(run.commit_label or "unknown commit" for run in measured))
    return f"{machines} at {codes[0]}" if len(codes) == 1 else f"{machines}, {len(codes)} commits"


def _lead(analysis: Analysis) -> str:
    samples = analysis.results.samples
    counts = samples["status"].value_counts()
    statuses = ", ".join(f"{count} {status}" for status, count in counts.items())
    dates = sorted({run.started_at[:10] for run in analysis.results.runs if run.started_at})
    span = " to ".join(dict.fromkeys([dates[0], dates[-1]])) if dates else "date unknown"
    return f"{span}; {len(analysis.cases)} cases, {len(samples)} rows of samples: {statuses}"


def _navigation(names: Sequence[str]) -> str:
    links = (f'<a href="#{name}">{SECTIONS[name]}</a>' for name in names)
    return f"<nav>{''.join(links)}</nav>"


def _answers(analysis: Analysis) -> str:
    found = list(highlights(analysis.works))
    if not found:
        return element("p", "No two contenders did the same work.", class_="note")
    shown = found[:MOST_HIGHLIGHTS]
    titles = [item.benchmark for item in shown]
    rows = [
        (
            "" if title == before else title,
            item.condition,
            item.fastest,
            item.speed,
            Markup(markup.share(item.efficiency, units.percent(item.efficiency))),
            item.ours,
            item.against_best,
            item.best_peer,
            markup.verdict(item.verdict),
        )
        for item, title, before in zip(shown, titles, ["", *titles], strict=False)
    ]
    columns = ("benchmark", "condition", "fastest", "speed", "of limit")
    ours = ("ours", "its time / best peer", "best peer", "verdict")
    table = markup.plain_table((*columns, *ours), rows, numbers=(3,))
    note = "In each condition the fastest contender, and ours against the fastest peer."
    if len(found) > MOST_HIGHLIGHTS:
        note += f" The first {MOST_HIGHLIGHTS} of {len(found)}; the tables below have all."
    return element("p", note, class_="note") + table


def _machine(run: RunFacts) -> str:
    source = run.source.name if run.folder is None else count(run.shards, "file")
    facts = {
        "run": f"{run.run} ({run.runner}, from {source})",
        "machine": machine_line([run]),
        "commit": run.commit_label or "unknown",
        "begun": run.started_at or "unknown",
        **{name: value for name, value in run.setting.items() if name != "machine"},
    }
    return element("h3", run.run) + markup.facts(facts) + _limits(run)


def _quoted(run: RunFacts) -> str:
    """Return what stands in place of a machine where numbers were published."""
    facts = {"paper": run.chosen["title"], "machine": machine_line([run]), "files": str(run.source)}
    return element("h3", run.section) + markup.facts(facts)


def _limits(run: RunFacts) -> str:
    begin, end = probes(run)
    if begin is None and end is None:
        return element("p", "No limits were probed in this run.", class_="note")
    moved = drift(begin, end) if begin and end else {}
    rows = [_limit(name, begin, end, moved.get(name)) for name in NAMES]
    columns = ("limit", "at the begin", "at the end", "drift", "what it is")
    return markup.plain_table(columns, filter(None, rows), numbers=(1, 2, 3))


def _limit(
    name: str, begin: Limits | None, end: Limits | None, moved: float | None
) -> tuple[str, ...] | None:
    """Return the row of a limit, or None if neither probe has it."""
    values = [getattr(limits, name) if limits else None for limits in (begin, end)]
    if values == [None, None]:
        return None
    texts = ["–" if value is None else units.quantity(value, unit(name)) for value in values]
    change = "–" if moved is None else f"{moved:+.0%}".replace("%", " %")
    if moved is not None and abs(moved) > DRIFT_MARKS_RUN:
        change = Markup(element("span", change, class_="moved"))
    return (name, *texts, change, meaning(name))


def _figures(figures: Sequence[SavedPlot], not_drawn: int) -> Iterator[str]:
    if not figures:
        yield element("p", "Nothing to draw.", class_="note")
    by_title: dict[str, list[SavedPlot]] = {}
    for saved in figures:
        by_title.setdefault(saved.plot.chart.title, []).append(saved)
    for title, group in by_title.items():
        yield f'{element("h3", title)}<div class="gallery">{"".join(map(_figure, group))}</div>'
    if not_drawn:
        text = f"Not drawn: {count(not_drawn, 'more figure')}; --figures sets how many are."
        yield element("p", text, class_="note")


def _figure(saved: SavedPlot) -> str:
    chart = saved.plot.chart
    image = markup.image(saved.png, f"{chart.title}, {chart.subtitle}. {chart.caption}")
    return f"<figure>{image}{element('figcaption', f'figures/{saved.pdf.name}')}</figure>"


def _tables(tables: Sequence[DisplayTable]) -> Iterator[str]:
    yield element(
        "p",
        "The fastest first within each condition; press a heading to sort by it. A share above "
        "100 % (marked !) says that the limit or the ideal is wrong.",
        class_="note",
    )
    for table in tables:
        yield element("h3", table.title)
        yield element("p", table.subtitle, class_="note")
        yield markup.table(table)


def _left_out(analysis: Analysis) -> str:
    rows = [
        (markup.verdict(row["status"]), str(row["n"]), row["reason"] or "–", _cases(row["cases"]))
        for _, row in not_measured(analysis.results.samples).iterrows()
    ]
    if not rows:
        return element("p", "Every sample was measured, verified and proved.", class_="note")
    return markup.plain_table(("status", "samples", "reason", "cases"), rows, numbers=(1,))


def _cases(names: list[str]) -> str:
    more = f" and {len(names) - MOST_CASES} more" if len(names) > MOST_CASES else ""
    return ", ".join(names[:MOST_CASES]) + more


def _again(runs: Sequence[RunFacts]) -> str:
    lines: list[str] = []
    for run in runs:
        if run.commit and run.runner != "asv":
            lines.append(f"git checkout {run.commit}")
        if run.command:
            lines.append(run.command)
        stated = {name: value for name, value in run.chosen.items() if name not in DESCRIBED}
        chosen = ", ".join(f"{name}={value}" for name, value in stated.items())
        if chosen:
            lines.append(f"# settings: {chosen}")
    lines.append("bench-core report " + " ".join(dict.fromkeys(str(run.source) for run in runs)))
    return element("pre", "\n".join(lines))
