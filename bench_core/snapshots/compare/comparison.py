"""Two models, tensor by tensor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from bench_core.snapshots.compare.differences import Difference, difference
from bench_core.snapshots.compare.levels import Group, Level, groups, level_of
from bench_core.snapshots.compare.models import Model, main_part


@dataclass(frozen=True)
class TensorComparison:
    """One tensor in two models."""

    name: str
    level: Level
    nbytes: int
    """In the base, or in the other model if only that one has it."""
    difference: Difference | None = None
    """Of tensors of the same shape that are not identical, where it was asked for."""

    def as_json(self) -> dict[str, Any]:
        """Return all figures by name."""
        content: dict[str, Any] = {"name": self.name, "level": self.level.value}
        if self.difference is not None:
            content["difference"] = self.difference.as_json()
        return content


@dataclass(frozen=True)
class Comparison:
    """Two models: the base's tensors in their order, then those that only the other one has."""

    base: str
    model: str
    tensors: tuple[TensorComparison, ...]

    @property
    def identical(self) -> int:
        """How many tensors are identical."""
        return self.histogram[Level.IDENTICAL]

    @property
    def histogram(self) -> dict[Level, int]:
        """How many tensors are of each level."""
        counts = Counter(tensor.level for tensor in self.tensors)
        return {level: counts[level] for level in Level}

    @property
    def groups(self) -> list[Group]:
        """The runs of equal levels."""
        return groups(tensor.level for tensor in self.tensors)

    def as_json(self) -> dict[str, Any]:
        """Return a line of a report."""
        same = sum(tensor.nbytes for tensor in self.tensors if tensor.level is Level.IDENTICAL)
        return {
            "base": self.base,
            "model": self.model,
            "identical": self.identical,
            "total": len(self.tensors),
            "identical_bytes": same,
            "bytes": sum(tensor.nbytes for tensor in self.tensors),
            "histogram": {level.value: count for level, count in self.histogram.items()},
            "groups": [[group.level.value, group.count] for group in self.groups],
            "tensors": [tensor.as_json() for tensor in self.tensors],
        }


def compare_models(base: Model, model: Model, deep: bool = False) -> Comparison:
    """Compare two models' tensors by their names.

    What all names of one model begin with and none of the other, such as ``resnet.`` in a model
    with a head, is passed over.

    Args:
        base: whose order counts.
        model: the other one.
        deep: also say how far tensors of the same shape are apart, in values and in bits.
    """
    pairs = _pairs(base.tensors, model.tensors)
    compared = [_compare(name, ours, its, base, model, deep) for name, ours, its in pairs]
    return Comparison(base.name, model.name, tuple(compared))


def _compare(
    name: str, ours: str | None, its: str | None, base: Model, model: Model, deep: bool
) -> TensorComparison:
    a = base.tensors[ours] if ours is not None else None
    b = model.tensors[its] if its is not None else None
    level = Level.IDENTICAL if _is_known_equal(ours, its, base, model) else level_of(a, b)
    apart = None
    if deep and level is Level.SAME_SHAPE and a is not None and b is not None:
        apart = difference(a, b)
    nbytes = next(tensor.nbytes for tensor in (a, b) if tensor is not None)
    return TensorComparison(name, level, nbytes, apart)


def _is_known_equal(ours: str | None, its: str | None, base: Model, model: Model) -> bool:
    identity = base.identities.get(ours or "")
    return identity is not None and identity == model.identities.get(its or "")


def _pairs(
    base: Mapping[str, torch.Tensor], model: Mapping[str, torch.Tensor]
) -> list[tuple[str, str | None, str | None]]:
    """Return name, name in the base and name in the other model, in the base's order."""
    ours, its = _aligned(list(base), list(model))
    paired = [(name, ours[name], its.get(name)) for name in ours]
    return paired + [(name, None, its[name]) for name in its if name not in ours]


def _aligned(base: list[str], model: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return both models' names by what they are compared by.

    A beginning is dropped on either side where more names agree without it.
    """
    choices = [
        (_without(base, a), _without(model, b))
        for a in ("", main_part(base))
        for b in ("", main_part(model))
    ]
    return max(choices, key=lambda choice: len(choice[0].keys() & choice[1].keys()))


def _without(names: list[str], start: str) -> dict[str, str]:
    short = {name.removeprefix(start): name for name in names}
    # Names that would collide stay as they are.
    return short if len(short) == len(names) else {name: name for name in names}
