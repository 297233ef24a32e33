"""What the workloads over single chains share: their inputs, their modules, the forward pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from bench_core.models.chains import Activation, ChainSpec
    from bench_core.models.chains.resources import ItemShapes


def item_shapes(chain: ChainSpec, size: int) -> ItemShapes:
    """Return the shapes of an item that a chain takes.

    Args:
        chain: whose input.
        size: of images in pixels, of texts in tokens, where the chain takes any.
    """
    from bench_core.models.chains.resources import input_shapes

    is_image = chain.input.kind == "image"
    shape = tuple(
        3 if is_image and index == 0 else length or size
        for index, length in enumerate(chain.input.shape)
    )
    return input_shapes(chain.input.kind, shape)


def batch_for(architecture: str, batch_size: int, size: int) -> Activation:
    """Return a batch as an architecture takes it, always the same."""
    from bench_core.model_search.rates import random_batch
    from bench_core.models import chain

    return random_batch(item_shapes(chain(architecture), size), batch_size)


def forward(module: Any, given: Activation) -> Any:
    """Return what a module makes of a batch, without gradients."""
    import torch

    with torch.inference_mode():
        return module(given)


def forward_chain(modules: list[torch.nn.Module], given: Activation) -> torch.Tensor:
    """Return the features that a chain makes of a batch, without gradients."""
    import torch

    from bench_core.models.chains import run_chain

    with torch.inference_mode():
        return run_chain(modules, given)
