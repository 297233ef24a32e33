"""Models of a given size: a stack of equal layers, and many tiny tensors."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from typing import Final

import torch
from torch import nn

from bench_core.errors import UnknownNameError

EXAMPLES: Final = ("stack_64x8MiB", "tiny_1000x4KiB")
"""One name of each kind, for messages."""

_PATTERN: Final = re.compile(
    r"(?P<kind>stack|tiny)_(?P<count>\d+)x(?P<number>\d+)(?P<unit>[A-Za-z]*)"
)
_UNITS: Final = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_FLOAT: Final = 4


class Stack(nn.Module):
    """A chain of ``count`` linear layers without bias, each of the same number of bytes.

    Layers alternate between ``(a, b)`` and ``(b, a)``, so that each takes what the one before
    it gives; a and b are the factors of the layer's element count that are closest to a square.
    """

    def __init__(self, count: int, nbytes: int) -> None:
        super().__init__()
        narrow, wide = _factors(nbytes // _FLOAT)
        shapes = [(wide, narrow), (narrow, wide)]
        layers = (nn.Linear(*shapes[i % 2], bias=False) for i in range(count))
        self.layers = nn.ModuleList(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last layer's output for ``x`` of shape (batch, wider factor)."""
        for layer in self.layers:
            x = layer(x)
        return x


class Tiny(nn.Module):
    """``count`` vectors of ``nbytes`` each: what they cost is per tensor, not per byte."""

    def __init__(self, count: int, nbytes: int) -> None:
        super().__init__()
        values = (nn.Parameter(torch.empty(nbytes // _FLOAT)) for _ in range(count))
        self.tensors = nn.ParameterList(values)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` of shape (batch, elements of a tensor) plus every tensor."""
        for tensor in self.tensors:
            x = x + tensor
        return x


def parse_synthetic(name: str) -> Callable[[], nn.Module] | None:
    """Return the builder of a name like ``stack_64x8MiB``, or None where it has another form.

    Raises:
        UnknownNameError: the form is right, the count, unit or size is not.
    """
    match = _PATTERN.fullmatch(name)
    if match is None:
        return None
    unit = match["unit"]
    if unit not in _UNITS:
        raise UnknownNameError(
            f"model {name!r}: unit {unit!r} is not one of {', '.join(_UNITS)} (as in {EXAMPLES[0]})"
        )
    count, nbytes = int(match["count"]), int(match["number"]) * _UNITS[unit]
    if count == 0 or nbytes == 0 or nbytes % _FLOAT:
        raise UnknownNameError(
            f"model {name!r}: expected at least one tensor, and a size that is a positive multiple "
            f"of {_FLOAT} bytes (float32), found {count} of {nbytes} bytes"
        )
    return functools.partial(Stack if match["kind"] == "stack" else Tiny, count, nbytes)


def _factors(n: int) -> tuple[int, int]:
    """Return the two factors of ``n`` that are closest to each other, the smaller one first."""
    narrow = next(a for a in range(math.isqrt(n), 0, -1) if n % a == 0)
    return narrow, n // narrow
