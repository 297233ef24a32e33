"""What ``bench-core search`` says: estimate, how far it has come, ranking, the JSON file."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import InputError
from harness.units import byte_count

if TYPE_CHECKING:
    from rich.progress import Progress

    from bench_core.data import SearchData
    from bench_core.model_search import Ranked, RoundResult, SearchResult, Settings
    from bench_core.model_search.candidates import Candidates
    from bench_core.snapshots import SnapshotStore


class Status:
    """Shows which round a search is in and how far it has come: a bar, and a line a round."""

    def __init__(self, bar: Progress, n_rounds: int) -> None:
        self._bar, self._n_rounds = bar, n_rounds
        self._task = bar.add_task(self._at(0), total=None)

    def advance(self, done: int, total: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=done, total=total)

    def finish_round(self, found: RoundResult) -> None:
        """Say how a round ended."""
        best = found.scores[0]
        click.echo(
            f"{self._at(found.index)}: {len(found.scores)} models by {found.stop:,} items, best "
            f"{best.name} ({best.score:.4f})",
            err=True,
        )
        following = min(found.index + 1, self._n_rounds - 1)
        self._bar.update(self._task, description=self._at(following))

    def _at(self, index: int) -> str:
        return f"round {index + 1} of {self._n_rounds}"


@contextmanager
def shown_status(n_rounds: int) -> Iterator[Status]:
    """Show how far a search of so many rounds has come, on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    shown = console.is_terminal  # into a file it would write an empty line
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        yield Status(bar, n_rounds)


def print_estimate(
    store: SnapshotStore, candidates: Candidates, items: SearchData, chosen: Settings
) -> None:
    """Say what the search will take; some of each of its parts is timed for that."""
    from bench_core.model_search.estimate import estimate
    from bench_core.model_search.probes import measure_rates

    rates = measure_rates(store, candidates, items, chosen)
    found = estimate(candidates, items, chosen, rates)
    shared = found.model_bytes / found.distinct_bytes
    click.echo(
        f"{len(candidates)} models, {byte_count(found.distinct_bytes)} of distinct blocks "
        f"({shared:.1f} times fewer than without sharing); {len(items.train):,} items to learn "
        f"from, {len(items.test):,} to be scored on"
    )
    click.echo(
        f"estimated: {found.seconds:,.1f} s: prepare_model {found.load_seconds:,.2f} "
        f"({byte_count(found.bytes_loaded)}), prepare_data {found.decode_seconds:,.2f}, "
        f"inference {found.compute_seconds:,.2f}, proxy_score {found.proxy_seconds:,.2f}"
        f"{_beside(chosen)}; without writing features, and without what a journal has"
    )
    click.echo(
        f"{byte_count(found.peak_bytes)} of memory for blocks and results, "
        f"{byte_count(found.feature_bytes)} for features, what convolutions and matrix products "
        f"work with on top; first round in {found.n_chunks} chunks"
    )


def _beside(chosen: Settings) -> str:
    from bench_core.model_search.expected_work import OURS

    return ", partly at once" if chosen.engine in (*OURS, "base_tuned") else ""


def print_result(result: SearchResult, top: int) -> None:
    """Print the first places of the ranking, what is to be said of models, time and work."""
    from rich.markup import escape
    from rich.table import Table

    from harness.report.tables import console as wide_console

    table = Table("rank", "model", "rounds", "score", "loss", box=None)
    for item in result.ranking[:top]:
        score = "-" if item.score is None else f"{item.score:.4f}"
        loss = "-" if item.loss is None else f"{item.loss:.4f}"
        table.add_row(str(item.rank), escape(item.name), str(item.round + 1), score, loss)
    console = wide_console()
    console.print(table)
    for item in result.ranking:
        if item.note:
            console.print(
                escape(f"{_what(item)}: {item.name}: {item.note}"), highlight=False, soft_wrap=True
            )
    for line in _work(result):
        console.print(line, highlight=False, soft_wrap=True)


def check_json_file(path: Path) -> None:
    """See that the results can be written there, before the search and not after it.

    Raises:
        InputError: its folder is missing or not writable, or a folder has this name.
    """
    if path.is_dir():
        raise InputError(f"--json {path}: a folder; give the name of a file")
    if not path.parent.is_dir():
        raise InputError(f"--json {path}: there is no folder {path.parent}; create it first")
    try:
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise InputError(
            f"--json {path}: nothing can be written there, {error.strerror}; write elsewhere"
        ) from error


def write_json(path: Path, result: SearchResult) -> None:
    """Write everything; the file appears whole or not at all."""
    from bench_core.formats.atomic import write_atomically
    from bench_core.formats.base import Durability

    text = json.dumps(result.as_json(), indent=1, allow_nan=False)
    write_atomically(
        path,
        Durability.FSYNC_DIR,
        lambda temporary: _write_text(temporary, text),
        bytes_logical=len(text),
    )


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _what(item: Ranked) -> str:
    return "left out" if item.round < 0 else "no score"


def _from_storage(counts: Mapping[str, int]) -> str:
    """Say how much was not in the page cache, where the system counts it."""
    found = counts.get("bytes_from_storage")
    return "" if found is None else f" ({byte_count(found)} from storage)"


def _work(result: SearchResult) -> list[str]:
    """Return the lines about time and work."""
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in result.work.seconds.items())
    counts = result.work.counts
    return [
        f"{result.seconds:.2f} s: {phases}",
        f"{counts.get('block_executions', 0):,} block executions, "
        f"{byte_count(counts.get('bytes_loaded', 0))} of blocks read{_from_storage(counts)}, "
        f"{counts.get('items_decoded', 0):,} items decoded, "
        f"{counts.get('batches_resumed', 0):,} batches taken from the journal",
    ]
