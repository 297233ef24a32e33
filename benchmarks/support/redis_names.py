"""The names of many models' layers in a Redis server, and the scan over all of them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.support.common import process_folder

if TYPE_CHECKING:
    from bench_core.weight_transfer.methods.redis_scan import RedisScan

MODELS_AT_ONCE: Final = 1_000
"""Sent in one pipeline."""


class RedisNames:
    """What `RedisScan` finds in its server once it has stored such models, but no weights."""

    def __init__(self, names: list[tuple[bytes, ...]]) -> None:
        """Send the names of each model, whose id is its position, to the server of this process.

        Raises:
            UnsupportedError: there is no Redis server.
            MissingExtraError: redis is not installed.
        """
        from benchmarks.support.loaders import RedisLoader

        self.folder = Path(tempfile.mkdtemp(prefix="scan-", dir=process_folder()))
        self.address = RedisLoader(durable=False).address
        self.scan = opened_scan(self.folder, self.address)
        client = _client(self.address)
        for start in range(0, len(names), MODELS_AT_ONCE):
            pipeline = client.pipeline(transaction=False)
            models = range(start, min(start + MODELS_AT_ONCE, len(names)))
            for model in models:
                pipeline.rpush(f"{self.scan.prefix}:layers:{model}", *names[model])
            pipeline.sadd(f"{self.scan.prefix}:models", *models)
            pipeline.execute()
        client.close()


def opened_scan(folder: Path, address: str) -> RedisScan:
    """Connect to the models of a folder, under a prefix of the folder's name."""
    from bench_core.weight_transfer.methods.redis_scan import RedisScan

    return RedisScan(folder, address, prefix=folder.name)


def _client(address: str) -> Any:
    from bench_core.formats import redis_client

    return redis_client.connect(address)
