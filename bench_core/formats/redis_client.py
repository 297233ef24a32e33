"""How this package talks to a Redis server: its connection, and values in parts and windows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from bench_core.optional import require

PART_BYTES: Final = 1 << 20
"""Values of 1 MiB were read fastest; Redis's limit is 512 MiB."""
READ_WINDOW_BYTES: Final = 2 << 20
"""Answers asked for at once: more and hiredis spends its time growing its buffer."""
WRITE_WINDOW_BYTES: Final = 32 << 20
WINDOW_COMMANDS: Final = 1024
_SOCKET_READ_BYTES: Final = 1 << 20
_TIMEOUT_SECONDS: Final = 60.0
_CUTOFF_BYTES: Final = 6000


class Part(NamedTuple):
    """A value, and the bytes that go there or come from there."""

    key: str | bytes
    data: npt.NDArray[np.uint8]

    def place(self, value: bytes) -> None:
        """Put a value of this part's size where it belongs."""
        self.data[:] = np.frombuffer(value, np.uint8)


def connect(address: str, **settings: Any) -> Any:
    """Return a client that sends large values without a copy and reads in large pieces.

    Args:
        address: ``redis://host:port`` or ``unix:///path/to/socket``.
        settings: more of redis-py's.

    Raises:
        MissingExtraError: redis is not installed.
        ValueError: this is no address.
    """
    redis: Any = require("redis", "storage")
    connection: Any = require("redis.connection", "storage")
    encode = connection.Encoder("utf-8", "strict", False).encode
    return redis.Redis.from_url(
        address,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=_TIMEOUT_SECONDS,
        socket_read_size=_SOCKET_READ_BYTES,
        # hiredis packs a command into one new string: 5 times as slow for values of a MiB.
        command_packer=connection.PythonRespSerializer(_CUTOFF_BYTES, encode),
        **settings,
    )


def pieces(data: npt.NDArray[np.uint8]) -> Iterator[npt.NDArray[np.uint8]]:
    """Cut a tensor's bytes into those of its values; a tensor without elements has none."""
    for begin in range(0, data.size, PART_BYTES):
        yield data[begin : begin + PART_BYTES]


def windows(parts: Iterable[Part], most_bytes: int) -> Iterator[Sequence[Part]]:
    """Group values so that few round trips are made and no buffer grows large."""
    window: list[Part] = []
    size = 0
    for part in parts:
        window.append(part)
        size += part.data.size
        if size >= most_bytes or len(window) == WINDOW_COMMANDS:
            yield window
            window, size = [], 0
    if window:
        yield window


def send(client: Any, parts: Iterable[Part]) -> int:
    """Set all values, in windows; return their bytes.

    Raises:
        redis.RedisError: some were not set.
    """
    size = 0
    for window in windows(parts, WRITE_WINDOW_BYTES):
        pipeline = client.pipeline(transaction=False)
        for part in window:
            pipeline.set(part.key, part.data.data)
            size += part.data.size
        pipeline.execute()
    return size


def receive(client: Any, parts: Iterable[Part]) -> Iterator[tuple[Part, bytes | None]]:
    """Give each part and its value, or None where there is none, in windows."""
    for window in windows(parts, READ_WINDOW_BYTES):
        yield from zip(window, client.mget([part.key for part in window]), strict=True)
