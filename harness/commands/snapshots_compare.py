"""``bench-core snapshots compare``: in which tensors models agree, and how far others differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from harness import exit_codes
from harness.errors import InputError
from harness.progress import model_progress
from harness.units import byte_count

if TYPE_CHECKING:
    from rich.table import Table

    from bench_core.snapshots.compare import Model, Report
    from bench_core.snapshots.hub_folders import Found

_WORDS: Final = {
    "identical": "identical",
    "same_shape": "differ",
    "same_name": "other shape",
    "different_name": "only in one",
}
_SHOWN_GROUPS: Final = 8


@click.command("compare")
@click.argument("base", metavar="A")
@click.argument("other", metavar="B")
@click.option(
    "--store",
    "folder",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A and B are names of models in this store.",
)
@click.option("--deep", is_flag=True, help="Also compare values and bits of tensors that differ.")
@click.option(
    "--json",
    "path",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Append a line of JSON for each model; of many, those that have one are passed over.",
)
def command(base: str, other: str, folder: Path | None, deep: bool, path: Path | None) -> int:
    """Compare model A with model B tensor by tensor.

    A and B are folders in Hugging Face layout or files of tensors, or with --store names of models
    in a store; B may also be a folder of many such folders. Exit code 3 if one of many could not be
    read: a line for each.
    """
    from bench_core.snapshots.compare import Report, model_at, model_in, models_under

    report = Report(path, deep)
    if folder is not None:
        from bench_core.snapshots import SnapshotStore

        store = SnapshotStore(folder)
        return _compare_two(report, model_in(store, base), model_in(store, other))
    first, second = _existing(base), _existing(other)
    many = models_under(second) if second.is_dir() else []
    if many:
        return _compare_many(report, model_at(first), many)
    return _compare_two(report, model_at(first), model_at(second))


def _existing(text: str) -> Path:
    path = Path(text)
    if not path.exists():
        raise InputError(f"{path}: there is nothing; name a folder, or a store with --store")
    return path


def _compare_two(report: Report, base: Model, other: Model) -> int:
    from bench_core.snapshots.compare import compare_models
    from harness.report.tables import console

    is_kept = other.name in report.done(base.name)
    line = compare_models(base, other, report.deep).as_json()
    if not is_kept:
        report.keep(line)
    console().print(_groups_table(line))
    if report.deep:
        console().print(_differences_table(line["tensors"]))
    click.echo(_summary(line))
    return exit_codes.FINE


def _compare_many(report: Report, base: Model, many: Sequence[Found]) -> int:
    from bench_core.snapshots.compare import Failure
    from harness.report.tables import console

    with model_progress("compare") as progress:
        rows = list(report.rows(base, many, progress))
    failures = [row for row in rows if isinstance(row, Failure)]
    lines = [row for row in rows if not isinstance(row, Failure)]
    console().print(_models_table(lines))
    for failure in failures:
        click.echo(failure.reason, err=True)
    sharing = sum(line["identical"] > 0 for line in lines)
    click.echo(
        f"{len(lines)} of {len(rows)} models compared with {base.name}; {sharing} have identical "
        "tensors"
    )
    return exit_codes.BROKEN if failures else exit_codes.FINE


def _summary(line: Mapping[str, Any]) -> str:
    return (
        f"{line['model']}: {line['identical']} / {line['total']} tensors identical to "
        f"{line['base']}, {byte_count(line['identical_bytes'])} of {byte_count(line['bytes'])}"
    )


def _models_table(lines: Iterable[Mapping[str, Any]]) -> Table:
    table = _table(["model"], ["identical", "total", "bytes identical"], ["in order"])
    for line in lines:
        share = line["identical_bytes"] / line["bytes"] if line["bytes"] else 1.0
        runs = [f"{count} {_WORDS[level]}" for level, count in line["groups"]]
        more = len(runs) - _SHOWN_GROUPS
        shown = ", ".join(runs[:_SHOWN_GROUPS]) + (f", {more} more runs" if more > 0 else "")
        _add(table, line["model"], line["identical"], line["total"], f"{share:.1%}", shown)
    return table


def _groups_table(line: Mapping[str, Any]) -> Table:
    """Return a row for each run of equal levels, with the names it goes from and to."""
    table = _table([], ["tensors"], ["level", "from", "to"])
    start = 0
    for level, count in line["groups"]:
        first, last = line["tensors"][start]["name"], line["tensors"][start + count - 1]["name"]
        _add(table, count, _WORDS[level], first, last)
        start += count
    return table


def _differences_table(tensors: Iterable[Mapping[str, Any]]) -> Table:
    figures = ["mse", "min |Δ|", "mean |Δ|", "max |Δ|", "not finite", "equal bits", "leading zeros"]
    table = _table(["tensor"], [*figures, "trailing zeros"], [])
    for tensor in tensors:
        if "difference" in tensor:
            _add(table, tensor["name"], *_figures(tensor["difference"]))
    return table


def _figures(found: Mapping[str, Any]) -> list[str]:
    names = ("mse", "min_abs", "mean_abs", "max_abs")
    values = ["–" if found[name] is None else f"{found[name]:.3g}" for name in names]
    bits = found["xor"]
    if bits is None:
        return [*values, str(found["not_finite"]), "–", "–", "–"]
    means = (f"{bits[f'mean_{side}_zeros']:.1f}" for side in ("leading", "trailing"))
    return [*values, str(found["not_finite"]), f"{bits['zero_share']:.1%}", *means]


def _table(left: Sequence[str], numbers: Sequence[str], right: Sequence[str]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for heading in left:
        table.add_column(heading, overflow="fold")
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in right:
        table.add_column(heading, overflow="fold")
    return table


def _add(table: Table, *cells: object) -> None:
    """Add a row; a name in square brackets is no markup."""
    from rich.text import Text

    table.add_row(*(Text(str(cell)) for cell in cells))
