"""Several models as one with a head for each: how long merging takes, and whether it pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from benchmarks.support.chain_inputs import batch_for, forward, forward_chain, item_shapes
from benchmarks.support.models_in_memory import Models, drawn_models, models_with_heads
from benchmarks.support.named_params import NamedParams
from harness.errors import WrongResultError

if TYPE_CHECKING:
    import torch

    from harness.limits import Limits

CHECK_SIZE: Final = 32
"""Of the images, or texts, by which a merged module is checked; two of them."""


class MergeModels(NamedParams):
    """Inside the clock: models in memory are merged into one module that has a head for each.

    With ``known`` keys, as a store has them, only the tree of what is shared is built; ``computed``
    ones are digests of all tensors, taken inside the clock. No tensor is copied, and no bandwidth
    bounds the former: there is no ideal time. What is checked: each head's output is its model's
    own, bit for bit.
    """

    params = (("known", "computed"), ("resnet_tiny", "vit_tiny"), (5, 50), ("TOP_LAYERS",))
    param_names = ("keys", "architecture", "n_models", "distribution")
    quick = {"keys": ("known", "computed")}
    open_params = ("architecture", "distribution")
    timeout = 600

    def prepare(self, keys: str, architecture: str, n_models: int, distribution: str) -> None:
        import bench_core.model_search.merged  # noqa: F401  # not inside the clock

        key = ("models in memory", architecture, distribution, n_models, self.seed)
        self.models = self.cached(key, lambda: drawn_models(*key[1:]))
        self.architecture = architecture

    def time_merge(self, keys: str, architecture: str, n_models: int, distribution: str) -> Any:
        from bench_core.model_search.merged import merge

        names = self.models.keys if keys == "known" else _computed_keys(self.models)
        return merge(self.models.blocks, names)

    def verify(self) -> None:
        given = batch_for(self.architecture, 2, CHECK_SIZE)
        heads = forward(self.result, given)
        check_heads(heads, [forward_chain(blocks, given) for blocks in self.models.blocks])
        tree = self.result.tree
        self.note(
            blocks=tree.prefixes.n_nodes,
            blocks_of_models=sum(map(len, self.models.blocks)),
            parts=len(tree.units),
        )


class _HeadsForward(NamedParams):
    """Base of the forward passes through models that share all but a head of their own.

    The head is what stands behind the last cut: the last block that can be re-trained. What is
    checked: each model's features are those of the model alone, bit for bit. Ideal: operations
    (of distinct blocks, but of every block where each model runs whole) at the matrix product's
    rate.
    """

    params: ClassVar[Sequence[Any]] = (
        ("merged",),
        ("resnet_tiny", "mlp_tiny"),
        (5,),
        (8, 32),
        (32, 64),
    )
    param_names = ("form", "architecture", "n_models", "batch_size", "size")
    open_params = ("architecture",)
    timeout = 3600

    call: Callable[[], list[torch.Tensor]]

    def prepare(
        self, form: str, architecture: str, n_models: int, batch_size: int, size: int
    ) -> None:
        key = ("models with heads", architecture, n_models, self.seed)
        self.models = self.cached(key, lambda: models_with_heads(*key[1:]))
        self.given = batch_for(architecture, batch_size, size)
        self.call = FORMS[form](self.models, self.given)
        trunk, head = _flops(architecture, self.models.tail, size)
        times = n_models if form == "whole" else 1
        self.flops = batch_size * (times * trunk + n_models * head)
        self.call()

    def time_forward(
        self, form: str, architecture: str, n_models: int, batch_size: int, size: int
    ) -> Any:
        return self.call()

    def ideal_seconds(self, limits: Limits) -> float | None:
        return limits.seconds("matmul_flops", self.flops)

    def verify(self) -> None:
        expected = whole(self.models, self.given)()
        check_heads(self.result, expected)


class NativelyOrMerged(_HeadsForward):
    """Inside the clock: a batch through a module with several heads.

    ``native`` was written with them: a trunk and a list of heads; ``merged`` is made of single
    models by `bench_core.model_search.merged.merge`. Both compute the same.
    """

    params = (("native", "merged"), *_HeadsForward.params[1:])
    quick = {"form": ("native", "merged")}


class InTurnOrMerged(_HeadsForward):
    """Inside the clock: a batch through several models.

    ``in_turn``: what they share, then each branch, are modules that are called in turn; ``merged``:
    one module holds all of these; ``whole``: each model from its first block on, so that what is
    shared is computed again for each.
    """

    params = (("in_turn", "merged", "whole"), *_HeadsForward.params[1:])
    quick = {"form": ("in_turn", "merged", "whole")}


def native(models: Models, given: Any) -> Callable[[], list[torch.Tensor]]:
    """Return the call of a module that was written with a head for each model."""
    from torch import nn

    from bench_core.models.chains import features_of

    class WithHeads(nn.Module):
        """A trunk, and heads on it."""

        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Sequential(*models.blocks[0][: models.tail])
            self.heads = nn.ModuleList(
                nn.Sequential(*blocks[models.tail :]) for blocks in models.blocks
            )

        def forward(self, inputs: Any) -> list[torch.Tensor]:
            shared = self.trunk(inputs)
            return [features_of(head(shared)) for head in self.heads]

    module = WithHeads()
    return lambda: list(forward(module, given))


def merged(models: Models, given: Any) -> Callable[[], list[torch.Tensor]]:
    """Return the call of the merged module."""
    from bench_core.model_search.merged import merge

    module = merge(models.blocks, models.keys)
    return lambda: list(forward(module, given))


def in_turn(models: Models, given: Any) -> Callable[[], list[torch.Tensor]]:
    """Return what calls the shared part, then each branch."""
    from torch import nn

    from bench_core.models.chains import features_of

    shared = nn.Sequential(*models.blocks[0][: models.tail])
    branches = [nn.Sequential(*blocks[models.tail :]) for blocks in models.blocks]

    def call() -> list[torch.Tensor]:
        between = forward(shared, given)
        return [features_of(forward(branch, between)) for branch in branches]

    return call


def whole(models: Models, given: Any) -> Callable[[], list[torch.Tensor]]:
    """Return what calls each model from its first block on."""
    return lambda: [forward_chain(blocks, given) for blocks in models.blocks]


FORMS: Final = {"native": native, "merged": merged, "in_turn": in_turn, "whole": whole}


def check_heads(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> None:
    """Raise where a model's features are not those of the model alone.

    Raises:
        WrongResultError: a head is missing, or a bit differs.
    """
    import torch

    if len(found) != len(expected):
        raise WrongResultError(f"{len(found)} heads of {len(expected)} models")
    wrong = [
        i for i, pair in enumerate(zip(found, expected, strict=True)) if not torch.equal(*pair)
    ]
    if wrong:
        raise WrongResultError(
            f"{len(wrong)} heads differ from their models, the first is {wrong[0]}"
        )


def _flops(architecture: str, tail: int, size: int) -> tuple[int, int]:
    """Return the operations of an item before and behind a cut."""
    from bench_core.models import chain
    from bench_core.models.chains.resources import chain_resources

    spec = chain(architecture)
    found = [block.flops for block in chain_resources(spec.blocks, item_shapes(spec, size))]
    return sum(found[:tail]), sum(found[tail:])


def _computed_keys(models: Models) -> list[list[str]]:
    from bench_core.model_search.merged import block_key

    return [
        [block_key(spec, module) for spec, module in zip(models.specs, blocks, strict=True)]
        for blocks in models.blocks
    ]
