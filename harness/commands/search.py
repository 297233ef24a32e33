"""``bench-core search``: rank a folder of models by how well they suit a data set."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from harness import exit_codes
from harness.commands.search_models import import_folder_of, models_of
from harness.commands.search_output import (
    check_json_file,
    print_estimate,
    print_result,
    shown_status,
    write_json,
)
from harness.errors import InputError

if TYPE_CHECKING:
    from bench_core.data import SearchData
    from bench_core.model_search import Settings
    from bench_core.model_search.candidates import Candidates
    from bench_core.snapshots import SnapshotStore

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
    help="A store, or a folder of models in Hugging Face layout or of files of tensors, which are "
    "imported first.",
)
@click.option(
    "--architecture",
    help="Of files of tensors (*.safetensors, *.pt, *.pth, *.bin), such as resnet18.",
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
@click.option(
    "--verify/--no-verify",
    default=True,
    show_default=True,
    help="Check every block that is read by its checksum.",
)
@click.option(
    "--skip-unusable",
    is_flag=True,
    help="Go on without models that are damaged or do not take the data.",
)
@click.option("--paper-exact", is_flag=True, help="Also the last round, which decides nothing.")
@click.option("--no-estimate", is_flag=True, help="Start at once.")
def command(
    folder: Path,
    architecture: str | None,
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
    from bench_core.model_search import Settings, plan_rounds, search

    if json_file is not None:
        check_json_file(json_file)
    target = store_folder or import_folder_of(_own_folder(), folder, architecture)
    store, names, n_failed = models_of(folder, architecture, target)
    items = _load(data.load, source, options)
    settings = _settings(options)
    chosen = Settings.of(**settings)
    taking_part = _taking_part(store, names, items, chosen)
    n_rounds = len(plan_rounds(len(taking_part), len(items.train), chosen.halving))
    if not no_estimate:
        print_estimate(store, taking_part, items, chosen)
    kept = journal
    if journal is None and not no_journal and chosen.engine not in _WITHOUT_JOURNAL:
        kept = _journal(names, items, chosen)
    with shown_status(n_rounds) as status, _saying_how_to_go_on(kept):
        result = search(
            store,
            items,
            names=names,
            journal=kept,
            progress=status.advance,
            on_round=status.finish_round,
            **settings,
        )
    if json_file is not None:
        write_json(json_file, result)
    print_result(result, top)
    left_out = n_failed + sum(item.round < 0 for item in result.ranking)
    return exit_codes.BROKEN if left_out else exit_codes.FINE


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


def _taking_part(
    store: SnapshotStore, names: Sequence[str], items: SearchData, chosen: Settings
) -> Candidates:
    """Return the models that a search by these settings goes over."""
    from bench_core.model_search.taking_part import stored, taking_part

    snapshots, _ = stored(store, names, skip_unusable=chosen.skip_unusable)
    candidates, _ = taking_part(snapshots, items, chosen)
    return candidates


def _pair(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator:
        raise InputError(f"--proxy-setting {text}: expected KEY=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


@contextmanager
def _saying_how_to_go_on(journal: Path | None) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        if journal is not None:
            click.echo(f"stopped; the same command goes on from {journal}", err=True)
        raise


def _journal(names: Sequence[str], items: SearchData, chosen: Settings) -> Path:
    """Return the file that belongs to these models, data and batches."""
    parts = [*names, items.train.digest, items.test.digest, str(chosen.batch_size)]
    name = hashlib.blake2b("/".join(parts).encode(), digest_size=8).hexdigest()
    return _own_folder() / "searches" / f"{name}.sqlite"


def _own_folder() -> Path:
    from harness.benchmark import data_dir

    return data_dir()
