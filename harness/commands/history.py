"""``bench-core history``: the commits at which a case became faster or slower."""

from __future__ import annotations

from pathlib import Path

import click

from harness.exit_codes import FINE, SLOWER


@click.command("history")
@click.argument("paths", metavar="[PATH]...", nargs=-1, type=click.Path(path_type=Path))
@click.option("--select", metavar="REGEX", help="Only the cases whose id matches.")
@click.option(
    "--threshold",
    type=click.FloatRange(min=0),
    default=0.05,
    show_default=True,
    help="The least change that counts, as a share.",
)
@click.option(
    "--figures",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Draw the histories with the largest changes into this folder, as PNG and PDF.",
)
@click.option("--markdown", is_flag=True, help="Print a Markdown table.")
def command(
    paths: tuple[Path, ...],
    select: str | None,
    threshold: float,
    folder: Path | None,
    markdown: bool,
) -> int:
    """Find the commits at which cases changed, in what asv holds of at least four commits.

    PATH is asv's results folder, or results in it; without one it is results/asv. Steps are found
    by asv's own detection. `bench-core report results/asv` marks them on the plots of its page.

    \b
    Exit codes:
      0  no case is slower now than it once was
      1  some case got slower and has stayed so
      2  bad input
    """
    from dataclasses import replace

    from harness.report import history_page, tables
    from harness.report.history import histories
    from harness.report.load import ASV_RESULTS, load
    from harness.report.sides import selected

    results = load(paths or [ASV_RESULTS])
    results = replace(results, samples=selected(results, select))
    found = histories(results, threshold)
    table = history_page.changes_table(found)
    if table.rows and markdown:
        click.echo(tables.markdown(table))
    elif table.rows:
        tables.print_terminal(table, tables.console())
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for saved in history_page.files(found, results, folder):
            history_page.write(saved)
            click.echo(str(saved.png))
    click.echo(history_page.summary_line(found))
    return SLOWER if any(item.slower_than_best is not None for item in found) else FINE
