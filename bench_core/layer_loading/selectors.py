"""Which tensors of a model are loaded: first, last, largest, random, a share, …"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from bench_core.errors import UnknownNameError, nearest

SELECTORS: Final = (
    "all",
    "first_3",
    "last_3",
    "largest",
    "smallest",
    "every_other",
    "random_4",
    "prefix_25",
)
"""One example of each; the numbers may be others. ``prefix_25``: the first 25 % of the names."""


class HasBytes(Protocol):
    """Anything with a size."""

    @property
    def nbytes(self) -> int:
        """Size in bytes."""


def select(specs: Mapping[str, HasBytes], selector: str, seed: int = 0) -> list[str]:
    """Return the names that ``selector`` picks, in the order of ``specs``.

    Args:
        specs: name to something with ``nbytes``, in the model's order.
        selector: one of `SELECTORS`, with any number in the place of theirs.
        seed: for ``random_<k>``: the same names for the same seed, in every process.

    Raises:
        UnknownNameError: there is no such selector, or a share above 100 %.

    Example:
        >>> from bench_core import formats
        >>> with formats.get("direct").open(path) as reader:
        ...     names = select(reader.specs, "first_3")
    """
    names = list(specs)
    match = re.fullmatch(r"(first|last|random|prefix)_(\d+)", selector)
    if match:
        kind, count = match[1], int(match[2])
        if kind != "prefix" or count <= 100:
            return _COUNTED[kind](names, count, seed)
    elif selector in _PLAIN:
        return _PLAIN[selector](specs, names)
    raise UnknownNameError(
        f"unknown selector {selector!r}; expected one of {', '.join(SELECTORS)}"
        f"{nearest(selector, SELECTORS)}"
    )


def _random(names: list[str], count: int, seed: int) -> list[str]:
    chosen = set(random.Random(seed).sample(names, min(count, len(names))))
    return [name for name in names if name in chosen]


_COUNTED: Final[dict[str, Callable[[list[str], int, int], list[str]]]] = {
    "first": lambda names, count, seed: names[:count],
    "last": lambda names, count, seed: names[max(0, len(names) - count) :],
    "random": _random,
    "prefix": lambda names, count, seed: names[: math.ceil(len(names) * count / 100)],
}

_PLAIN: Final[dict[str, Callable[[Mapping[str, HasBytes], list[str]], list[str]]]] = {
    "all": lambda specs, names: names,
    "every_other": lambda specs, names: names[::2],
    "largest": lambda specs, names: [max(names, key=lambda n: specs[n].nbytes)] if names else [],
    "smallest": lambda specs, names: [min(names, key=lambda n: specs[n].nbytes)] if names else [],
}
