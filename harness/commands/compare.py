"""``bench-core compare``: ratios with intervals and verdicts between two results, or contenders."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.report.comparison import Compared


@dataclass(frozen=True)
class Options:
    """What was chosen for a comparison."""

    select: str | None
    threshold: float
    aa_files: tuple[Path, ...]
    allow_different: bool
    markdown: bool
    comment: Path | None


@click.command("compare")
@click.argument("a", metavar="A")
@click.argument("b", metavar="[B]", required=False)
@click.option("--by", metavar="PARAM", help="Compare the contenders within A that PARAM names.")
@click.option("--base", metavar="VALUE", help="With --by: whom the others are judged against.")
@click.option("--select", metavar="REGEX", help="Only the cases whose id matches.")
@click.option(
    "--threshold",
    type=click.FloatRange(min=0),
    default=0.05,
    show_default=True,
    help="The least change that counts, as a share.",
)
@click.option(
    "--aa",
    "aa_files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="FILE",
    help="A run of the same code against itself: thresholds are twice its spread, and at least "
    "--threshold. Can be given several times. Without it the twins of the runs themselves count.",
)
@click.option(
    "--allow-different",
    is_flag=True,
    help="Compare runs of different machines, devices or library versions, and name it.",
)
@click.option("--markdown", is_flag=True, help="Print a Markdown table, for a comment on a change.")
@click.option(
    "--github",
    "comment",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="In a job of GitHub Actions: write a comment for the pull request to FILE and to the "
    'job\'s summary, annotate the job, and end with 0 instead of 4: "cannot tell" is a warning.',
)
def command(
    a: str,
    b: str | None,
    by: str | None,
    base: str | None,
    select: str | None,
    threshold: float,
    aa_files: tuple[Path, ...],
    allow_different: bool,
    markdown: bool,
    comment: Path | None,
) -> int:
    """Judge B against A, or the contenders within A against one of them.

    A and B are run files or folders, pytest-benchmark JSON, asv results, folders of these, or
    commits that asv has measured. A ratio is B's median over A's: above 1, B takes longer. faster
    and slower need the whole 95 % interval beyond the threshold, which the noise of --aa or of
    twins may raise; unchanged needs all of it within --threshold, and 6 independent rounds or
    samples a side; all else is "cannot tell". What was skipped on both sides, or by a contender
    whose library is missing, is "not compared" and changes no exit code.

    \b
        bench-core compare results/runs/before.jsonl results/runs/after.jsonl
        bench-core compare main HEAD --select layer_loading
        bench-core compare results/runs/last.jsonl --by format --base safetensors

    \b
    Exit codes, the worst case decides:
      0  nothing is slower, and every case is decided: faster, unchanged or new
      1  something is slower
      2  bad input: a wrong file or option, runs that differ, nothing to compare
      3  broken: a case failed in B, or A measured it and B did not (also if others are slower)
      4  cannot tell: some case is undecided, none is slower or broken
    """
    from harness.errors import InputError

    if (b is None) == (by is None):
        raise InputError("name two results, or one result and --by PARAM --base VALUE")
    if (by is None) != (base is None):
        raise InputError("--by and --base belong together")
    chosen = Options(select, threshold, aa_files, allow_different, markdown, comment)
    if b is not None:
        return _two_results(a, b, chosen)
    return _contenders(a, str(by), str(base), chosen)


def _two_results(a: str, b: str, chosen: Options) -> int:
    from harness.report.comparison import compare
    from harness.report.sides import (
        described,
        load_side,
        not_in_turns,
        require_comparable,
        require_samples,
        selected,
        threshold_for,
    )

    side_a, side_b = (load_side(name, allow_different=chosen.allow_different) for name in (a, b))
    differing = require_comparable(side_a, side_b, allow_different=chosen.allow_different)
    samples_a, samples_b = selected(side_a, chosen.select), selected(side_b, chosen.select)
    require_samples(samples_a, a)
    threshold = threshold_for(chosen.aa_files, chosen.threshold, samples_a, samples_b)
    title = f"A: {described(side_a)}; B: {described(side_b)}"
    found = compare(samples_a, samples_b, threshold, margin=chosen.threshold)
    notes = [*side_a.notes, *side_b.notes, *(f"A and B differ: {line}" for line in differing)]
    notes += not_in_turns(samples_a, samples_b)
    return _show(found, title, ("A", "B"), notes, chosen)


def _contenders(name: str, by: str, base: str, chosen: Options) -> int:
    from harness.report.comparison import compare_contenders
    from harness.report.sides import (
        described,
        load_side,
        require_samples,
        selected,
        threshold_for,
    )

    results = load_side(name, allow_different=chosen.allow_different)
    samples = selected(results, chosen.select)
    require_samples(samples, name)
    threshold = threshold_for(chosen.aa_files, chosen.threshold, samples)
    found, notes = compare_contenders(samples, by, base, threshold, margin=chosen.threshold)
    title = f"{by} against {base}: {described(results)}"
    return _show(found, title, (base, "contender"), [*results.notes, *notes], chosen)


def _show(
    found: Sequence[Compared],
    title: str,
    names: tuple[str, str],
    notes: Sequence[str],
    chosen: Options,
) -> int:
    from harness.report import pull_request, tables
    from harness.report.compared_table import compared_table, reasons
    from harness.report.comparison import exit_code, summary_line

    table = compared_table(found, title, *names)
    if chosen.markdown:
        click.echo(tables.markdown(table))
    else:
        tables.print_terminal(table, tables.console())
    for line in (*reasons(found), *(f"note: {note}" for note in notes)):
        click.echo(line)
    click.echo(summary_line(found))
    code = exit_code(found)
    if chosen.comment is None:
        return code
    pull_request.publish(pull_request.comment(found, title, names, notes), chosen.comment)
    click.echo(pull_request.annotation(code, summary_line(found)))
    return pull_request.job_code(code)
