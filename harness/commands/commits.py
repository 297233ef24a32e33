"""``bench-core commits``: measure a range of commits in the environment that is already there."""

from __future__ import annotations

from pathlib import Path

import click

BROKEN = 3


@click.command("commits")
@click.argument("spec", metavar="A..B")
@click.option("--bench", "-b", metavar="REGEX", help="Only the cases whose id matches.")
@click.option(
    "--steps", "-s", type=click.IntRange(min=1), help="At most so many commits, evenly spaced."
)
@click.option(
    "--attribute",
    "-a",
    "attributes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set an attribute of the benchmarks for this run, like asv's -a: rounds=1.",
)
@click.option("--force", is_flag=True, help="Measure commits that have results, too.")
@click.option(
    "--project",
    "root",
    type=click.Path(path_type=Path),
    default=Path(),
    show_default="this folder",
    help="The folder with asv.conf.json.",
)
def command(
    spec: str,
    bench: str | None,
    steps: int | None,
    attributes: tuple[str, ...],
    force: bool,
    root: Path,
) -> int:
    """Measure each commit of A..B with its own code, in this environment.

    A is left out, as in git; one commit may stand in its place. bench_core comes from a worktree
    of the commit, the benchmarks from the working tree. Results go to asv's folder; `asv publish`
    and `bench-core dashboard` show them. Call it again to go on where it was interrupted.

    Exit code 3: some case has no result.
    """
    from harness.asv_project import open_project
    from harness.commits import Outcome, measure, resolve

    project = open_project(root)
    commits = resolve(project.root, spec, steps)
    outcomes: list[Outcome] = []
    for outcome in measure(
        project,
        commits,
        select=bench,
        attributes=attributes,
        force=force,
        started=lambda commit: click.echo(
            f"[{len(outcomes) + 1}/{len(commits)}] {commit.hash[:8]} {commit.subject[:60]} … ",
            nl=False,
        ),
    ):
        outcomes.append(outcome)
        click.echo(f"{outcome.status} in {outcome.seconds:.1f} s")
        for line in [outcome.reason] if outcome.reason else outcome.failed:
            click.echo(f"    {line}")
    click.echo(f"results: {project.results / project.machine}")
    return BROKEN if any(outcome.status == "failed" for outcome in outcomes) else 0
