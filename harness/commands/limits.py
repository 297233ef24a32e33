"""``bench-core limits``: probe the machine's limits and print them, beside fio's figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import click

from harness.errors import RefusedError

if TYPE_CHECKING:
    from rich.table import Table

    from harness.limits import Limits
    from harness.limits.fio import Comparison

FIO_SECONDS: Final = 0.5

_SCALES: Final = {
    "B/s": (1e9, "GB/s", ",.2f"),
    "FLOP/s": (1e9, "GFLOP/s", ",.0f"),
    "IOPS": (1.0, "IOPS", ",.0f"),
    "s": (1e-6, "µs", ",.0f"),
}


@click.command(name="limits")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Folder on the disk to probe.  [default: the data folder]",
)
@click.option(
    "--quick", is_flag=True, help="Some 20 s and 512 MiB of disk instead of a minute and 2 GiB."
)
@click.option(
    "--json",
    "json_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the limits, with every reading, to this file.",
)
def command(directory: Path | None, quick: bool, json_file: Path | None) -> None:
    """Probe what this machine can do at most: disk, memory, cores and device.

    Every benchmark's result is set against these limits. Where fio is installed, it measures the
    disk too, at the same points; the table says whether the two agree within 20 %.
    """
    from rich.console import Console

    from harness import machine
    from harness.limits import save

    if directory is None:
        from harness.benchmark import data_dir

        directory = data_dir()
    description = machine.describe(directory)
    limits, comparisons, fio_note = _probe(directory, quick)
    console = Console()
    console.print(_headline(description), highlight=False, soft_wrap=True)
    console.print(_table(limits))
    if comparisons:
        console.print(_fio_table(comparisons))
    for note in _notes(limits, comparisons, fio_note):
        console.print(note, highlight=False, soft_wrap=True)
    if json_file is not None:
        fio = [{**asdict(item), "agrees": item.agrees} for item in comparisons]
        save(json_file, limits, machine=description, fio=fio, fio_note=fio_note)
        console.print(f"written to {json_file}", highlight=False, soft_wrap=True)


def format_value(value: float, unit: str) -> str:
    """Return a limit as people read it: ``2.15 GB/s``, ``17,500 IOPS``, ``116 µs``."""
    scale, name, form = _SCALES[unit]
    return f"{value / scale:{form}} {name}"


def _probe(directory: Path, quick: bool) -> tuple[Limits, Sequence[Comparison], str | None]:
    """Probe and compare with fio, showing progress; also return why there is no comparison."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    from harness.limits import NAMES, LimitProbe, best, fio

    columns = (TextColumn("{task.description:<32}"), BarColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with (
        LimitProbe(directory, quick=quick) as limit_probe,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        task = progress.add_task("begin", total=len(NAMES) + len(fio.PATTERNS))

        def step(prefix: str) -> Any:
            return lambda name: progress.update(task, description=prefix + name, advance=1)

        limits = limit_probe.probe(step(""))
        try:
            comparisons = fio.compare(limit_probe, limits, FIO_SECONDS, step("fio: "))
        except (RefusedError, fio.FioError) as error:
            return limits, (), str(error)
        return best(limits, fio.as_limits(comparisons)), comparisons, None


def _headline(machine: Mapping[str, Any]) -> str:
    """Return one line that says what was probed."""
    cpu, disk, file_system = machine["cpu"], machine["block_device"], machine["file_system"]
    return ", ".join(
        (
            f"{machine['name']}: {cpu['model']}",
            f"{cpu['usable_cores']} cores",
            f"{machine['memory_bytes'] / 2**30:.0f} GiB" if machine["memory_bytes"] else "? GiB",
            f"{file_system['kind'] if file_system else 'unknown file system'} on "
            f"{disk['name'] if disk else 'no visible disk'}",
        )
    )


def _table(limits: Limits) -> Table:
    from harness.limits import NAMES, meaning, unit

    table = _plain_table("limits")
    table.add_column("limit", no_wrap=True)
    table.add_column("value", no_wrap=True, justify="right")
    table.add_column("with", no_wrap=True)
    table.add_column("what it is")
    for name in NAMES:
        value = getattr(limits, name)
        shown = "-" if value is None else format_value(value, unit(name))
        table.add_row(name, shown, _way(limits, name), meaning(name))
    return table


def _fio_table(comparisons: Sequence[Comparison]) -> Table:
    from harness.limits import unit

    table = _plain_table("the probe beside fio, in turn; agree: within 20 %")
    for heading in ("limit", "with", "probe", "fio", "differ", "agree"):
        justify: Literal["left", "right"] = "left" if heading in ("limit", "with") else "right"
        table.add_column(heading, no_wrap=True, justify=justify)
    for item in comparisons:
        table.add_row(
            item.name,
            _request(item.point.block, item.point.depth),
            format_value(item.own, unit(item.name)),
            format_value(item.fio, unit(item.name)),
            f"{item.difference:+.0%}",
            "yes" if item.agrees else "NO",
        )
    return table


def _plain_table(title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(title=title, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))


def _way(limits: Limits, name: str) -> str:
    """Return how the reading was taken that a limit comes from, as far as it has a way."""
    from harness.limits import best_reading

    reading = best_reading(limits, name) or {}
    if "block" in reading:
        return _request(int(reading["block"]), int(reading["depth"]))
    return str(reading.get("way", ""))


def _request(block: int, depth: int) -> str:
    size = f"{block >> 20} MiB" if block >= 1 << 20 else f"{block >> 10} KiB"
    return f"{size} x {depth}"


def _notes(
    limits: Limits, comparisons: Sequence[Comparison], fio_note: str | None
) -> Iterator[str]:
    """Yield a line for everything that the table leaves open; equal reasons share one."""
    reasons: dict[str, list[str]] = {}
    for name, reason in limits.notes.items():
        reasons.setdefault(reason, []).append(name)
    for reason, names in reasons.items():
        yield f"{', '.join(names)}: {reason}"
    if fio_note is not None:
        yield fio_note
    for item in comparisons:
        if not item.agrees:
            yield (
                f"{item.name}: the probe and fio still differ by more than 20 % after "
                f"{len(item.own_readings)} rounds in turn; is the machine idle?"
            )
