"""A shard in a Redis server: each step one script, bytes in values of parts of tensors.

Any number of processes and hosts may use it; none waits for another but for the server's thread.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from bench_core.errors import CorruptFileError
from bench_core.formats import redis_client
from bench_core.formats.atomic import one_line
from bench_core.formats.direct.memory import is_plain
from bench_core.formats.direct.per_process import PerProcess
from bench_core.formats.dtypes import byte_view, on_host
from bench_core.formats.redis_client import Part
from bench_core.optional import require
from bench_core.weight_transfer.errors import (
    FullError,
    StoreError,
    retired,
    taken,
    tensor_gone,
    unknown,
)
from bench_core.weight_transfer.graphs import TensorId
from bench_core.weight_transfer.records import ModelRecord
from bench_core.weight_transfer.stores import redis_scripts
from bench_core.weight_transfer.stores.history import decode_change, encode_change
from bench_core.weight_transfer.stores.redis_connection import connect_once, refuse_eviction
from bench_core.weight_transfer.stores.shard import (
    Change,
    Hold,
    Leftovers,
    Shard,
    TensorsOfOwners,
    Usage,
)

_HISTORY_WINDOW: Final = 4096
"""Changes asked for at once: some 2 MiB for models of 30 layers."""

_Bytes = npt.NDArray[np.uint8]


class RedisShard(Shard):
    """All that a shard keeps under a prefix of one server's keys.

    What is durable is the server's setting: without persistence nothing outlives it, with
    ``appendonly yes`` up to a second is lost, and only with ``appendfsync always`` too is a call's
    return the point from which its change is on the server's device. A server that may evict keys
    is refused. One server, not a cluster: several are several shards of a store.
    """

    def __init__(self, address: str, prefix: str = "layers") -> None:
        """Connect to a server, ``redis://host:port`` or ``unix:///path/to/socket``.

        Raises:
            StoreError: none answers there, or it may evict keys.
            MissingExtraError: redis is not installed.
        """
        self.address = address
        self.prefix = prefix
        self._redis: Any = require("redis", "storage")
        self._connection = PerProcess(functools.partial(connect_once, address))
        with self._errors() as client:
            refuse_eviction(address, client)

    def write(self, token: str, tensors: Mapping[TensorId, torch.Tensor]) -> int:
        """Send the values, after a note of what will be there."""
        if not tensors:
            return 0
        values = (
            part
            for key, tensor in tensors.items()
            for part in self._parts(token.encode(), key, byte_view(on_host(tensor.detach())))
        )
        try:
            with self._errors() as client:
                announcement = client.pipeline(transaction=True)
                announcement.sadd(self._key("unpublished"), token)
                announcement.sadd(self._key("writing"), token)
                sizes = {key: tensor.nbytes for key, tensor in tensors.items()}
                announcement.hset(self._key(f"sizes:{token}"), mapping=sizes)
                announcement.execute()
                size = redis_client.send(client, values)
                client.srem(self._key("writing"), token)
        except BaseException:
            with suppress(Exception):  # a server that is gone: the first error is the one to tell
                self.discard(token)
            raise
        return size

    def discard(self, token: str) -> None:
        """Unlink the values that no record names."""
        self._run(redis_scripts.DISCARD, token, redis_client.PART_BYTES)

    def hold(self, tensors: TensorsOfOwners, token: str) -> None:
        """Count the tensors once more."""
        if not self._run(redis_scripts.HOLD, token, *_by_turns(tensors)):
            raise tensor_gone(*tensors)

    def release(self, owners: Sequence[int], token: str) -> int:
        """Count the tensors once less, and unlink those that nobody holds."""
        return int(self._run(redis_scripts.RELEASE, token, redis_client.PART_BYTES, *owners))

    def publish(self, record: ModelRecord, inherited: TensorsOfOwners) -> None:
        """Take up the record and the values."""
        change = encode_change(Change(record.id, record.graph.names, record.accuracy))
        content = (record.id, record.token, record.encode(), change)
        done = self._run(redis_scripts.PUBLISH, *content, *_by_turns(inherited))
        if not done:
            raise taken(record.id)
        if done == -1:
            raise StoreError(f"the bytes of model {record.id} are not all at {self.address} yet")
        if done == -2:
            raise tensor_gone(*inherited)

    def withdraw(self, model: int) -> bool:
        """Note that the model went."""
        done = self._run(redis_scripts.WITHDRAW, model, encode_change(Change(model, ())))
        if done < 0:
            raise unknown(model, self.address)
        return bool(done)

    def pin(self, model: int, token: str) -> None:
        """Note the pin."""
        done = self._run(redis_scripts.PIN, model, token)
        if done < 0:
            raise unknown(model, self.address)
        if not done:
            raise retired(model)

    def unpin(self, model: int, token: str) -> bool:
        """Strike the pin out."""
        return bool(self._run(redis_scripts.UNPIN, model, token))

    def record(self, model: int) -> ModelRecord:
        """Fetch the record."""
        with self._errors() as client:
            data = client.hget(self._key("records"), model)
        if data is None:
            raise unknown(model, self.address)
        return ModelRecord.decode(data)

    def models(self, retired: bool = False) -> list[int]:
        """Fetch the ids."""
        with self._errors() as client:
            return list(map(int, client.zrange(self._key("retired" if retired else "live"), 0, -1)))

    def changes(self, since: int) -> tuple[int, list[Change]]:
        """Fetch the later part of the history: of each model its layers' names, not its record."""
        found: list[bytes] = []
        while True:
            window = self._history(since + len(found))
            found += window
            if len(window) < _HISTORY_WINDOW:
                return since + len(found), [decode_change(data) for data in found]

    def read(self, wanted: Mapping[int, Mapping[TensorId, torch.Tensor]]) -> None:
        """Fetch the values of all owners, in windows."""
        staged: list[tuple[torch.Tensor, torch.Tensor]] = []
        parts: list[Part] = []
        with self._errors() as client:
            owners = dict(zip(wanted, client.hmget(self._key("tokens"), list(wanted)), strict=True))
            for owner, destinations in wanted.items():
                for key, destination in destinations.items():
                    target = destination.detach()
                    if not is_plain(target):
                        target = torch.empty(target.shape, dtype=target.dtype)
                        staged.append((destination, target))
                    parts += self._parts(owners[owner] or b"", key, byte_view(target))
            for part, value in redis_client.receive(client, parts):
                if value is None or len(value) != part.data.size:
                    raise self._missing(client, wanted, owners, part, value)
                part.place(value)
        with torch.no_grad():
            for destination, target in staged:
                destination.copy_(target)

    def usage(self) -> Usage:
        """Fetch the sums."""
        models, sums = self._run(redis_scripts.USAGE)
        tensors, nbytes, references = (int(one or 0) for one in sums)
        return Usage(models=models, tensors=tensors, nbytes=nbytes, references=references)

    def leftovers(self) -> Leftovers:
        """Fetch all tokens, holds and pins, of one moment."""
        unpublished, holds, pins, live, tokens = self._run(redis_scripts.LEFTOVERS)
        pinned = [_numbered(pin) for pin in pins]
        kept = {*map(int, live), *(model for model, _ in pinned)}
        return Leftovers(
            unpublished=tuple(token.decode() for token in unpublished),
            holds=tuple(Hold(*_numbered(hold)) for hold in holds),
            pins=tuple(pinned),
            tokens=frozenset(
                token.decode()
                for model, token in zip(tokens[::2], tokens[1::2], strict=True)
                if int(model) in kept
            ),
        )

    def close(self) -> None:
        """Close this process's connections."""
        client = self._connection.release()
        if client is not None:
            client.close()

    @contextmanager
    def _errors(self) -> Iterator[Any]:
        """Give this process's client, and tell in one line what the server has against it."""
        try:
            yield self._connection.get()
        except self._redis.OutOfMemoryError as error:
            raise FullError(
                f"{self.address}: the Redis server's memory is full ({one_line(error)}); nothing "
                "was changed, retire models or raise maxmemory"
            ) from error
        except (self._redis.ConnectionError, self._redis.TimeoutError) as error:
            raise StoreError(
                f"{self.address}: the Redis server does not answer ({one_line(error)})"
            ) from error
        except self._redis.RedisError as error:
            raise StoreError(
                f"{self.address}: the Redis server refuses ({one_line(error)}); is a layer store "
                f"under {self.prefix!r}?"
            ) from error

    def _run(self, script: str, *arguments: int | str | bytes) -> Any:
        with self._errors() as client:
            return client.register_script(script)(keys=[self.prefix], args=arguments)

    def _history(self, since: int) -> list[bytes]:
        """Return the next changes after a point that was there.

        The last change before the point is asked for too: a server that has lost it is noticed.
        """
        before = min(since, 1)
        with self._errors() as client:
            last = since + _HISTORY_WINDOW - 1
            window = client.lrange(self._key("history"), since - before, last)
        if before and not window:
            raise CorruptFileError(
                f"{self.address}: the history of {self.prefix!r} ends before point {since}; was "
                "the server started anew, without its data?"
            )
        return list(window[before:])

    def _key(self, name: str) -> str:
        return f"{self.prefix}:{name}"

    def _parts(self, token: bytes, key: TensorId, data: _Bytes) -> Iterator[Part]:
        """Give a tensor's values; one without elements has one too, to tell that it is there."""
        stem = b"%b:bytes:%b:%b:" % (self.prefix.encode(), token, key)
        for number, piece in enumerate(list(redis_client.pieces(data)) or [data]):
            yield Part(stem + b"%d" % number, piece)

    def _missing(
        self,
        client: Any,
        wanted: Mapping[int, Mapping[TensorId, torch.Tensor]],
        tokens: Mapping[int, bytes | None],
        part: Part,
        value: bytes | None,
    ) -> Exception:
        """Return why a value is not as it should be: freed meanwhile, or damaged."""
        for owner, destinations in wanted.items():
            held = b"%b:held:%b" % (self.prefix.encode(), tokens[owner] or b"")
            if None in client.hmget(held, list(destinations)):
                return tensor_gone(owner)
        found = "no" if value is None else len(value)
        return CorruptFileError(
            f"{self.address}: the value {part.key!r} has {found} bytes, expected {part.data.size}; "
            "it was evicted or damaged"
        )


def _numbered(field: bytes) -> tuple[int, str]:
    number, _, token = field.partition(b":")
    return int(number), token.decode()


def _by_turns(tensors: TensorsOfOwners) -> list[int | bytes]:
    return [part for owner, ids in tensors.items() for part in (owner, b"".join(ids))]
