"""Models to write and load: architectures by name, seeded tensors, cached files, digests, blocks.

Nothing is fetched from a network: shapes come from the configurations in the transformers
library (imported when such a model is asked for), values from a seeded generator.

Example:
    >>> from bench_core import models
    >>> sum(spec.nbytes for spec in models.specs("nt3").values())
    619691672
"""

from bench_core.models.architectures import names
from bench_core.models.blocks import Block, blocks, group
from bench_core.models.cached import cached_file
from bench_core.models.catalogue import build, specs, tensors
from bench_core.models.chains import chain, chain_names
from bench_core.models.digests import equal_bytes, tensor_digest, tensors_digest
from bench_core.models.random_fill import TensorShape, random_tensors

__all__ = [
    "Block",
    "TensorShape",
    "blocks",
    "build",
    "cached_file",
    "chain",
    "chain_names",
    "equal_bytes",
    "group",
    "names",
    "random_tensors",
    "specs",
    "tensor_digest",
    "tensors",
    "tensors_digest",
]
