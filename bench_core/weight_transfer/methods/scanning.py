"""The best donor of many, found by looking at each: what an index saves."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable

from bench_core.errors import CorruptFileError
from bench_core.weight_transfer.graphs import ArchitectureGraph, Name, split_names
from bench_core.weight_transfer.prefix import Match
from bench_core.weight_transfer.records import ModelRecord

Candidate = tuple[int, Collection[Name], float | None]
"""A model: its id, its layers' names, its accuracy."""


def longest(graph: ArchitectureGraph, candidates: Iterable[Candidate]) -> Match | None:
    """Return the candidate with the longest common prefix, or None where none has a layer.

    Ties as in `PrefixIndex`: the more accurate, then the smaller id; an unknown accuracy is last.
    """
    wanted = frozenset(graph.names)
    best = (0, -math.inf, 0)
    shared: frozenset[Name] = frozenset()
    for model, names, accuracy in candidates:
        common = wanted.intersection(names)
        if accuracy is None or math.isnan(accuracy):
            accuracy = -math.inf
        rank = (len(common), accuracy, -model)
        if common and (not shared or rank > best):
            best, shared = rank, common
    if not shared:
        return None
    positions = tuple(v for v, name in enumerate(graph.names) if name in shared)
    return Match(-best[2], positions, len(positions))


def headline(record: ModelRecord) -> bytes:
    """Return in one line what a search needs of a model, a tenth of its record."""
    names = b"".join(record.graph.names).hex()
    return json.dumps({"accuracy": record.accuracy, "names": names}).encode()


def candidate(model: int, line: bytes) -> Candidate:
    """Return what `headline` wrote.

    Raises:
        CorruptFileError: something else stands there.
    """
    try:
        content = json.loads(line)
        names, accuracy = bytes.fromhex(content["names"]), content["accuracy"]
    except (ValueError, TypeError, KeyError) as error:
        raise CorruptFileError(f"no record of model {model} ({error}): {line[:80]!r}") from error
    return model, split_names(names), accuracy
