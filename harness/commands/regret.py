"""``bench-core regret``: what one choice of some parameters costs where the best one differs."""

from __future__ import annotations

import click


@click.command("regret")
@click.argument("results", metavar="RESULTS")
@click.option(
    "--choose",
    multiple=True,
    required=True,
    metavar="PARAM",
    help="A parameter of which one value is to be chosen for all. Can be given several times.",
)
@click.option(
    "--each",
    multiple=True,
    metavar="PARAM",
    help="A parameter for each value of which another choice may be made.",
)
@click.option("--markdown", is_flag=True, help="Print Markdown tables.")
def command(results: str, choose: tuple[str, ...], each: tuple[str, ...], markdown: bool) -> None:
    """Rank the choices of some parameters by their mean regret over all other ones.

    RESULTS is a run's file or folder, as for `bench-core compare`. The regret of a choice for one
    case is its time over that of the best choice for this case, less 1. A choice that was not
    measured for every case is left out.

    \b
        bench-core run workers_and_batch_embedded
        bench-core regret results/runs/workers_and_batch_embedded \\
            --choose workers --choose batch_size --each kind
    """
    from harness.report import tables
    from harness.report.analysis import analyse
    from harness.report.regret import regret_tables
    from harness.report.sides import load_side

    found = analyse(load_side(results, allow_different=False))
    for table in regret_tables(found.works, choose, each):
        if markdown:
            click.echo(tables.markdown(table))
        else:
            tables.print_terminal(table, tables.console())
