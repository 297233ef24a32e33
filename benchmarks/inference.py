"""Inference of one model: its time by batch size, and the largest batch that memory allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.support.common import require_cuda
from benchmarks.support.named_params import DEVICES, NamedParams
from harness.errors import RefusedError, WrongResultError

if TYPE_CHECKING:
    import torch

    from harness.benchmark import Benchmark
    from harness.limits import Limits

TOLERANCE: Final = 1e-4
"""Of features, as a share of the largest: other batch sizes sum in another order."""


class InferenceBySize(NamedParams):
    """Inside the clock: one batch through a model's chain, weights and inputs on the device.

    The seconds of an item are in the record's extra. Ideal: the operations at the matrix product's
    rate.
    """

    params = (("resnet_tiny", "vit_tiny"), (1, 8, 32), (32,), DEVICES)
    param_names = ("architecture", "batch_size", "size", "device")
    quick = {"architecture": ("resnet_tiny",), "batch_size": (1, 32)}
    open_params = ("architecture",)
    timeout = 600

    def prepare(self, architecture: str, batch_size: int, size: int, device: str) -> None:
        from bench_core.model_search.rates import random_batch
        from bench_core.models import chain
        from benchmarks.support.chain_inputs import forward_chain, item_shapes

        if device == "cuda":
            require_cuda()
        self.timer.device = device
        self.run = forward_chain
        self.modules = chain_modules(self, architecture, device)
        shapes = item_shapes(chain(architecture), size)
        self.given = self.cached(
            ("random batch", shapes, batch_size, device),
            lambda: random_batch(shapes, batch_size, device),
        )
        self.batch_size, self.feature_dim = batch_size, chain(architecture).feature_dim
        self.flops = flops_of(architecture, size) * batch_size
        self.run(self.modules, self.given)

    def time_forward(self, architecture: str, batch_size: int, size: int, device: str) -> Any:
        return self.run(self.modules, self.given)

    def ideal_seconds(self, limits: Limits) -> float | None:
        return limits.seconds("matmul_flops", self.flops) if self.timer.device == "cpu" else None

    def verify(self) -> None:
        expected = (self.batch_size, self.feature_dim)
        if tuple(self.result.shape) != expected:
            raise WrongResultError(f"features of {tuple(self.result.shape)}, expected {expected}")
        for index in {0, self.batch_size - 1}:
            alone = self.run(self.modules, _item(self.given, index))
            found = self.result[index : index + 1]
            require_alike(found, alone, f"the features of item {index}")
        seconds = (self.timer.seconds or 0.0) / self.batch_size
        self.note(milliseconds_per_item=1e3 * seconds, gflop=self.flops / 1e9)


class LargestBatch(NamedParams):
    """The most items of one batch for which the memory suffices, beside libraries and model.

    A process of its own is given so many megabytes (10⁶ bytes) more than it has with the model
    loaded and warm: on the CPU of private memory, which the kernel refuses beyond that
    (RLIMIT_DATA); on a device by torch's allocator. Batches are doubled until one is refused;
    ``bisected`` then halves what is open until a sixteenth of the answer is left. A process that
    dies of a refusal counts as refused.
    """

    params = (("mlp_tiny", "resnet_tiny"), (64,), (32,), ("doubled", "bisected"), DEVICES)
    param_names = ("architecture", "megabytes", "size", "search", "device")
    quick = None
    open_params = ("architecture",)
    unit = "items"
    timeout = 1800
    repeat = 1
    rounds = 1

    def prepare(
        self, architecture: str, megabytes: int, size: int, search: str, device: str
    ) -> None:
        import sys

        from benchmarks.support.batch_limit import BatchLimit

        if device == "cuda":
            require_cuda()
        elif sys.platform != "linux":
            raise RefusedError("only Linux refuses memory beyond a process's own limit")
        self.limit = BatchLimit(architecture, size, megabytes * 1_000_000, device)

    def track_items(
        self, architecture: str, megabytes: int, size: int, search: str, device: str
    ) -> int:
        return self.limit.largest(bisect=search == "bisected")

    def verify(self) -> None:
        if not self.result:
            raise WrongResultError(f"no batch at all fits: {self.limit.reason}")
        if self.limit.peak_bytes > self.limit.nbytes:
            raise WrongResultError(
                f"a batch of {self.result} took {self.limit.peak_bytes} bytes of "
                f"{self.limit.nbytes} that it might have: nothing was limited"
            )
        self.note(
            peak_megabytes=self.limit.peak_bytes / 1e6,
            kilobytes_per_item=self.limit.peak_bytes / 1e3 / self.result,
            refused_items=self.limit.refused,
            refused_reason=self.limit.reason,
            tried=self.limit.tried,
        )

    def clean(self) -> None:
        if hasattr(self, "limit"):
            self.limit.close()


def chain_modules(
    benchmark: Benchmark, architecture: str, device: str = "cpu"
) -> list[torch.nn.Module]:
    """Return an architecture's blocks, initialised, on a device; made once a process."""
    from bench_core.models import chain
    from bench_core.models.chains import block_module, initialised

    def make() -> list[torch.nn.Module]:
        blocks = chain(architecture).blocks
        return [block_module(spec, initialised(spec, 0)).to(device) for spec in blocks]

    return benchmark.cached(("chain modules", architecture, device), make)


def flops_of(architecture: str, size: int) -> int:
    """Return the floating-point operations of one item."""
    from bench_core.models import chain
    from bench_core.models.chains.resources import chain_resources
    from benchmarks.support.chain_inputs import item_shapes

    found = chain(architecture)
    return sum(needs.flops for needs in chain_resources(found.blocks, item_shapes(found, size)))


def require_alike(found: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    """Compare features of one item that went through a model in batches of other sizes.

    Raises:
        WrongResultError: they differ by more than `TOLERANCE` of the largest, or are no numbers.
    """
    apart = float((found - expected).abs().max())
    if not apart <= TOLERANCE * float(expected.abs().max()):
        raise WrongResultError(f"{what} differ by {apart:.3g} from those of the item alone")


def _item(given: Any, index: int) -> Any:
    """Return one item of a batch, as a batch."""
    if isinstance(given, tuple):
        return tuple(tensor[index : index + 1] for tensor in given)
    return given[index : index + 1]
