"""``bench-core report``: results of any kind as one table, figures and one page."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("results/report"),
    show_default=True,
    help="The report's folder; an earlier report in it is replaced.",
)
@click.option(
    "--allow-different",
    is_flag=True,
    help="Show runs of different machines, devices or library versions together, and name it.",
)
@click.option(
    "--figures",
    "most_figures",
    type=click.IntRange(min=0),
    default=24,
    show_default=True,
    help="Draw at most so many, the most telling first.",
)
@click.option(
    "--published-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where the published figures are that runs name, by default in the checkout.",
)
def command(
    paths: tuple[Path, ...],
    out: Path,
    allow_different: bool,
    most_figures: int,
    published_dir: Path | None,
) -> int:
    """Turn results into tables, figures and one HTML page.

    PATH is a run's folder or file, an asv result, pytest-benchmark's JSON, a folder of published
    figures, or a folder of them; without one it is the newest run under results/runs. Prints the
    tables, and as the last line the page.
    """
    from harness.limits.memory import usable_cores
    from harness.report.analysis import analyse, not_measured
    from harness.report.build import build
    from harness.report.display import display_table
    from harness.report.load import load, newest_run
    from harness.report.published import FOLDER
    from harness.report.tables import console, print_terminal
    from harness.units import count

    analysis = analyse(load(paths or [newest_run()], allow_different=allow_different))
    terminal = console()
    for work in analysis.works:
        print_terminal(display_table(work), terminal)
    for _, row in not_measured(analysis.results.samples).iterrows():
        samples = count(row["n"], "sample")
        click.echo(f"{row['status']}, {samples}: {row['reason'] or 'no reason stated'}")
    for line in analysis.warnings:
        click.echo(f"note: {line}")
    report = build(
        analysis,
        out,
        most_figures=most_figures,
        processes=usable_cores(),
        published=published_dir or FOLDER,
    )
    for line in report.notes:
        click.echo(f"note: {line}")
    if report.not_drawn:
        left = count(report.not_drawn, "figure")
        click.echo(f"note: {left} not drawn; --figures sets how many are")
    click.echo(str(report.page))
    return 0
