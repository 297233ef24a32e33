"""``bench-core check``: what makes a result weak, and what would mend it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from harness.report.weaknesses import Weakness

MOST_OF_A_KIND: Final = 12
"""Lines that are printed of one kind unless all are asked for."""


@click.command("check")
@click.argument("names", metavar="[RESULT]...", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for a machine.")
@click.option("--all", "is_all", is_flag=True, help="Print every line, however many of a kind.")
@click.option(
    "--allow-different",
    is_flag=True,
    help="Take runs of different machines, devices or library versions for one.",
)
def command(names: tuple[str, ...], as_json: bool, is_all: bool, allow_different: bool) -> int:
    """Say what makes a result weak, one line each: case or run, what was found, what would mend it.

    RESULT is a run's folder or file, an asv result, pytest-benchmark's JSON, a folder of them, or
    a commit that asv has measured; without one it is the newest run under results/runs.

    Weak are: fewer than 6 samples, quartiles more than 20 % apart, samples not proved to be in
    their cache state, cases faster than the machine's limits allow, limits that drifted by more
    than 20 %, a load above the number of cores, several processes measuring at once, a processor
    slowed by heat or by a container's quota, debugging builds. Beside these it notes what is worth
    knowing: uncommitted changes, governor, turbo, swap, slow rounds, two modes, one process.

    \b
    Exit codes:
      0  sound: notes at most
      2  bad input
      3  broken: samples failed (also if others are weak)
      4  weak: cannot be relied on as it stands
    """
    from harness.report import weaknesses
    from harness.report.load import load, newest_run, resolve
    from harness.report.summary import summarise

    paths = [path for name in names for path in resolve(name)] or [newest_run()]
    results = load(paths, allow_different=allow_different)
    cases = summarise(results.samples)
    found = weaknesses.find(results, cases)
    code = weaknesses.exit_code(found)
    if as_json:
        click.echo(_json(found, code, len(cases)))
        return code
    for line in _lines(found, None if is_all else MOST_OF_A_KIND):
        click.echo(line)
    for note in results.notes:
        click.echo(f"left out: {note}")
    click.echo(_last_line(found, len(cases)))
    return code


def _json(found: Sequence[Weakness], code: int, cases: int) -> str:
    lines = [
        {
            "severity": item.severity,
            "kind": item.kind,
            "subject": item.subject,
            "found": item.found,
            "mend": item.mend,
        }
        for item in found
    ]
    return json.dumps({"exit_code": code, "cases": cases, "weaknesses": lines}, indent=1)


def _lines(found: Sequence[Weakness], most: int | None) -> Iterator[str]:
    """Yield a heading for each severity and a line for each weakness, below it."""
    from harness.report.weaknesses import SEVERITIES

    for severity, heading in SEVERITIES.items():
        own = [item for item in found if item.severity == severity]
        if own:
            yield heading
        for kind, total in Counter(item.kind for item in own).items():
            of_kind = [item for item in own if item.kind == kind][:most]
            for item in of_kind:
                yield f"  {item.kind}: {item.subject}: {item.found}; to mend it: {item.mend}"
            if total > len(of_kind):
                yield f"  {kind}: {total - len(of_kind)} more; --all prints them"


def _last_line(found: Sequence[Weakness], cases: int) -> str:
    from harness.units import count

    counts = Counter(item.severity for item in found)
    state = next((word for word in ("broken", "weak") if counts[word]), "sound")
    told = ", ".join(f"{counts[word]} {word}" for word in ("broken", "weak"))
    return f"{state}: {told}, {count(counts['note'], 'note')}; {count(cases, 'case')}"
