"""Tensors in a Redis server: values of parts of tensors under a prefix, switched at once.

A model lies under keys of its own generation, ``prefix:generation:tensor:part``; the key ``prefix``
names the generation in force and is changed last. So a reader sees the old model or the new one.
A reader of the old one, which is deleted then, gets an error instead of a mixture.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import torch

from bench_core.errors import BenchCoreError, CorruptFileError, SaveError, UnsupportedError
from bench_core.formats import redis_client
from bench_core.formats.atomic import is_dead, writer_mark
from bench_core.formats.base import (
    Durability,
    Format,
    Reader,
    Tensors,
    TensorSpec,
    WriteResult,
)
from bench_core.formats.dtypes import byte_view, logical_bytes, on_host
from bench_core.formats.index import decode_index, encode_index
from bench_core.formats.reading import BoxReader, FillingReader
from bench_core.formats.redis_client import Part
from bench_core.optional import require

_SWITCH: Final = """
local before = redis.call('GET', KEYS[1])
if redis.call('SREM', KEYS[2], ARGV[1]) == 0 then
  if before == ARGV[1] then return before end
  return redis.error_reply('its writer has given this generation up')
end
redis.call('SET', KEYS[1], ARGV[1])
if before then redis.call('SADD', KEYS[2], before) end
return before
"""
"""Puts a generation in force and returns the one before, which becomes one of those to be removed.

The client sends it again when the answer is lost: then the generation is its own predecessor. One
that was given up meanwhile has no values any more and must not come into force.
"""

_NOT_WRITTEN: Final = "not written to"
_UNKNOWN: Final = "not known to be written to"
_NOT_REMOVED: Final = "written, but what it replaces was not removed from"


class Redis(Format):
    """A Redis server, whose address is an option; the path is the prefix of the keys."""

    name: ClassVar[str] = "redis"
    suffix: ClassVar[str] = ""
    layout: ClassVar[str] = "redis"
    extra: ClassVar[str | None] = "storage"
    library: ClassVar[str | None] = "redis"
    on_disk: ClassVar[bool] = False

    def __init__(self, address: str = "redis://127.0.0.1:6379") -> None:
        """Take the address of a server, ``redis://host:port`` or ``unix:///path/to/socket``."""
        self.address = address

    def check_available(self) -> None:
        """Raise `MissingExtraError` without the client, `UnsupportedError` without a server."""
        super().check_available()
        redis: Any = require("redis", "storage")
        client = redis_client.connect(self.address)
        try:
            client.ping()
        except redis.RedisError as error:
            raise UnsupportedError(
                f"no Redis server answers at {self.address} ({error}); start one or give another"
            ) from error
        finally:
            client.close()

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.RETURN
    ) -> WriteResult:
        """Write all tensors as a new generation, then switch to it.

        A server answers before its bytes are on a device, unless it appends to a file and syncs
        that for each command (``appendonly yes``, ``appendfsync always``): then, and only then,
        durabilities up to `Durability.FSYNC_DIR` are given, and the call's return is that point.

        Raises:
            UnsupportedError: the server cannot give this durability.
            SaveError: the server refused or vanished, and the old model is untouched, unless the
                text says that the new one was written, or is not known to be.
        """
        started = time.perf_counter_ns()
        bytes_logical = logical_bytes(tensors)
        with _client(self.address) as client, _as_save_error(path, self.address) as stage:
            _check_durability(client, durability, self.address)
            prefix = str(path)
            _remove_stale(client, prefix)
            bytes_physical = _write_generation(client, prefix, tensors, stage)
        done = time.perf_counter_ns() - started
        return WriteResult(
            path=path,
            bytes_logical=bytes_logical,
            bytes_physical=bytes_physical,
            return_ns=done,
            durable_ns=done,
        )

    def open(self, path: Path) -> Reader:
        """Connect and fetch the index of the generation in force."""
        super().check_available()
        return _RedisReader(self.address, path)

    def files(self, path: Path) -> list[Path]:
        """Return no file: the bytes are in the server's memory."""
        return []


