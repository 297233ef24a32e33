"""``bench-core search``: rank a folder of models by how well they suit a data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from harness import exit_codes
from harness.errors import InputError
from harness.progress import model_progress
from harness.units import byte_count

if TYPE_CHECKING:
    from bench_core.data import SearchData
    from bench_core.model_search import Ranked, RoundResult, SearchResult
    from bench_core.snapshots import Snapshot, SnapshotStore

_ALL: Final = -1
_WITHOUT_JOURNAL: Final = ("base", "shift")
"""Engines whose features go through files of their own, as published."""


@click.command(name="search")
@click.option(
    "--models",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A store, or a folder of models in Hugging Face layout, which are imported first.",
)
@click.option(
    "--data",
    "source",
    required=True,
    metavar="DIR",
    help="A folder of images by class, aclImdb, an .npz file, or digits | docstrings | vectors.",
)
@click.option("--engine", default="shared", show_default=True, help="Or distributed, base, …")
@click.option("--proxy", default="linear", show_default=True, help="Or ridge, logme, knn, …")
@click.option("--proxy-setting", "proxy_settings", multiple=True, metavar="KEY=VALUE")
@click.option("--winners", default=1, show_default=True, help="How many models are to be found.")
@click.option("--factor", default=2, show_default=True, help="Each round keeps one of so many.")
@click.option("--batch-size", default=32, show_default=True)
@click.option("--budget", metavar="SIZE", help="Memory, such as 4 GiB. [default: 60 % of the free]")
@click.option("--device", default="cpu", show_default=True)
@click.option("--workers", default=1, show_default=True, help="On Ray: --engine distributed.")
@click.option("--ray-address", metavar="HOST:PORT", help="Of a running Ray. [default: one here]")
@click.option("--seed", default=0, show_default=True, help="Of the data's order and the proxy.")
@click.option("--num-train-items", default=_ALL, help="How many to learn from. [default: all]")
@click.option("--num-test-items", default=_ALL, help="How many to be scored on. [default: all]")
@click.option("--size", type=int, help="Of images in pixels, where the models take any.")
@click.option("--length", type=int, help="Of texts in tokens.")
@click.option("--tokenizer", metavar="PATH", help="Of aclImdb: a tokenizer.json or its folder.")
@click.option(
    "--store",
    "store_folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where imported models go. [default: in the data folder]",
)
@click.option(
    "--journal",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Keeps what is done; the same command goes on. [default: in the data folder]",
)
@click.option("--no-journal", is_flag=True, help="Keep nothing.")
@click.option("--json", "json_file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--top", default=10, show_default=True, help="Places of the ranking to print.")
@click.option("--verify", is_flag=True, help="Check the digest of every block that is read.")
@click.option("--skip-unusable", is_flag=True, help="Go on without models that are damaged.")
@click.option("--paper-exact", is_flag=True, help="Also the last round, which decides nothing.")
@click.option("--no-estimate", is_flag=True, help="Start at once.")
def command(
    folder: Path,
    source: str,
    store_folder: Path | None,
    journal: Path | None,
    no_journal: bool,
    json_file: Path | None,
    top: int,
    no_estimate: bool,
    **options: Any,
) -> int:
    """Find the best base models among many for a data set, without training any.

    Prints the ranking, where the time went, and with --json everything. Ctrl-C loses nothing: the
    same command goes on from there. Exit code 3 if models were left out.
    """
    from bench_core import data
    from bench_core.model_search import search

    store, names, n_failed = _store(folder, store_folder)
    items = _load(data.load, source, options)
    settings = _settings(options)
    if not no_estimate:
        _print_estimate([store.snapshot(name) for name in names], items, settings)
    kept = journal
    if journal is None and not no_journal and settings["engine"] not in _WITHOUT_JOURNAL:
        kept = _journal(names, items, settings)
    with _progress() as progress:
        try:
            result = search(
                store,
                items,
                names=names,
                journal=kept,
                progress=progress,
                on_round=_say_round,
                **settings,
            )
        except KeyboardInterrupt:
            if kept is not None:
                click.echo(f"stopped; the same command goes on from {kept}", err=True)
            raise
    if json_file is not None:
        _write(json_file, result)
    _print_result(result, top)
    left_out = n_failed + sum(item.round < 0 for item in result.ranking)
    return exit_codes.BROKEN if left_out else exit_codes.FINE


def _store(folder: Path, target: Path | None) -> tuple[SnapshotStore, list[str], int]:
    """Return a store, the names of its models that take part, and how many could not be imported.

    The store is the folder itself, or one into which the models of the folder are imported.
    """
    from bench_core.snapshots import Snapshot, SnapshotStore
    from bench_core.snapshots.imported import import_set

    if (folder / "models").is_dir() and (folder / "blocks").is_dir():
        store = SnapshotStore(folder)
        return store, store.names(), 0
    if target is None:
        name = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=8).hexdigest()
        target = _own_folder() / "imported" / name
    store = SnapshotStore(target)
    with model_progress("import") as progress:
        found = import_set(store, folder, progress)
    for item in found:
        if not isinstance(item, Snapshot):
            click.echo(item.reason, err=True)
    names = [item.name for item in found if isinstance(item, Snapshot)]
    if not names:
        raise InputError(
            f"{folder}: neither a store nor a folder of models in Hugging Face layout; a store is "
            "made by `bench-core snapshots import`"
        )
    return store, names, len(found) - len(names)


def _load(load: Any, source: str, options: dict[str, Any]) -> SearchData:
    """Load the data; only what was said is passed on."""
    given = {name: options.pop(name) for name in ("size", "length", "tokenizer")}
    items: SearchData = load(
        source,
        num_train_items=options.pop("num_train_items"),
        num_test_items=options.pop("num_test_items"),
        seed=options["seed"],
        **{name: value for name, value in given.items() if value is not None},
    )
    return items


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of the search."""
    from harness.experiments.sections import parse_bytes

    budget = options.pop("budget")
    try:
        options["budget"] = None if budget is None else parse_bytes(budget)
    except ValueError as error:
        raise InputError(f"--budget: {error}") from error
    options["proxy_settings"] = dict(map(_pair, options["proxy_settings"])) or ()
    return options


