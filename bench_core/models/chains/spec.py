"""What a block computes, and a model as a chain of such blocks: plain data, without parameters."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from bench_core.errors import CorruptFileError
from bench_core.models.digests import DIGEST_BYTES

Activation = torch.Tensor | tuple[torch.Tensor, ...]
"""What one block hands to the next: the first tensor is what counts, others go with it (a mask).
Every tensor's first dimension is the batch."""

Setting = bool | int | float | str | None | tuple[int, ...]
InputKind = Literal["image", "tokens", "vector"]


@dataclass(frozen=True)
class BlockSpec:
    """What a block computes, apart from its parameters' values.

    Equal specs are the same architecture wherever the block stands, in every process and under
    every version of torch: the digest is over names and numbers, never over a module's ``repr``.
    """

    kind: str
    """``family.block``, such as ``resnet.basic``."""
    settings: tuple[tuple[str, Setting], ...] = ()
    """Sizes and switches by name, in the order of the names."""

    @classmethod
    def of(cls, kind: str, **settings: Setting | Sequence[int]) -> BlockSpec:
        """Return the spec with its settings in order."""
        return cls(kind, tuple(sorted((name, _frozen(value)) for name, value in settings.items())))

    @property
    def family(self) -> str:
        """The family that can build the block."""
        return self.kind.partition(".")[0]

    @functools.cached_property
    def digest(self) -> bytes:
        """16 bytes over kind and settings: the architecture's digest.

        Numbers of equal value count as equal: others' configurations say 1 where some say 1.0.
        """
        content = {"kind": self.kind, "settings": {n: _plain(v) for n, v in self.settings}}
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).digest()

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {"kind": self.kind, "settings": dict(self.settings)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> BlockSpec:
        """Return the spec that `as_json` described.

        Raises:
            CorruptFileError: something else stands there.
        """
        try:
            return cls.of(str(content["kind"]), **content["settings"])
        except (KeyError, TypeError) as error:
            raise CorruptFileError(
                f"no description of a block: {content!r}, expected its kind and its settings"
            ) from error

    def __getitem__(self, name: str) -> Any:
        """Return a setting.

        Raises:
            KeyError: the block has no such setting.
        """
        return dict(self.settings)[name]


@dataclass(frozen=True)
class InputSpec:
    """What a chain's first block takes.

    ``image``: float32 of ``(3, height, width)`` an item, None where any size will do. ``tokens``:
    a pair of int64 of ``(length,)``, token ids and attention mask. ``vector``: float32 of
    ``(width,)``.
    """

    kind: InputKind
    shape: tuple[int | None, ...]

    def accepts(self, other: InputSpec) -> bool:
        """Whether data of this description can be fed to the chain."""
        return (
            self.kind == other.kind
            and len(self.shape) == len(other.shape)
            and all(
                mine is None or mine == its
                for mine, its in zip(self.shape, other.shape, strict=True)
            )
        )


@dataclass(frozen=True)
class ChainSpec:
    """A feature extractor as a chain of blocks; the last one gives ``(batch, feature_dim)``."""

    architecture: str
    """``resnet18``, or the model type of a configuration that has no name here."""
    blocks: tuple[BlockSpec, ...]
    input: InputSpec
    feature_dim: int
    cuts: tuple[int, ...]
    """``cuts[r]`` is the first block that is re-trained when the last ``r`` trainable blocks are;
    ``cuts[0]`` is ``len(blocks)``: none. Descending."""


def _plain(value: Setting) -> Setting:
    """Return a whole number as int, whatever type it came in; True and False are no numbers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _frozen(value: Setting | Sequence[int]) -> Setting:
    return tuple(value) if isinstance(value, list) else value  # type: ignore[return-value]
