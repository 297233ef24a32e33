"""Models as chains of blocks: what each block computes, and the library's own model beside it."""

from bench_core.models.chains.family import (
    Family,
    SplitState,
    chain,
    chain_names,
    family,
    family_of,
)
from bench_core.models.chains.modules import (
    block_module,
    features_of,
    initialised,
    nbytes_of,
    run_blocks,
    run_chain,
    skeleton,
    tensors_of,
)
from bench_core.models.chains.skeletons import Skeletons
from bench_core.models.chains.spec import Activation, BlockSpec, ChainSpec, InputSpec, Setting

__all__ = [
    "Activation",
    "BlockSpec",
    "ChainSpec",
    "Family",
    "InputSpec",
    "Setting",
    "Skeletons",
    "SplitState",
    "block_module",
    "chain",
    "chain_names",
    "family",
    "family_of",
    "features_of",
    "initialised",
    "nbytes_of",
    "run_blocks",
    "run_chain",
    "skeleton",
    "tensors_of",
]
