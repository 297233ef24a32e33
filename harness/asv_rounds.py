"""Which samples of an asv result were taken in which round, where commits took turns.

asv appends the samples of a later run to those of an earlier one and keeps no border between them.
A small file beside the result, which asv passes over, keeps the borders: samples of one round of
one loop were taken shortly after one another, so that what drifts hits all commits alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import InputError

SUFFIX: Final = ".rounds"
VERSION: Final = 1


@dataclass(frozen=True)
class Round:
    """Samples of a case that stand next to one another in asv's list."""

    loop: str
    """The loop over commits that took them; empty if no loop did."""
    number: int
    """Counts the loop's rounds from 0."""
    samples: int

    @property
    def is_interleaved(self) -> bool:
        """Whether other commits were measured in the same round."""
        return bool(self.loop)


def read_rounds(result: Path) -> dict[str, tuple[Round, ...]]:
    """Return case id to the rounds that are known of it, for one of asv's result files.

    Raises:
        InputError: the file beside the result is damaged.
    """
    path = result.with_suffix(SUFFIX)
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error
    try:
        return {case: tuple(Round(*item) for item in items) for case, items in _cases(content)}
    except (TypeError, AttributeError, KeyError) as error:
        raise _damaged(path, f"unknown form, {error}") from error


def write_rounds(result: Path, rounds: Mapping[str, Sequence[Round]]) -> None:
    """Keep the rounds of a result's cases, whole or not at all."""
    path = result.with_suffix(SUFFIX)
    cases = {
        case: [[item.loop, item.number, item.samples] for item in items]
        for case, items in rounds.items()
    }
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    temporary.write_text(json.dumps({"version": VERSION, "cases": cases}))
    temporary.replace(path)


def rounds_of(known: Sequence[Round], samples: int) -> tuple[Round, ...]:
    """Return the rounds of a case that has so many samples.

    Samples beyond those of the known rounds, from asv by itself or from a loop that was killed,
    are a round of their own that nothing else took part in. With fewer, asv began anew: then
    all are.
    """
    kept = tuple(known)
    if sum(item.samples for item in kept) > samples:
        kept = ()
    rest = samples - sum(item.samples for item in kept)
    return (*kept, Round("", len(kept), rest)) if rest else kept


def _cases(content: Any) -> Any:
    if content["version"] != VERSION:
        raise KeyError(f"version {content['version']!r}, expected {VERSION}")
    return content["cases"].items()


def _damaged(path: Path, reason: str) -> InputError:
    return InputError(f"{path}: {reason}; remove it to compare without rounds")
