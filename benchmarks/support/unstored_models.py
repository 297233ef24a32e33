"""Models for a planner alone: chains of linear layers that stand nowhere, by their block keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from bench_core.model_search.candidates import Candidates

WIDTH: Final = 8
"""Numbers in and out of each layer: few, so that intermediate results count for nothing."""


def unstored_models(chains: Sequence[Sequence[str]], block_bytes: int) -> Candidates:
    """Return models with a block of so many bytes for each key; what they need is looked up once.

    Args:
        chains: for each model the keys of its blocks.
        block_bytes: of each block, whatever its layer has.
    """
    from bench_core.model_search.candidates import Candidates
    from bench_core.models.chains import BlockSpec, InputSpec
    from bench_core.models.chains.resources import block_resources, input_shapes
    from bench_core.snapshots import BlockRef, Snapshot

    spec = BlockSpec.of("mlp.dense", inputs=WIDTH, outputs=WIDTH)
    shapes = input_shapes("vector", (WIDTH,))
    needs = block_resources(spec, shapes)
    refs = {key: BlockRef(spec, key, block_bytes) for chain in chains for key in chain}
    snapshots = tuple(
        Snapshot(
            name=f"model-{index}",
            architecture=f"mlp{len(chain)}",
            blocks=tuple(refs[key] for key in chain),
            input=InputSpec("vector", (WIDTH,)),
            feature_dim=WIDTH,
        )
        for index, chain in enumerate(chains)
    )
    input_bytes = sum(shape.nbytes for shape in shapes)
    return Candidates(snapshots, {ref.key: needs for ref in refs.values()}, input_bytes)
