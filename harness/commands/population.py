"""``bench-core population``: random architectures of a search space, and children of them."""

from __future__ import annotations

import json
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click


def _settings(ctx: click.Context, param: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            found[name] = json.loads(value)
        except ValueError:
            raise click.BadParameter(f"{text!r}, expected NAME=JSON, as layers=4") from None
    return found


@click.command("population")
@click.argument("space")
@click.argument("n", type=int)
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--seed", default=0, show_default=True)
@click.option("--evolve", "children", default=0, help="Replace so many by their children.")
@click.option("--beta", type=float, help="1 or more; larger: later choices are changed.")
@click.option("--workers", default=1, show_default=True, help="Threads.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Keeps finished chunks, so that the same command goes on after a stop.",
)
@click.option("--mpi", is_flag=True, help="Use MPI's ranks; see above for how to start them.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=_settings,
    metavar="NAME=JSON",
    help="A setting of the space, as layers=4.",
)
def command(
    space: str,
    n: int,
    path: Path,
    seed: int,
    children: int,
    beta: float | None,
    workers: int,
    folder: Path | None,
    mpi: bool,
    settings: dict[str, Any],
) -> None:
    """Draw N architectures of SPACE (dense-skip, feed-forward, …) and save them as PATH, a .npz.

    The file is the same for any number of workers, and under MPI:

    \b
        bench-core population dense-skip 60000 drawn.npz --evolve 10000
        mpiexec -n 3 python -m mpi4py.futures -m harness.cli population … --mpi
    """
    from bench_core.weight_transfer import spaces
    from bench_core.weight_transfer.population import evolve, generate

    searched = spaces.get(space, **settings)
    with ExitStack() as stack:
        executor = stack.enter_context(_mpi_pool()) if mpi else None
        where: dict[str, Any] = {"workers": workers, "folder": folder, "executor": executor}
        population = generate(searched, n, seed, **where)
        if children:
            population = evolve(population, children, seed + 1, beta=beta, **where)
        population.save(path)


def _mpi_pool() -> Executor:
    from bench_core.optional import require

    pool: Executor = require("mpi4py.futures", "mpi").MPIPoolExecutor()
    return pool