class _RedisReader(FillingReader, BoxReader):
    def __init__(self, address: str, path: Path) -> None:
        self.path = path
        self._address = address
        self._client = redis_client.connect(address)
        try:
            with self._errors():
                generation = self._client.get(str(path))
                if generation is None:
                    raise FileNotFoundError(f"{address}: no model under the key {str(path)!r}")
                self._prefix = f"{path}:{generation.decode()}"
                self._specs = decode_index(path, self._client.get(f"{self._prefix}:index"))
        except BaseException:
            self._client.close()
            raise
        self._numbers = {name: number for number, name in enumerate(self._specs)}

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        return self._specs

    def fill(self, destinations: Tensors) -> None:
        parts = (
            part for name, tensor in destinations.items() for part in self._parts(name, tensor)
        )
        with self._errors():
            for part, value in redis_client.receive(self._client, parts):
                self._place(part, value)

    def read_box(self, name: str, box: tuple[slice, ...]) -> torch.Tensor:
        """Fetch the rows of the box by ranges of values."""
        spec = self.specs[name]
        rows = torch.empty((box[0].stop - box[0].start, *spec.shape[1:]), dtype=spec.dtype)
        target, start = byte_view(rows), box[0].start * rows[0].nbytes
        with self._errors():
            done = 0
            while done < target.size:
                number, offset = divmod(start + done, redis_client.PART_BYTES)
                size = min(redis_client.PART_BYTES - offset, target.size - done)
                key = self._key(name, number)
                value = self._client.getrange(key, offset, offset + size - 1)
                self._place(Part(key, target[done : done + size]), value)
                done += size
        rest = (slice(None), *box[1:])
        return rows[rest]

    def close(self) -> None:
        if not self.closed:
            self._client.close()
        self.closed = True

    def _key(self, name: str, part: int) -> str:
        return f"{self._prefix}:{self._numbers[name]}:{part}"

    def _parts(self, name: str, tensor: torch.Tensor) -> Iterator[Part]:
        for part, piece in enumerate(redis_client.pieces(byte_view(tensor))):
            yield Part(self._key(name, part), piece)

    def _place(self, part: Part, value: bytes | None) -> None:
        if value is None or len(value) != part.data.size:
            raise CorruptFileError(
                f"{self.path}: the value {part.key!r} has {'no' if not value else len(value)} "
                f"bytes, expected {part.data.size}; the model was replaced, evicted or damaged"
            )
        part.place(value)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        redis: Any = require("redis", "storage")
        try:
            yield
        except redis.ResponseError as error:
            raise CorruptFileError(
                f"{self.path}: at {self._address} is no such model ({error})"
            ) from error
        except redis.RedisError as error:
            raise OSError(f"{self._address}: the Redis server does not answer ({error})") from error


@contextmanager
def _client(address: str) -> Iterator[Any]:
    client = redis_client.connect(address)
    try:
        yield client
    finally:
        client.close()


@dataclass
class _Stage:
    """How far a write has come, for the text of its error."""

    text: str = _NOT_WRITTEN


@contextmanager
def _as_save_error(path: Path, address: str) -> Iterator[_Stage]:
    redis: Any = require("redis", "storage")
    stage = _Stage()
    try:
        yield stage
    except BenchCoreError:
        raise
    except (redis.RedisError, OSError) as error:
        raise SaveError(f"{path}: {stage.text} {address}, {error}") from error


def _check_durability(client: Any, durability: Durability, address: str) -> None:
    if durability is Durability.RETURN:
        return
    if durability is Durability.GLOBAL_SYNC:
        raise UnsupportedError(f"{address}: a server's host cannot be synced from its clients")
    settings = client.config_get("append*")
    if settings.get("appendonly") != "yes" or settings.get("appendfsync") != "always":
        raise UnsupportedError(
            f"{address}: {durability.value} needs a server with `appendonly yes` and `appendfsync "
            f"always`, this one has {settings.get('appendonly')} and {settings.get('appendfsync')}"
        )


def _write_generation(client: Any, prefix: str, tensors: Tensors, stage: _Stage) -> int:
    """Write the values, switch to them and remove those before; return their bytes."""
    mark = writer_mark()
    index = encode_index(tensors)
    client.sadd(f"{prefix}:writing", mark)
    try:
        client.set(f"{prefix}:{mark}:index", index)
        size = len(index) + redis_client.send(client, _values(f"{prefix}:{mark}", tensors))
        stage.text = _UNKNOWN
        before = client.eval(_SWITCH, 2, prefix, f"{prefix}:writing", mark)
    except BaseException:
        with suppress(Exception):  # a server that is gone: the first error is the one to tell
            stage.text = _NOT_WRITTEN if _give_up(client, prefix, mark) else _NOT_REMOVED
        raise
    stage.text = _NOT_REMOVED
    if before not in (None, mark.encode()):
        _remove_generation(client, prefix, before.decode())
    return size


def _give_up(client: Any, prefix: str, mark: str) -> bool:
    """Remove a generation, unless the switch to it took place and only its answer was lost."""
    client.srem(f"{prefix}:writing", mark)  # from here on there is no switch to it
    if client.get(prefix) == mark.encode():
        return False
    _remove_generation(client, prefix, mark)
    return True


def _values(prefix: str, tensors: Tensors) -> Iterator[Part]:
    for number, tensor in enumerate(tensors.values()):
        for part, piece in enumerate(redis_client.pieces(byte_view(on_host(tensor)))):
            yield Part(f"{prefix}:{number}:{part}", piece)


def _remove_stale(client: Any, prefix: str) -> None:
    """Remove the generations that are not in force and whose writer is dead."""
    for mark in client.smembers(f"{prefix}:writing"):
        if is_dead(mark.decode()):
            _remove_generation(client, prefix, mark.decode())


def _remove_generation(client: Any, prefix: str, mark: str) -> None:
    index = client.get(f"{prefix}:{mark}:index")
    if index is not None:
        keys = [f"{prefix}:{mark}:index"]
        for number, spec in enumerate(decode_index(Path(prefix), index).values()):
            parts = -(-spec.nbytes // redis_client.PART_BYTES)
            keys += [f"{prefix}:{mark}:{number}:{part}" for part in range(parts)]
        for begin in range(0, len(keys), redis_client.WINDOW_COMMANDS):
            client.unlink(*keys[begin : begin + redis_client.WINDOW_COMMANDS])
    client.srem(f"{prefix}:writing", mark)
