"""What all transformers share: blocks' specs from configurations and back, refused settings."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, Final

from bench_core.errors import UnsupportedError, nearest
from bench_core.models.chains.family import Family
from bench_core.models.chains.spec import BlockSpec

ATTENTION: Final = "sdpa"
"""The library's default attention; another one gives other bits."""


def block_spec(kind: str, configuration: Any, names: Iterable[str]) -> BlockSpec:
    """Return the spec of a block that depends on these settings of a configuration alone."""
    return BlockSpec.of(kind, **{name: getattr(configuration, name) for name in names})


@functools.lru_cache(maxsize=64)
def block_configuration(owner: Family, spec: BlockSpec) -> Any:
    """Return a configuration of the family that builds this block; it must not be changed."""
    return owner.configuration(**dict(spec.settings), attn_implementation=ATTENTION)


def check_layers(configuration: Any, architecture: str) -> None:
    """Refuse settings with which the library builds no layers, or layers that cannot run.

    Raises:
        UnsupportedError: an unknown activation, or heads of unequal size.
    """
    from transformers.activations import ACT2FN

    if configuration.hidden_act not in ACT2FN:
        raise UnsupportedError(
            f"{architecture}: unknown activation {configuration.hidden_act!r}"
            f"{nearest(configuration.hidden_act, ACT2FN)}"
        )
    size, heads = configuration.hidden_size, configuration.num_attention_heads
    if heads < 1 or size % heads:
        raise UnsupportedError(
            f"{architecture}: hidden_size {size} cannot be shared by {heads} attention heads; "
            "expected a multiple"
        )
