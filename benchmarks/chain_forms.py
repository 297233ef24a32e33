"""What it costs that a model is a chain of blocks: the library's own forward pass beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from benchmarks.support.chain_inputs import batch_for, forward_chain, item_shapes
from benchmarks.support.named_params import NamedParams
from harness.errors import WrongResultError

if TYPE_CHECKING:
    import torch

    from harness.limits import Limits

Features = Callable[[Any], "torch.Tensor"]


class Forms(NamedTuple):
    """One model, the same tensors in both."""

    library: Features
    chain: Features


class LibraryOrChain(NamedParams):
    """Inside the clock: some batches through a model, one after the other.

    ``library``: the forward pass of the library's own model; ``chain``: its blocks in a row. It is
    the same batch again and again. What is checked: the features are equal, bit for bit. Ideal:
    the operations of convolutions and matrix products at the matrix product's rate.
    """

    params = (("library", "chain"), ("resnet_tiny", "vit_tiny"), (3,), (8, 32), (32, 64))
    param_names = ("form", "architecture", "batches", "batch_size", "size")
    quick = {"form": ("library", "chain")}
    open_params = ("architecture",)
    timeout = 3600

    def prepare(
        self, form: str, architecture: str, batches: int, batch_size: int, size: int
    ) -> None:
        from bench_core.models import chain
        from bench_core.models.chains.resources import chain_resources

        key = ("both forms", architecture, self.seed)
        self.forms = self.cached(key, lambda: both_forms(architecture, self.seed))
        self.call: Features = getattr(self.forms, form)
        self.given = batch_for(architecture, batch_size, size)
        spec = chain(architecture)
        needs = chain_resources(spec.blocks, item_shapes(spec, size))
        self.flops = batches * batch_size * sum(block.flops for block in needs)
        self.call(self.given)

    def time_forward(
        self, form: str, architecture: str, batches: int, batch_size: int, size: int
    ) -> Any:
        return [self.call(self.given) for _ in range(batches)]

    def ideal_seconds(self, limits: Limits) -> float | None:
        return limits.seconds("matmul_flops", self.flops)

    def verify(self) -> None:
        import torch

        expected = [form(self.given) for form in self.forms]
        for found in (*self.result, *expected):
            if not torch.equal(found, expected[0]):
                raise WrongResultError("the chain's features are not those of the library's model")


def both_forms(architecture: str, seed: int) -> Forms:
    """Return the library's model, freshly initialised, and the chain with its tensors."""
    import torch

    from bench_core.models import chain
    from bench_core.models.chains import block_module, family_of

    family = family_of(architecture)
    configuration = family.configuration(**family.configurations[architecture])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = family.reference(configuration).eval()
    blocks = family.split(configuration, model.state_dict()).blocks
    specs = chain(architecture).blocks
    modules = [block_module(*pair) for pair in zip(specs, blocks, strict=True)]

    def library(given: Any) -> torch.Tensor:
        with torch.inference_mode():
            return family.reference_features(model, given)

    return Forms(library, lambda given: forward_chain(modules, given))
