"""``bench-core evolve``: search an architecture by evolution, with weight transfer."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from harness.commands.search_output import check_json_file
from harness.progress import model_progress
from harness.units import byte_count

if TYPE_CHECKING:
    from bench_core.weight_transfer.evolution import Arrival, SearchResult, Setup

_SHOWN: Final = 5


@click.command("evolve")
@click.argument("application")
@click.option("--candidates", default=1_000, show_default=True, help="To be trained in all.")
@click.option("--population", default=50, show_default=True, help="Those alive at a time.")
@click.option("--sample", default=5, show_default=True, help="The best of so many has a child.")
@click.option("--beta", default=1.0, show_default=True, help="Larger: later layers are changed.")
@click.option("--epochs", type=click.IntRange(1), help="Of each. [default: the application's]")
@click.option(
    "--method",
    default="store",
    show_default=True,
    help="Of transfer: noop, file, file_search, redis_scan or store.",
)
@click.option(
    "--models",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where trained models are kept.",
)
@click.option(
    "--servers",
    default="",
    envvar="MODEL_SERVERS",
    metavar="URLS",
    help="Of the store instead of DIR, with blanks between; or the variable MODEL_SERVERS.",
)
@click.option("--donors", default="best", show_default=True, help="Or parent, random, none.")
@click.option("--keep", is_flag=True, help="Never retire a model.")
@click.option("--engine", default="serial", show_default=True, help="Or processes, mpi, ray.")
@click.option("--workers", default=1, show_default=True)
@click.option("--synchronous", is_flag=True, help="Wait for all that are being trained.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--journal",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Notes each candidate; the same command goes on. [default: journal in DIR]",
)
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
def command(
    application: str,
    folder: Path | None,
    journal: Path | None,
    json_file: Path | None,
    engine: str,
    workers: int,
    **options: Any,
) -> None:
    """Search the best architecture for APPLICATION: digits, digits_nt3, nt3, attn, uno, combo, …

    Every candidate takes over the layers that it has in common with a trained one. Ctrl-C loses
    nothing but what is being trained: the same command goes on from the journal.

    \b
        bench-core evolve digits --models my_models --candidates 200
        bench-core evolve digits --models my_models --engine processes --workers 2

    With ``--engine mpi`` under ``mpiexec -n 9 python -m mpi4py.futures -m harness.cli evolve …``
    there are ``--workers 8``: all ranks but the first.
    """
    from bench_core.weight_transfer.evolution import search

    if json_file is not None:
        check_json_file(json_file)
    setup = _setup(application, folder, options)
    settings = _settings(workers, options)
    if journal is None and folder is not None:
        journal = folder / "journal.jsonl"
    with model_progress("candidates") as advance:

        def show(arrival: Arrival) -> None:
            counted.append(arrival.outcome.accuracy)
            advance(len(counted), settings.candidates, f"best {max(counted):.4f}")

        counted: list[float] = []
        result = search(
            setup, settings, engine=engine, workers=workers, journal=journal, progress=show
        )
    _print(result)
    if json_file is not None:
        json_file.write_text(json.dumps(_content(result), indent=1), encoding="utf-8")


def _setup(application: str, folder: Path | None, options: dict[str, Any]) -> Setup:
    from bench_core.weight_transfer import applications
    from bench_core.weight_transfer.evolution import MethodRecipe, Setup

    about = applications.get(application)
    epochs, servers, method = (options.pop(name) for name in ("epochs", "servers", "method"))
    plan = about.plan if epochs is None else replace(about.plan, epochs=epochs)
    if folder is None and not servers and method != "noop":
        raise click.UsageError("give --models DIR or --servers URLS: where shall models be kept?")
    place = None if folder is None else str(folder.absolute() / "models")
    recipe = MethodRecipe(method, place, tuple(servers.split()))
    return Setup(about.space, about.task, recipe, plan)


def _settings(workers: int, options: dict[str, Any]) -> Any:
    from bench_core.weight_transfer.evolution import Evolution

    is_synchronous, keeps = options.pop("synchronous"), options.pop("keep")
    return Evolution(in_flight=workers, is_synchronous=is_synchronous, retires=not keeps, **options)


def _print(result: SearchResult) -> None:
    from rich.table import Table

    from harness.report.tables import console as wide_console

    table = Table("accuracy", "candidate", "after", "layers", "transferred", "choices", box=None)
    best = sorted(result.arrivals, key=lambda one: (-one.outcome.accuracy, one.candidate.birth))
    for one in best[:_SHOWN]:
        table.add_row(
            f"{one.outcome.accuracy:.4f}",
            str(one.candidate.birth),
            f"{one.seconds:.1f} s",
            str(one.outcome.layers),
            str(one.outcome.transferred),
            " ".join(map(str, one.candidate.arch)),
        )
    console = wide_console()
    console.print(table)
    for line in _lines(result):
        console.print(line, highlight=False, soft_wrap=True)


def _lines(result: SearchResult) -> list[str]:
    spent = sorted(result.phase_seconds().items(), key=lambda pair: -pair[1])
    total = sum(seconds for _, seconds in spent) or 1.0
    shares = ", ".join(f"{phase} {100 * seconds / total:.1f} %" for phase, seconds in spent[:6])
    lines = [f"{len(result.arrivals)} candidates in {result.seconds:.1f} s; {shares}"]
    if result.bytes_physical:
        ratio = result.bytes_logical / result.bytes_physical
        lines.append(
            f"models of {byte_count(result.bytes_logical)} were written as "
            f"{byte_count(result.bytes_physical)} ({ratio:.2f} times less), "
            f"{byte_count(max(one.stored_bytes for one in result.arrivals))} were kept at most"
        )
    lost = sum(bool(one.outcome.problem) for one in result.arrivals)
    if lost:
        lines.append(f"{lost} candidates have no accuracy: {_problems(result)}")
    return lines


def _problems(result: SearchResult) -> str:
    found = dict.fromkeys(one.outcome.problem for one in result.arrivals if one.outcome.problem)
    return "; ".join(found)


def _content(result: SearchResult) -> list[dict[str, Any]]:
    lines = []
    for one in result.arrivals:
        line = asdict(one)
        if not one.outcome.is_finite:
            line["outcome"]["accuracy"] = None
        lines.append(line)
    return lines
