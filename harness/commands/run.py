"""``bench-core run``: measure an experiment's cases, beside each other and the machine's limits."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands.options import experiment_options

if TYPE_CHECKING:
    from harness.experiments import Call, Experiment, Outcome, RunFolder, Watcher

BROKEN = 3


@click.command("run")
@experiment_options
@click.option(
    "--jobs",
    "-j",
    type=click.IntRange(min=1),
    help="Take so many cells at the same time. On one machine they disturb each other.",
)
@click.option(
    "--share",
    "-i",
    type=click.IntRange(min=0),
    help="Be share number I (from 0) of -j N: take every N-th cell and start nobody else. The "
    "shares have nothing in common but the folder of results.",
)
@click.option("--engine", help="Who starts the -j processes: processes, ray, mpi or slurm.")
@click.option(
    "--engine-option",
    "engine_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Passed on to the engine: cluster=local, slurm_partition=gpu, address=auto, …",
)
@click.option("--force", is_flag=True, help="Measure everything again, into a new folder.")
@click.option("--retry-failed", is_flag=True, help="Take samples again that failed before.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the samples. Default: results/runs/<section>/<machine>-<key>.",
)
@click.option("--tensorboard", is_flag=True, help="Write scalars for TensorBoard while it runs.")
@click.option("--wandb", metavar="PROJECT", help="Log to Weights & Biases (see WANDB_MODE).")
def command(
    call: Call,
    jobs: int | None,
    share: int | None,
    engine: str | None,
    engine_options: tuple[str, ...],
    force: bool,
    retry_failed: bool,
    out: Path | None,
    tensorboard: bool,
    wandb: str | None,
) -> int:
    """Measure the cells of the experiment NAME (see: bench-core experiments ls).

    Contenders run interleaved, round by round. Every sample is appended to a file as it ends, also
    one that fails or is refused. What is there already, of the same code on the same machine, is
    not measured again: a run that was stopped goes on by the same command.

    \b
    Exit codes:
      0  all samples are there
      2  bad input
      3  a sample failed, or some could not be taken
    """
    from harness.experiments import Part, chosen_folder, define, folder_for, run

    words = [f"engine={engine}"] if engine else []
    words += [f"jobs={jobs}"] if jobs else []
    words += [f"engine_options.{option}" for option in engine_options]
    experiment = define(replace(call, words=(*call.words, *words)))
    if share is not None:
        _check_share(share, experiment, force=force)
    if out is not None and force:
        raise click.UsageError("--force begins a new folder by itself; leave out --out")
    folder = (
        chosen_folder(out, experiment) if out is not None else folder_for(experiment, is_new=force)
    )
    with ExitStack() as stack:
        watcher = _watchers(experiment, folder, stack, tensorboard=tensorboard, wandb=wandb)
        outcome = run(experiment, folder, watcher, Part(share, retry_failed))
    _say(outcome)
    return BROKEN if outcome.is_broken or outcome.left else 0


def _check_share(share: int, experiment: Experiment, *, force: bool) -> None:
    jobs = experiment.section.jobs
    if share >= jobs:
        raise click.UsageError(f"-i {share}: there are {jobs} shares, numbered from 0; see -j")
    if force:
        raise click.UsageError(
            "-i and --force: each share would begin a folder; name a new one by --out in its place"
        )


def _watchers(
    experiment: Experiment,
    folder: RunFolder,
    stack: ExitStack,
    *,
    tensorboard: bool,
    wandb: str | None,
) -> Watcher:
    from rich.console import Console

    from harness.experiments.progress import Progress
    from harness.experiments.scalars import Scalars, TensorBoardSink, WandbSink
    from harness.experiments.watcher import Watchers

    found: list[Watcher] = []
    if tensorboard:
        found.append(stack.enter_context(Scalars(TensorBoardSink(folder.path))))
    if wandb is not None:
        sink = WandbSink(folder.path, wandb, experiment.described())
        found.append(stack.enter_context(Scalars(sink)))
    progress = Progress(Console(stderr=True), experiment.section.jobs)
    return Watchers([stack.enter_context(progress), *found])


def _say(outcome: Outcome) -> None:
    """Print how many samples there are, what to keep in mind about them, and where they are."""
    from harness.units import count

    counts = ", ".join(f"{number} {status}" for status, number in sorted(outcome.counts.items()))
    total = sum(outcome.counts.values())
    known = f" ({total - outcome.new} were there before)" if total > outcome.new else ""
    click.echo(f"{count(total, 'sample')}: {counts or 'none'}{known}")
    if outcome.drifted:
        moved = ", ".join(f"{name} {share:+.0%}" for name, share in outcome.drifted.items())
        click.echo(f"drift: limits moved between the start and the end of the run: {moved}")
    for line in outcome.lost:
        click.echo(f"lost: {line}")
    if outcome.left:
        click.echo(f"{count(outcome.left, 'sample')} not taken; the same command goes on")
    click.echo(f"results: {outcome.path}")
