"""``bench-core experiments``: which experiments there are, what one would run, how far it is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands.options import experiment_options

if TYPE_CHECKING:
    from harness.experiments import Call

FOLLOW_SECONDS = 1.0


@click.group("experiments")
def command() -> None:
    """List, show, plan and watch experiments; write a template for your own."""


@command.command("ls")
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The sections of a TOML file of your own.",
)
def ls(file: Path | None) -> int:
    """List the experiments by name, file by file, with what each compares."""
    from harness.experiments import library

    heading = None
    for name, entry in library.entries(file).items():
        if entry.is_embedded != (file is None):
            continue
        if entry.path != heading:
            heading = entry.path
            click.echo(f"{entry.path.name}")
        section = library.load(name, file)
        click.echo(f"  {name:20} {section.title}")
    return 0


@command.command("show")
@experiment_options
def show(call: Call) -> int:
    """Print the section NAME as it would be run: what it inherits and what is set included."""
    from harness.experiments import define
    from harness.experiments.toml_text import toml_text

    click.echo(toml_text(call.name, define(call).section))
    return 0


@command.command("plan")
@experiment_options
@click.option("--cells", "are_cells_shown", is_flag=True, help="List every cell with its id.")
def plan(call: Call, are_cells_shown: bool) -> int:
    """Say what NAME would run, how long it takes, and how many bytes it moves; run nothing.

    Times come from records of earlier runs, and from the reference results where there are none.
    """
    from harness.experiments import define
    from harness.experiments.estimate import estimate
    from harness.report.tables import console

    experiment = define(call)
    found = estimate(experiment)
    console().print(found.table())
    if are_cells_shown:
        for cell in experiment.cells:
            click.echo(f"{cell.id}  {cell.comparison:24} {len(cell.turns):4} samples  {cell.label}")
    click.echo(found.summary())
    return 0


@command.command("status")
@click.argument("folder", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--follow", "-f", is_flag=True, help="Stay, and show it as it goes on.")
def status(folder: Path | None, follow: bool) -> int:
    """Say how far the run in FOLDER is (the newest one by default), whoever measures it."""
    from rich.console import Console
    from rich.live import Live

    from harness.experiments.status import Status, newest_folder

    found = Status(folder or newest_folder())
    console = Console()
    if not follow:
        console.print(found.shown())
        return 0
    with Live(found.shown(), console=console, auto_refresh=False) as live:
        while not found.is_done:
            time.sleep(FOLLOW_SECONDS)
            live.update(found.shown(), refresh=True)
    return 0


@command.command("new")
@click.argument("folder", type=click.Path(path_type=Path))
def new(folder: Path) -> int:
    """Write a first benchmark and its experiment into FOLDER, to be changed into your own."""
    from harness.experiments.template import PACKAGE, SECTIONS, write_template

    for path in write_template(folder):
        click.echo(str(path))
    click.echo(
        f"run it: bench-core run first --file {folder / SECTIONS} --benchmarks {folder / PACKAGE}"
    )
    return 0
