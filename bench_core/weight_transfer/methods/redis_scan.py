"""Names of all models' layers in Redis, fetched for every query; weights in files.

The baseline "Redis-Queries" of Underwood et al. ("EvoStore", HPDC 2024), which keeps HDF5 files on
the parallel file system: here in any format of one file, and with what the published code lacks:
donors' counts are given back, and a query returns the intersection.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, ClassVar

from bench_core.formats import Durability
from bench_core.formats.atomic import is_dead, one_line, writer_mark
from bench_core.formats.direct.per_process import PerProcess
from bench_core.optional import require
from bench_core.weight_transfer.errors import StoreError, UnknownModelError, retired
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.methods import scan_scripts
from bench_core.weight_transfer.methods.link_files import (
    Entry,
    as_store_error,
    entries,
    entry_name,
    link_new,
    remove_entries,
    remove_name,
)
from bench_core.weight_transfer.methods.model_files import ModelFiles
from bench_core.weight_transfer.methods.scanning import Candidate, longest
from bench_core.weight_transfer.methods.whole_models import WholeModels, exists
from bench_core.weight_transfer.prefix import Match
from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.stores.redis_connection import connect_once, refuse_eviction


class RedisScan(WholeModels):
    """Whole models in files; the donor is found in the lists of all models' layers: O(n)."""

    name: ClassVar[str] = "redis_scan"

    def __init__(
        self,
        folder: Path,
        address: str = "redis://127.0.0.1:6379",
        format: str = "safetensors",
        durability: Durability = Durability.FSYNC_DIR,
        prefix: str = "redis_scan",
    ) -> None:
        """Open a folder, or make it, and the records of its models in a server.

        Args:
            folder: of the weight files, the same for all that use the server's records.
            address: ``redis://host:port`` or ``unix:///path/to/socket``; one server, no cluster.
            format: of the files that are written: one of `bench_core.formats` with single files.
            durability: of the weights before their model is visible; that of the records is the
                server's setting.
            prefix: of the server's keys.

        Raises:
            UnknownNameError, UnsupportedError, MissingExtraError: as `ModelFiles`.
            StoreError: the folder can't be made, no server answers or it evicts keys, or its
                records are of another folder.
        """
        self.address = address
        self.prefix = prefix
        self._redis: Any = require("redis", "storage")
        self._connection = PerProcess(functools.partial(connect_once, address))
        self._durability = durability
        super().__init__(ModelFiles(folder / "weights", format, durability))
        with self._errors() as client:
            refuse_eviction(address, client)
        self._check_identity(folder)

    def best_match(
        self,
        graph: ArchitectureGraph,
        *,
        hint: int | None = None,
        exclude: Collection[int] = (),
    ) -> Match | None:
        """Fetch the layers' names of every model, in one round trip after that for their ids."""
        return longest(graph, self._candidates(exclude))

    def retain(self, model: int) -> str:
        """Add a pin to the model's count."""
        pin = writer_mark()
        if not self._known(model, self._run(scan_scripts.PIN, model, pin)):
            raise retired(model)
        return pin

    def release(self, model: int, pin: str) -> None:
        """Take the pin out of the count."""
        if self._run(scan_scripts.UNPIN, model, pin) == 1:
            self._remove_weights(model)

    def retire(self, model: int) -> int:
        """Take the model out of the set, then remove its file unless it is pinned."""
        if self._known(model, self._run(scan_scripts.RETIRE, model)):
            return self._remove_weights(model)
        return 0

    def models(self) -> list[int]:
        """Ask the server."""
        with self._errors() as client:
            return sorted(map(int, client.smembers(self._key("models"))))

    def nbytes(self) -> int:
        """Return the bytes of the tensors of all files."""
        return sum(self.files.sizes().values())

    def sweep(self) -> int:
        """Take back dead processes' pins; remove their files, and those of retired models."""
        pins = [(model, pin) for model, pin in self._all_pins() if is_dead(pin)]
        for model, pin in pins:
            self.release(model, pin)
        stale = [entry for entry in entries(self.files.folder) if self._is_stale(entry)]
        remove_entries(stale)
        return len({entry.mark for entry in stale}) + len(pins)

    def close(self) -> None:
        """Close the connection."""
        client = self._connection.release()
        if client is not None:
            client.close()

    def record(self, model: int) -> ModelRecord:
        """Ask the server."""
        with self._errors() as client:
            record = client.get(self._key(f"record:{model}"))
        if record is None:
            raise self._unknown(model)
        return self._decode(record)

    def is_live(self, model: int) -> bool:
        """Ask the server."""
        with self._errors() as client:
            return bool(client.sismember(self._key("models"), model))

    def is_taken(self, model: int) -> bool:
        """Ask the server."""
        with self._errors() as client:
            return bool(client.exists(self._key(f"record:{model}")))

    def publish(self, record: ModelRecord) -> None:
        """Send names, accuracy and record at once.

        Where no answer comes nobody knows whether the model is visible: its file stays, and a
        sweep after this process' end removes it if there is no record.
        """
        accuracy = "" if record.accuracy is None else repr(float(record.accuracy))
        names = record.graph.names
        try:
            done = self._run(scan_scripts.PUBLISH, record.id, record.encode(), accuracy, *names)
        except StoreError as error:
            if isinstance(error.__cause__, self._redis.ResponseError):  # an answer: it refused
                remove_name(self.files.path(record))
            raise
        if not done:
            remove_name(self.files.path(record))
            raise exists(record.id)

    def _candidates(self, exclude: Collection[int]) -> Iterator[Candidate]:
        models = [model for model in self.models() if model not in exclude]
        with self._errors() as client:
            asked = client.pipeline(transaction=False)
            asked.hgetall(self._key("accuracies"))
            for model in models:
                asked.lrange(self._key(f"layers:{model}"), 0, -1)
            accuracies, *names = asked.execute()
        known = {int(model): float(accuracy) for model, accuracy in accuracies.items()}
        # Retired meanwhile: no names, no layer in common.
        return ((m, found, known.get(m)) for m, found in zip(models, names, strict=True))

    def _remove_weights(self, model: int) -> int:
        record = self.record(model)
        path = self.files.path(record)
        with as_store_error(path):
            return record.graph.nbytes if remove_name(path) else 0

    def _all_pins(self) -> list[tuple[int, str]]:
        with self._errors() as client:
            models = sorted(map(int, client.smembers(self._key("used"))))
            asked = client.pipeline(transaction=False)
            for model in models:
                asked.smembers(self._key(f"uses:{model}"))
            pins = asked.execute()
        return [(m, p.decode()) for m, found in zip(models, pins, strict=True) for p in found]

    def _is_stale(self, entry: Entry) -> bool:
        """Whether nobody needs a file; asked after it was listed."""
        try:
            is_record = entry.is_finished and self.record(entry.model).token == entry.mark
        except UnknownModelError:
            is_record = False
        if is_record:
            return self._run(scan_scripts.IS_GONE, entry.model) == 1
        return is_dead(entry.mark)

    def _check_identity(self, folder: Path) -> None:
        """See that the server's records are of this folder.

        Else a sweep would remove the weights of models that another server knows.
        """
        own = self._own_identity(folder / "identity")
        is_empty = not any(entry.is_finished for entry in entries(self.files.folder))
        with self._errors() as client:
            if is_empty:
                client.set(self._key("folder"), own, nx=True)
            known = client.get(self._key("folder"))
        if known != own:
            raise StoreError(
                f"{folder}: the records under {self.prefix!r} at {self.address} are not of this "
                "folder; give its server (one without persistence loses them), or an empty folder "
                "and a new prefix"
            )

    def _own_identity(self, path: Path) -> bytes:
        aside = self.files.folder / f".{entry_name(0, writer_mark(), path.name)}"
        with as_store_error(path):
            with suppress(FileExistsError):
                link_new(path, aside, token_hex(16).encode(), self._durability)
            return path.read_bytes()

    @contextmanager
    def _errors(self) -> Iterator[Any]:
        """Give this process's client, and tell in one line what the server has against it."""
        try:
            yield self._connection.get()
        except self._redis.RedisError as error:
            raise StoreError(
                f"{self.address}: the Redis server does not answer or refuses ({one_line(error)})"
            ) from error

    def _run(self, script: str, *arguments: int | str | bytes) -> int:
        with self._errors() as client:
            return int(client.register_script(script)(keys=[self.prefix], args=arguments))

    def _known(self, model: int, answer: int) -> int:
        if answer == -1:
            raise self._unknown(model)
        return answer

    def _unknown(self, model: int) -> UnknownModelError:
        return UnknownModelError(f"{self.address}: there never was a model {model}")

    def _key(self, name: str) -> str:
        return f"{self.prefix}:{name}"
