"""What is known of a stored model: its blocks by their digests, and where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench_core.errors import CorruptFileError
from bench_core.models.chains import BlockSpec, InputSpec

MANIFEST_VERSION = 1


@dataclass(frozen=True)
class BlockRef:
    """A block of a stored model: what it computes, and which bytes are its parameters."""

    spec: BlockSpec
    parameters: str
    """Digest of the tensors (names within the block, types, shapes, bits), hexadecimal."""
    nbytes: int
    """Of all tensors, without the file's header."""

    @property
    def key(self) -> str:
        """Name of the block in the store. Equal keys: the same architecture and the same bits."""
        return f"{self.spec.digest.hex()}-{self.parameters}"

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {**self.spec.as_json(), "parameters": self.parameters, "nbytes": self.nbytes}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> BlockRef:
        """Return the block that `as_json` described.

        Raises:
            CorruptFileError: something else stands there.
        """
        try:
            parameters, nbytes = str(content["parameters"]), int(content["nbytes"])
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptFileError(f"no description of a stored block: {content!r}") from error
        return cls(BlockSpec.from_json(content), parameters, nbytes)


@dataclass(frozen=True)
class Snapshot:
    """A stored model."""

    name: str
    architecture: str
    blocks: tuple[BlockRef, ...]
    """The feature extractor, from the input on."""
    input: InputSpec
    feature_dim: int
    head: BlockRef | None = None
    """The classifier that the model was trained with (kind ``head.linear``), for the proxy scores
    that ask for it; no part of the features."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Where it comes from: base model, first re-trained block, training, folder of the import."""

    @property
    def nbytes(self) -> int:
        """Bytes of its parameters, the head's included."""
        return sum(block.nbytes for block in self.blocks) + (self.head.nbytes if self.head else 0)
