"""One server's part of a store: the records of its models, and the bytes that these models own.

A tensor's count is the number of holds that name it. A put takes holds on what it inherits, under
a token of its own, before its record appears, or with it where both lie here; a retirement takes
the record away first and gives the holds back afterwards. Whoever dies in between leaves holds or
bytes that nobody needs, never a record whose tensors are gone: `leftovers` finds them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from bench_core.weight_transfer.graphs import Name, TensorId
from bench_core.weight_transfer.records import ModelRecord

TensorsOfOwners = Mapping[int, Sequence[TensorId]]
"""Tensors by the model that owns them."""


@dataclass(frozen=True)
class Change:
    """A model that appeared, or went."""

    model: int
    names: tuple[Name, ...]
    """Of its layers; none when it was retired."""
    accuracy: float | None = None

    @property
    def is_retirement(self) -> bool:
        """Whether the model went."""
        return not self.names


@dataclass(frozen=True)
class Hold:
    """What one put keeps of one owner's tensors."""

    owner: int
    token: str


@dataclass(frozen=True)
class Usage:
    """What a shard holds."""

    models: int
    """Live ones."""
    tensors: int
    """With bytes here."""
    nbytes: int
    """Of these tensors."""
    references: int
    """Sum of all counts: what the live models' owner maps name, and what unfinished puts hold."""


@dataclass(frozen=True)
class Leftovers:
    """What may be nobody's any more; `sweeping.sweep` decides by who is alive."""

    unpublished: tuple[str, ...]
    """Tokens of bytes that no record names."""
    holds: tuple[Hold, ...]
    """All of them."""
    pins: tuple[tuple[int, str], ...]
    """Models and the pins on them."""
    tokens: frozenset[str]
    """Of the records whose holds must stay: of live models, and of retired ones that are pinned."""


class Shard(ABC):
    """The part of a store that one server keeps. Each call happens whole or not at all."""

    @abstractmethod
    def write(self, token: str, tensors: Mapping[TensorId, torch.Tensor]) -> int:
        """Store bytes that no reader sees before `publish`; return how many.

        An engine that is durable has them on the device then, or with `publish`.

        Raises:
            StoreError: they could not be written; nothing remains.
        """

    @abstractmethod
    def discard(self, token: str) -> None:
        """Remove unpublished bytes; those that are not there are no error."""

    @abstractmethod
    def hold(self, tensors: TensorsOfOwners, token: str) -> None:
        """Count some owners' tensors once more, for ``token``; an owner again is no change.

        Raises:
            RetiredError: one of them is not there any more; none was counted.
        """

    @abstractmethod
    def release(self, owners: Sequence[int], token: str) -> int:
        """Take back what ``token`` holds of owners, free what nobody holds; return its bytes."""

    @abstractmethod
    def publish(self, record: ModelRecord, inherited: TensorsOfOwners) -> None:
        """Make a model visible: its record, and the bytes written under its token.

        Args:
            record: of the model.
            inherited: what it has from owners of this shard, counted in the same step.

        Raises:
            ModelExistsError: there is or was a model of this id; nothing has changed.
            RetiredError: an inherited tensor is not there any more; nothing has changed.
        """

    @abstractmethod
    def withdraw(self, model: int) -> bool:
        """Make a model invisible; its record stays. Return whether its holds can be given back.

        False: it is pinned, and the last `unpin` says so; or it was withdrawn before.

        Raises:
            UnknownModelError: there never was such a model.
        """

    @abstractmethod
    def pin(self, model: int, token: str) -> None:
        """Keep a model's tensors, whoever retires it meanwhile.

        Raises:
            RetiredError: it is retired already.
            UnknownModelError: there never was such a model.
        """

    @abstractmethod
    def unpin(self, model: int, token: str) -> bool:
        """Take a pin back; return whether the model's holds can be given back now."""

    @abstractmethod
    def record(self, model: int) -> ModelRecord:
        """Return the record of a model, live or retired.

        Raises:
            UnknownModelError: there never was such a model.
        """

    @abstractmethod
    def models(self, retired: bool = False) -> list[int]:
        """Return the ids of the live models, or of the retired ones, in the order of their time."""

    @abstractmethod
    def changes(self, since: int) -> tuple[int, list[Change]]:
        """Return what happened after point ``since`` of this shard's history, and where it ends."""

    @abstractmethod
    def read(self, wanted: Mapping[int, Mapping[TensorId, torch.Tensor]]) -> None:
        """Fill tensors of the stored shapes and types with those of some owners: owner, then id.

        Raises:
            RetiredError: a tensor is not there any more.
            CorruptFileError: the bytes are damaged.
        """

    @abstractmethod
    def usage(self) -> Usage:
        """Return what is here."""

    @abstractmethod
    def leftovers(self) -> Leftovers:
        """Return what a sweep looks at."""

    @abstractmethod
    def close(self) -> None:
        """Let go of files and connections; the shard can't be used afterwards."""
