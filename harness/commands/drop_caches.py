"""`bench-core drop-caches`: drop the page cache here or on the host, or evict single files."""

from __future__ import annotations

from pathlib import Path

import click

from harness.errors import RefusedError
from prevent_caching.client import DIRECTORY_VARIABLE, DropResult, request_drop
from prevent_caching.drop import LEVELS
from prevent_caching.errors import PreventCachingError
from prevent_caching.eviction import evict, why_resident
from prevent_caching.file_system import kind
from prevent_caching.residency import Residency, residency

# The share of resident pages up to which a file counts as cold.
COLD_FRACTION = 0.01
_READ_BYTES = 1 << 20

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("drop-caches")
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="Ask the host's watcher of this directory. Default: drop directly where permitted, else "
    f"ask in ${DIRECTORY_VARIABLE}.",
)
@click.option(
    "--timeout", type=float, default=30.0, show_default=True, help="Seconds to wait for an answer."
)
@click.option(
    "--level",
    type=click.Choice([str(level) for level in sorted(LEVELS)]),
    default="3",
    show_default=True,
    help="1: page cache; 3: also dentries and inodes. A watcher has its own.",
)
@click.option(
    "--prove",
    type=_FILE,
    metavar="FILE",
    help="Read FILE, drop, and print its residency before and after.",
)
@click.option(
    "--evict",
    "files",
    type=_FILE,
    multiple=True,
    metavar="FILE",
    help="Evict only FILE; needs no privilege, repeatable.",
)
def command(
    directory: Path | None, timeout: float, level: str, prove: Path | None, files: tuple[Path, ...]
) -> None:
    """Drop the page cache of this kernel, so that the next reads come from the device."""
    if files and (directory is not None or prove is not None):
        raise click.UsageError("--evict concerns single files: use it without --dir and --prove")
    try:
        if files:
            for file in files:
                _evict(file)
            return
        if prove is not None:
            _make_resident(prove)
        result = request_drop(directory, timeout, level=int(level))
        click.echo(_describe(result))
        if prove is not None:
            _require_cold(prove)
    except PreventCachingError as error:
        raise RefusedError(str(error)) from error


def _evict(file: Path) -> None:
    before = residency(file)
    evict(file)
    click.echo(f"before: {_residency_line(file, before)}")
    _require_cold(file)


def _make_resident(file: Path) -> None:
    """Read the file, so that its absence from the cache afterwards proves something."""
    found = kind(file)
    if not found.has_page_cache_drop:
        raise RefusedError(f"{file} cannot prove a drop: {found.reason}")
    with file.open("rb") as stream:
        while stream.read(_READ_BYTES):
            pass
    before = residency(file)
    click.echo(f"before: {_residency_line(file, before)}")
    if before.resident == 0:
        raise RefusedError(f"{file} cannot prove a drop: no page of it was cached after reading it")


def _require_cold(file: Path) -> None:
    after = residency(file)
    click.echo(f"after:  {_residency_line(file, after)}")
    if after.fraction > COLD_FRACTION:
        raise RefusedError(f"{file} is still {after.fraction:.1%} resident: {why_resident(file)}")


def _residency_line(file: Path, found: Residency) -> str:
    return f"{found.fraction:6.1%} of {file} resident ({found.resident} of {found.pages} pages)"


def _describe(result: DropResult) -> str:
    what = f"{LEVELS[result.level]} in {result.seconds:.2f} s"
    if result.how == "direct":
        return f"this process dropped {what}"
    line = f"the host's watcher dropped {what} (request {result.requested_id})"
    if result.same_kernel is False:
        line += "; it runs on another kernel: this machine's own page cache was not touched"
    return line
