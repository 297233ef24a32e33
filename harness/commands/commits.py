"""``bench-core commits``: measure a range of commits in the environment that is already there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.exit_codes import BROKEN, FINE

if TYPE_CHECKING:
    from harness.commits import Commit


@click.command("commits")
@click.argument("specs", metavar="A..B", nargs=-1, required=True)
@click.option("--bench", "-b", metavar="REGEX", help="Only the cases whose id matches.")
@click.option(
    "--steps", "-s", type=click.IntRange(min=1), help="At most so many commits, evenly spaced."
)
@click.option(
    "--rounds",
    "-r",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Measure the commits in turns, forward and backward, until each has so many rounds; 6 and "
    "more are compared round by round. 1: each commit once, one after the other, as asv does.",
)
@click.option(
    "--attribute",
    "-a",
    "attributes",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set an attribute of the benchmarks for this run, like asv's -a: repeat=3.",
)
@click.option("--force", is_flag=True, help="Measure commits that have results, too, and anew.")
@click.option(
    "--project",
    "root",
    type=click.Path(path_type=Path),
    default=Path(),
    show_default="this folder",
    help="The folder with asv.conf.json.",
)
def command(
    specs: tuple[str, ...],
    bench: str | None,
    steps: int | None,
    rounds: int,
    attributes: tuple[str, ...],
    force: bool,
    root: Path,
) -> int:
    """Measure each commit of A..B with its own code, in this environment.

    A is left out, as in git; several ranges and single commits may stand in its place. bench_core
    comes from a worktree of the commit, the benchmarks from the working tree. Results go to asv's
    folder; `asv publish`, `bench-core dashboard`, `history` and `compare` show them. Call it again
    to go on where it was interrupted, or with more rounds to add the missing ones.

    Commits that are measured one after the other drift apart on a shared machine, and equal code
    is then called slower: with --rounds 6, `bench-core compare` judges them round by round.

    \b
        bench-core commits HEAD~3..HEAD --bench layer_loading --rounds 6
        bench-core commits main HEAD --rounds 6 && bench-core compare main HEAD

    Exit code 3: some case has no result.
    """
    from harness.asv_project import open_project
    from harness.commits import measure, resolve

    project = open_project(root)
    commits = resolve(project.root, *specs, steps=steps)
    done = 0
    is_broken = False

    def started(number: int, commit: Commit) -> None:
        turn = f"round {number + 1}/{rounds}, " if rounds > 1 else ""
        place = f"{done % len(commits) + 1}/{len(commits)}"
        click.echo(f"[{turn}{place}] {commit.hash[:8]} {commit.subject[:60]} … ", nl=False)

    for outcome in measure(
        project,
        commits,
        select=bench,
        attributes=attributes,
        rounds=rounds,
        force=force,
        started=started,
    ):
        done += 1
        is_broken |= outcome.status == "failed"
        click.echo(f"{outcome.status} in {outcome.seconds:.1f} s")
        for line in [outcome.reason] if outcome.reason else outcome.failed:
            click.echo(f"    {line}")
    click.echo(f"results: {project.results / project.machine}")
    return BROKEN if is_broken else FINE
