"""What the candidates of an architecture search learn: real digits, and data of CANDLE's shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal, get_args

import torch

from bench_core.data import load_digit_vectors
from bench_core.errors import UnknownNameError, nearest
from bench_core.torch_threads import torch_threads
from bench_core.weight_transfer.errors import TaskError

Kind = Literal["classification", "regression"]

_LATENT: Final = 16
"""Numbers behind each generated item, which all its inputs and its target depend on."""
_HIDDEN: Final = 32
_NOISE: Final = 0.5
_STEPS: Final = 64
"""Pieces of a generated pattern; each is constant, so that a pool does not blur it away."""


@dataclass(frozen=True)
class Items:
    """Inputs and targets of one side of a task."""

    inputs: tuple[torch.Tensor, ...]
    """One tensor ``(n, ...)`` float32 for each input of a network."""
    targets: torch.Tensor
    """Classes ``(n,)`` int64, or values ``(n, outputs)`` float32."""

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.targets)

    def to(self, device: str) -> Items:
        """Return the items on a device."""
        return Items(tuple(x.to(device) for x in self.inputs), self.targets.to(device))


@dataclass(frozen=True)
class Task:
    """Items to learn from, and others to be judged by."""

    kind: Kind
    outputs: int
    """Classes, or values of a target."""
    train: Items
    validation: Items

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """The shape of each input of one item."""
        return tuple(tuple(x.shape[1:]) for x in self.train.inputs)

    def loss(self, outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean cross entropy, or the mean squared error."""
        if self.kind == "classification":
            return torch.nn.functional.cross_entropy(outputs, targets)
        return torch.nn.functional.mse_loss(outputs, targets)

    def score(self, outputs: torch.Tensor, targets: torch.Tensor) -> float:
        """Return the share of right classes, or the coefficient of determination R2, at most 1."""
        if self.kind == "classification":
            return float((outputs.argmax(1) == targets).double().mean())
        rest = (outputs - targets).double().square().sum()
        spread = (targets - targets.mean(0)).double().square().sum()
        return float(1 - rest / spread)


