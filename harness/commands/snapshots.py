"""``bench-core snapshots``: what a store of models holds, whether it is whole, what can go."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from harness import exit_codes
from harness.errors import InputError
from harness.units import byte_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.table import Table

    from bench_core.snapshots import Report, Snapshot, SnapshotStore

_STORE: Final = click.argument(
    "folder", metavar="STORE", type=click.Path(exists=True, file_okay=False, path_type=Path)
)
_ELSEWHERE: Final = {
    "compare": (
        "harness.commands.snapshots_compare",
        "Say in which tensors models agree, and how far the others differ.",
    ),
    "import": (
        "harness.commands.snapshots_import",
        "Store models of Hugging Face folders, equal blocks once.",
    ),
}


class _Group(click.Group):
    """A group of which some commands live in modules of their own, imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return [*super().list_commands(ctx), *_ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command of this name."""
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        found: click.Command = importlib.import_module(_ELSEWHERE[cmd_name][0]).command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands' lines without importing their modules."""
        own = [(name, self.commands[name].get_short_help_str(90)) for name in sorted(self.commands)]
        with formatter.section("Commands"):
            formatter.write_dl([*own, *((name, text) for name, (_, text) in _ELSEWHERE.items())])


@click.group("snapshots", cls=_Group)
def command() -> None:
    """Look after a store of models: a folder in which equal blocks are kept once."""


@command.command("ls")
@_STORE
@click.option("--json", "is_json", is_flag=True, help="Print JSON instead of a table.")
def ls(folder: Path, is_json: bool) -> int:
    """List the models in STORE, what they share, and what that saves."""
    from harness.report.tables import console

    content = _content(_store(folder))
    if is_json:
        click.echo(json.dumps(content, indent=1))
        return exit_codes.FINE
    console().print(_table(content["models"]))
    click.echo(_totals(**content["totals"]))
    return exit_codes.FINE


@command.command("verify")
@_STORE
def verify(folder: Path) -> int:
    """Read every block in STORE from the device and compare its digest.

    Exit code 3 if a block or a manifest is damaged or missing: a line for each on stderr.
    """
    from bench_core.snapshots import verify as verify_store

    store = _store(folder)
    with _progress("verify") as progress:
        report = verify_store(store, progress)
    for error in report.corrupt:
        users = ", ".join(error.models)
        click.echo(f"{error.path}: {error.reason}; used by {users}", err=True)
    for line in report.manifests:
        click.echo(line, err=True)
    click.echo(_verdict(report))
    return exit_codes.FINE if report.is_whole else exit_codes.BROKEN


@command.command("gc")
@_STORE
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def gc(folder: Path, dry_run: bool) -> int:
    """Remove from STORE what no model uses: blocks, and what killed writers left.

    Safe while models are being added: those who add them are waited for.
    """
    from bench_core.snapshots import gc as collect

    found = collect(_store(folder), dry_run)
    if dry_run:
        for path in (*found.blocks, *found.temporaries):
            click.echo(str(path))
    click.echo(
        f"{'would remove' if dry_run else 'removed'} {_count(len(found.blocks), 'block')} and "
        f"{_count(len(found.temporaries), 'unfinished file')}, {byte_count(found.nbytes)}"
    )
    return exit_codes.FINE


@command.command("rm")
@_STORE
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
def rm(folder: Path, names: tuple[str, ...]) -> int:
    """Remove models from STORE by name.

    Their blocks stay until `gc` removes those that no other model has.
    """
    store = _store(folder)
    for name in names:
        store.manifests.require(name)
    for name in dict.fromkeys(names):
        store.remove(name)
        click.echo(f"removed {name}")
    click.echo(f"free the space: bench-core snapshots gc {folder}")
    return exit_codes.FINE


def _store(folder: Path) -> SnapshotStore:
    from bench_core.snapshots import SnapshotStore

    if not (folder / "models").is_dir() and not (folder / "blocks").is_dir():
        raise InputError(
            f"{folder}: no store of models, it has neither 'models' nor 'blocks' in it"
        )
    return SnapshotStore(folder)


def _content(store: SnapshotStore) -> dict[str, Any]:
    """Return what `ls` tells: a row for each model, and the totals."""
    from bench_core.snapshots import own_bytes, total_bytes, unique_bytes

    snapshots = store.snapshots()
    own = own_bytes(snapshots)
    total, unique = total_bytes(snapshots), unique_bytes(snapshots)
    return {
        "models": [_row(snapshot, own[snapshot.name]) for snapshot in snapshots],
        "totals": {
            "models": len(snapshots),
            "bytes": total,
            "unique_bytes": unique,
            "bytes_on_disk": sum(path.stat().st_size for _, path in store.blocks.files()),
            "sharing_factor": total / unique if unique else 1.0,
        },
    }


def _row(snapshot: Snapshot, own: int) -> dict[str, Any]:
    return {
        "model": snapshot.name,
        "architecture": snapshot.architecture,
        "blocks": len(snapshot.blocks),
        "bytes": snapshot.nbytes,
        "own_bytes": own,
        "base": snapshot.origin.get("base"),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    for heading in ("model", "architecture"):
        table.add_column(heading, overflow="fold")
    for heading in ("blocks", "bytes", "own"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("base", overflow="fold")
    for row in rows:
        sizes = byte_count(row["bytes"]), byte_count(row["own_bytes"])
        # Text: a name in square brackets is no markup.
        names = Text(row["model"]), Text(row["architecture"])
        table.add_row(*names, str(row["blocks"]), *sizes, Text(str(row["base"] or "–")))
    return table


def _totals(
    *, models: int, bytes: int, unique_bytes: int, bytes_on_disk: int, sharing_factor: float
) -> str:
    return (
        f"{_count(models, 'model')} of {byte_count(bytes)}, {byte_count(unique_bytes)} of them "
        f"unique ({byte_count(bytes_on_disk)} on disk): shared {sharing_factor:.2f} times"
    )


def _verdict(report: Report) -> str:
    """Return the line that sums a verification up."""
    seen = (
        f"{_count(report.models, 'model')}, {_count(report.blocks, 'block')}, "
        f"{byte_count(report.nbytes)}"
    )
    damaged = len(report.corrupt) + len(report.manifests)
    found = "all whole" if report.is_whole else f"{damaged} damaged or missing"
    orphans = f"; no model uses {_count(len(report.orphans), 'block')}" if report.orphans else ""
    return f"{seen}: {found}{orphans}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr, and give what moves it: bytes done, and bytes in all."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    shown = console.is_terminal  # into a file it would write an empty line
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