def _pair(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise InputError(f"--proxy-setting {text}: expected KEY=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _print_estimate(
    models: Sequence[Snapshot], items: SearchData, settings: Mapping[str, Any]
) -> None:
    """Say what the search will take; blocks are timed for that."""
    from bench_core.model_search import Settings
    from bench_core.model_search.candidates import Candidates
    from bench_core.model_search.estimate import estimate
    from bench_core.model_search.rates import measure_blocks
    from bench_core.models.chains.resources import input_shapes

    chosen = Settings(**settings)
    chosen.check()
    candidates = Candidates.of(models, items)
    shapes = input_shapes(items.train.kind, items.train.shape)
    rates = measure_blocks(candidates, shapes, chosen.batch_size, chosen.device, repeats=1)
    found = estimate(candidates, len(items.train), len(items.test), chosen, rates)
    shared = found.model_bytes / found.distinct_bytes
    click.echo(
        f"{len(candidates)} models, {byte_count(found.distinct_bytes)} of distinct blocks "
        f"({shared:.1f} times fewer than without sharing); {len(items.train):,} items to learn "
        f"from, {len(items.test):,} to be scored on"
    )
    click.echo(
        f"estimated: {found.compute_seconds:,.1f} s of computing, "
        f"{byte_count(found.peak_bytes)} of memory for blocks and results, "
        f"{byte_count(found.feature_bytes)} for features; first round in {found.n_chunks} chunks"
    )


def _journal(names: Sequence[str], items: SearchData, settings: Mapping[str, Any]) -> Path:
    """Return the file that belongs to these models, data and batches."""
    parts = [*names, items.train.digest, items.test.digest, str(settings["batch_size"])]
    name = hashlib.blake2b("/".join(parts).encode(), digest_size=8).hexdigest()
    return _own_folder() / "searches" / f"{name}.sqlite"


def _own_folder() -> Path:
    from harness.benchmark import data_dir

    return data_dir()


def _progress() -> Any:
    """Return a context that shows how far the search has come."""
    import contextlib

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    @contextlib.contextmanager
    def shown() -> Any:
        console = Console(stderr=True)
        columns = (TextColumn("search"), BarColumn(), TimeRemainingColumn())
        disabled = not console.is_terminal
        with Progress(*columns, console=console, transient=True, disable=disabled) as bar:
            task = bar.add_task("search", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    return shown()


def _say_round(found: RoundResult) -> None:
    best = found.scores[0]
    click.echo(
        f"round {found.index + 1}: {len(found.scores)} models by {found.stop:,} items, best "
        f"{best.name} ({best.score:.4f})",
        err=True,
    )


def _print_result(result: SearchResult, top: int) -> None:
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
    work = result.work
    phases = ", ".join(f"{name} {seconds:.2f}" for name, seconds in work.seconds.items())
    counts = work.counts
    console.print(f"{result.seconds:.2f} s: {phases}", highlight=False, soft_wrap=True)
    console.print(
        f"{counts.get('block_executions', 0):,} block executions, "
        f"{byte_count(counts.get('bytes_loaded', 0))} of blocks read, "
        f"{counts.get('items_decoded', 0):,} items decoded, "
        f"{counts.get('batches_resumed', 0):,} batches taken from the journal",
        highlight=False,
        soft_wrap=True,
    )


def _what(item: Ranked) -> str:
    return "left out" if item.round < 0 else "no score"


def _write(path: Path, result: SearchResult) -> None:
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
