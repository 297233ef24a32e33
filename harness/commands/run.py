"""``bench-core run``: measure a section's cases, beside each other and the machine's limits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from harness.experiments import Outcome

BROKEN = 3
RUNS = Path("results") / "runs"


@click.command("run")
@click.argument("section", required=False)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE[,VALUE]",
    help="Change the rounds or a parameter, of all comparisons or of one: durable_write.rounds=3.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="COMPARISON",
    help="Only this comparison of the section; repeatable.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"File for the samples. Default: {RUNS}/<section>-<time>.jsonl.",
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder on the disk to measure. Default: $BENCH_CORE_DATA, or bench-core in your cache.",
)
@click.option(
    "--resume",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Go on with a run: take the samples that its file lacks.",
)
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A TOML file of your own with the section.",
)
@click.option(
    "--benchmarks",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="A package of benchmarks of your own.",
)
@click.option("--list", "is_listed", is_flag=True, help="List the sections and what they compare.")
def command(
    section: str | None,
    settings: tuple[str, ...],
    only: tuple[str, ...],
    out: Path | None,
    directory: Path | None,
    resume: Path | None,
    file: Path | None,
    benchmarks: Path | None,
    is_listed: bool,
) -> int:
    """Measure the cases of SECTION: quick, writes, loads, … (see --list).

    Contenders run interleaved, round by round. Every sample is appended to a file as it ends, also
    one that fails or is refused. Stopped runs go on with --resume FILE.

    Exit code 3: a sample failed.
    """
    from rich.console import Console

    from harness.experiments import Progress, define, define_again, run_section
    from harness.experiments.experiment import BENCHMARKS
    from harness.records import new_run_id, read_run

    if is_listed:
        _list(file)
        return 0
    if resume is not None:
        if section or settings or only or out or file or benchmarks:
            raise click.UsageError("--resume takes all but --dir from the run's file")
        experiment, path = define_again(read_run(resume), directory), resume
    elif section is None:
        raise click.UsageError("name a SECTION (see --list), or --resume a run")
    else:
        experiment = define(
            section,
            directory=directory,
            settings=settings,
            only=only,
            file=file,
            package=benchmarks or BENCHMARKS,
        )
        path = out or RUNS / f"{experiment.name}-{new_run_id()}.jsonl"
    with Progress(Console(stderr=True)) as progress:
        outcome = run_section(experiment, path, progress, resume=resume is not None)
    _say(outcome)
    return BROKEN if outcome.is_broken else 0


def _list(file: Path | None) -> None:
    from harness.experiments import sections

    for name in sections.names(file):
        section = sections.load(name, file)
        click.echo(f"{name}: {section.title}")
        for comparison in section.comparisons:
            click.echo(f"    {comparison.name:24} {comparison.benchmark}")


def _say(outcome: Outcome) -> None:
    """Print how many samples there are, what to keep in mind about them, and where they are."""
    counts = ", ".join(f"{count} {status}" for status, count in sorted(outcome.counts.items()))
    click.echo(f"{sum(outcome.counts.values())} samples: {counts}")
    if outcome.drifted:
        moved = ", ".join(f"{name} {share:+.0%}" for name, share in outcome.drifted.items())
        click.echo(f"drift: limits moved between the start and the end of the run: {moved}")
    click.echo(f"results: {outcome.path}")
