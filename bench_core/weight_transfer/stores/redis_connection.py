"""A client of a Redis server that sends each command once, of a server that keeps what it has."""

from __future__ import annotations

from typing import Any

from bench_core.formats import redis_client
from bench_core.optional import require
from bench_core.weight_transfer.errors import StoreError


def connect_once(address: str) -> Any:
    """Return a client; of a step whose answer was lost nobody knows whether it was taken.

    Raises:
        StoreError: this is no address.
        MissingExtraError: redis is not installed.
    """
    retry: Any = require("redis.retry", "storage")
    backoff: Any = require("redis.backoff", "storage")
    try:
        return redis_client.connect(address, retry=retry.Retry(backoff.NoBackoff(), 0))
    except ValueError as error:
        raise StoreError(
            f"no address of a Redis server: {address!r} ({error}), expected redis://host:port or "
            "unix:///path/to/socket"
        ) from error


def refuse_eviction(address: str, client: Any) -> None:
    """See that the server never removes keys by itself.

    Raises:
        StoreError: it does when its memory is full.
    """
    memory = client.info("memory")
    policy = str(memory.get("maxmemory_policy"))
    if memory.get("maxmemory") and policy.startswith("allkeys"):
        raise StoreError(
            f"{address}: the Redis server evicts keys when its memory is full "
            f"(maxmemory-policy {policy}); set maxmemory-policy noeviction"
        )