@dataclass(frozen=True)
class TaskRecipe:
    """A task by name and settings: picklable, and the same items in every process."""

    name: str
    settings: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, name: str, **settings: Any) -> TaskRecipe:
        """Return the recipe; lists are taken for tuples.

        Raises:
            UnknownNameError: there is no such task.
        """
        if name not in _TASKS:
            raise UnknownNameError(
                f"no task {name!r}, expected one of {', '.join(_TASKS)}{nearest(name, _TASKS)}"
            )
        return cls(name, tuple(sorted((k, _frozen(v)) for k, v in settings.items())))

    def open(self) -> Task:
        """Return the task.

        Raises:
            TaskError: it has no such setting, or one that cannot be.
            MissingExtraError: scikit-learn, which has the digits, is not installed.
        """
        try:
            return _TASKS[self.name](**dict(self.settings))
        except TypeError as error:
            raise TaskError(f"task {self.name}: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


def names() -> tuple[str, ...]:
    """Return the names of the tasks."""
    return tuple(_TASKS)


def digits(*, as_sequence: bool = False, seed: int = 0) -> Task:
    """Return scikit-learn's 1,797 handwritten digits, a fifth of each class to be judged by.

    Args:
        as_sequence: one channel of 64 grey levels, ``(1, 64)``, for convolutions, instead of
            ``(64,)``.
        seed: of the split.
    """
    data = load_digit_vectors(test_fraction=0.2, seed=seed)
    sides = []
    for side in (data.train, data.test):
        grey = side.batch(range(len(side)))
        assert isinstance(grey, torch.Tensor), "digits are one tensor"
        inputs = grey.unsqueeze(1) if as_sequence else grey
        sides.append(Items((inputs,), torch.from_numpy(side.labels)))
    return Task("classification", 10, *sides)


def generated(
    shapes: Sequence[Sequence[int]],
    outputs: int,
    *,
    kind: Kind = "classification",
    n_train: int,
    n_validation: int,
    seed: int = 0,
) -> Task:
    """Return items of these shapes with something to learn, and noise.

    16 normal numbers stand behind each item. Each input is a sum of 16 fixed patterns with these
    as factors, and noise; the target is what a fixed random network of one hidden layer makes of
    them, so that a linear model falls short. The same bits for any number of torch's threads.

    Args:
        shapes: of one item, for each input; patterns run along the last axis.
        outputs: classes, or values of a target.
        kind: of the targets.
        n_train: items to learn from.
        n_validation: items to be judged by.
        seed: of all that is drawn.

    Raises:
        TaskError: a number that is not positive, no such kind, or a single value to be judged by.
    """
    numbers = [outputs, n_train, n_validation, *(length for shape in shapes for length in shape)]
    if not shapes or not all(type(number) is int and number > 0 for number in numbers):
        raise TaskError(
            f"shapes {shapes}, outputs {outputs}, n_train {n_train}, n_validation {n_validation}: "
            "expected one shape or more and positive integers"
        )
    if kind not in get_args(Kind):
        raise TaskError(f"kind {kind!r}, expected one of {', '.join(get_args(Kind))}")
    if kind == "regression" and n_validation < 2:
        raise TaskError("n_validation 1: a regression is judged by 2 items or more")
    generator = torch.Generator().manual_seed(seed)
    n = n_train + n_validation
    with torch_threads(1):  # or a process with more of them would have other last bits
        latent = torch.randn(n, _LATENT, generator=generator)
        inputs = tuple(_observed(latent, shape, generator) for shape in shapes)
        targets = _targets(latent, outputs, kind, generator)
    train = Items(tuple(x[:n_train] for x in inputs), targets[:n_train])
    validation = Items(tuple(x[n_train:] for x in inputs), targets[n_train:])
    return Task(kind, outputs, train, validation)


def _observed(
    latent: torch.Tensor, shape: Sequence[int], generator: torch.Generator
) -> torch.Tensor:
    """Return one input of all items, ``(n, *shape)``, of variance about 1."""
    size = math.prod(shape)
    steps = min(_STEPS, size)
    pieces = torch.randn(_LATENT, steps, generator=generator)
    patterns = pieces.repeat_interleave(-(-size // steps), dim=1)[:, :size]
    values = torch.empty(len(latent), size).normal_(0, _NOISE, generator=generator)
    values.addmm_(latent, patterns, alpha=math.sqrt((1 - _NOISE**2) / _LATENT))
    return values.view(len(latent), *shape)


def _targets(
    latent: torch.Tensor, outputs: int, kind: Kind, generator: torch.Generator
) -> torch.Tensor:
    first = torch.randn(_LATENT, _HIDDEN, generator=generator) / math.sqrt(_LATENT)
    second = torch.randn(_HIDDEN, outputs, generator=generator) / math.sqrt(_HIDDEN)
    values = torch.tanh(2 * latent @ first) @ second
    return values.argmax(1) if kind == "classification" else values


def _candle(
    shapes: tuple[tuple[int, ...], ...], outputs: int, kind: Kind, n_train: int, n_validation: int
) -> Callable[..., Task]:
    def make(
        inputs: Sequence[int] | None = None,
        n_train: int = n_train,
        n_validation: int = n_validation,
        seed: int = 0,
    ) -> Task:
        """``inputs``: other lengths of the inputs' last axes, for a smaller machine."""
        if inputs is not None and len(inputs) != len(shapes):
            raise TaskError(f"inputs {tuple(inputs)}, expected {len(shapes)} lengths")
        lengths = [shape[-1] for shape in shapes] if inputs is None else inputs
        sized = [(*shape[:-1], length) for shape, length in zip(shapes, lengths, strict=True)]
        return generated(
            sized, outputs, kind=kind, n_train=n_train, n_validation=n_validation, seed=seed
        )

    return make


# Shapes of the ECP-CANDLE benchmarks: NT3 has 60,483 expression values, two classes, 1,120 and 280
# samples. ATTN's and Uno's 942 values of a cell line and 5,270 of a drug (Uno with its dose) and
# Combo's two drugs of 3,820 come in numbers of items that are ours: theirs are up to millions.
_TASKS: Final[Mapping[str, Callable[..., Task]]] = MappingProxyType(
    {
        "digits": digits,
        "generated": generated,
        "nt3": _candle(((1, 60_483),), 2, "classification", 1_120, 280),
        "attn": _candle(((942,), (5_270,)), 2, "classification", 8_000, 2_000),
        "uno": _candle(((1,), (942,), (5_270,)), 1, "regression", 8_000, 2_000),
        "combo": _candle(((942,), (3_820,), (3_820,)), 1, "regression", 8_000, 2_000),
    }
)
