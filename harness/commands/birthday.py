"""``bench-core birthday``: how much of a new model is to be found among stored ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from bench_core.weight_transfer.birthday import PrefixEstimate, Trials
    from harness.report.display import DisplayRow, DisplayTable


def _numbers(kind: Callable[[str], Any]) -> Callable[..., list[Any] | None]:
    def parsed(ctx: click.Context, param: click.Parameter, text: str | None) -> list[Any] | None:
        if text is None:
            return None
        try:
            return [kind(part) for part in text.split(",")]
        except ValueError as error:
            raise click.BadParameter(f"{text!r}, expected numbers with commas between") from error

    return parsed


@click.command("birthday")
@click.option(
    "--choices",
    callback=_numbers(int),
    required=True,
    metavar="C[,C...]",
    help="Choices at each position; repeated up to --length.",
)
@click.option(
    "--length", type=click.IntRange(1), help="Positions; without it as many as --choices names."
)
@click.option("--models", type=click.IntRange(1), default=300, show_default=True, help="Stored.")
@click.option(
    "--bytes",
    "nbytes",
    callback=_numbers(float),
    metavar="B[,B...]",
    help="Bytes of each position's layer, a mean over its choices; repeated up to --length.",
)
@click.option(
    "--beta",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="For the child: how much likelier the last position is mutated than the first.",
)
@click.option("--simulate", "trials", type=click.IntRange(2), help="Draw so many times, too.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write all of it here.",
)
def command(
    choices: list[int],
    length: int | None,
    models: int,
    nbytes: list[float] | None,
    beta: float,
    trials: int | None,
    seed: int,
    json_file: Path | None,
) -> None:
    """Estimate the longest common prefix of a random model, and of a child, with stored ones.

    \b
        bench-core birthday --choices 2 --length 15 --models 300
        bench-core birthday --choices 31,2,31,2,2 --models 1000 --simulate 1000
    """
    from bench_core.weight_transfer import birthday
    from harness.report import tables

    length = length or len(choices)
    choices = _repeated("--choices", choices, length)
    weights = [1 + (beta - 1) * i / max(length - 1, 1) for i in range(length)]
    sizes = None if nbytes is None else _repeated("--bytes", nbytes, length)
    found = birthday.estimate(choices, models, sizes)
    child = birthday.child(choices, models, weights)
    simulated = {}
    if trials:
        even = [[1 / count] * count for count in choices]
        simulated = {
            "layers": birthday.simulate(even, models, trials, seed),
            "child_layers": birthday.simulate_child(choices, models, trials, seed, weights),
            "distinct": birthday.simulate_distinct(choices, models, trials, seed),
        }
    console = tables.console()
    lines = {
        "layers": ("layers of a random model", found.layers),
        "child_layers": ("layers of a stored model's child", child),
        "nbytes": ("bytes of a random model", found.nbytes),
        "distinct": ("different prefixes", found.distinct),
        "dedup_ratio": ("deduplication ratio", found.dedup_ratio),
    }
    if nbytes is None:
        del lines["nbytes"]
    subtitle = f"{models} models of {length} layers"
    tables.print_terminal(_table(lines, simulated, subtitle), console)
    tables.print_terminal(_lengths(found), console)
    if json_file is not None:
        content = {
            "estimate": asdict(found),
            "child_layers": child,
            "simulated": {name: asdict(one) for name, one in simulated.items()},
        }
        _write(json_file, content)


def _repeated(option: str, values: list[Any], length: int) -> list[Any]:
    if len(values) > length:
        raise click.UsageError(f"{option} names {len(values)} positions, expected at most {length}")
    return [values[i % len(values)] for i in range(length)]


def _table(
    lines: dict[str, tuple[str, float]], simulated: dict[str, Trials], subtitle: str
) -> DisplayTable:
    from harness.report.display import DisplayTable

    rows = []
    for key, (words, value) in lines.items():
        trials = simulated.get(key)
        drawn = f"{trials.mean:.4f} ± {trials.standard_error:.4f}" if trials else "–"
        # Draws that were all equal say nothing of how far off they may be.
        z = f"{trials.z(value):.2f}" if trials and trials.standard_error else "–"
        rows.append(_row(words, f"{value:.4f}", drawn, z))
    return DisplayTable(
        title="expected in common with the best of the stored models",
        subtitle=subtitle,
        columns=("what", "closed form", "drawn", "z"),
        rows=tuple(rows),
        words=1,
    )


def _lengths(found: PrefixEstimate) -> DisplayTable:
    from harness.report.display import DisplayTable

    return DisplayTable(
        title="probability of at least so many layers",
        subtitle="",
        columns=("layers", "probability"),
        rows=tuple(_row(str(m), f"{p:.4f}") for m, p in enumerate(found.at_least, start=1)),
        words=1,
    )


def _row(*cells: str) -> DisplayRow:
    from harness.report.display import Cell, DisplayRow

    return DisplayRow(tuple(map(Cell, cells)))


def _write(path: Path, content: dict[str, Any]) -> None:
    from harness.errors import InputError

    try:
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: not written, {error.strerror}; choose another place") from error
