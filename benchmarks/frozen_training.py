"""What freezing a network's first layers saves of a training step's time and memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from benchmarks.support.common import require_cuda
from benchmarks.support.training_base import DEVICES
from harness.benchmark import Benchmark
from harness.errors import RefusedError, WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    import torch

    from bench_core.weight_transfer import ArchitectureGraph, Network
    from harness.limits import Limits

SHARES: Final = (0, 25, 50, 75, 100)
"""Percent of the forward pass's operations that lie in frozen layers."""
LAYERS: Final = 8
RATE: Final = 1e-3


class FrozenBenchmark(Benchmark):
    """Base of training steps of a chain of equal dense layers, of which the first are frozen."""

    network: Network

    def prepare_network(self, frozen: float, width: int, batch: int, device: str) -> None:
        """Build, freeze, and take a step, after which all memory that training needs is there."""
        import torch

        from bench_core.models.digests import tensors_digest

        if device == "cuda":
            require_cuda()
        self.timer.device = self.device = device
        self.network = frozen_network(frozen, width, device, self.seed)
        self.optimizer = optimizer_of(self.network)
        generator = torch.Generator().manual_seed(self.seed)
        self.inputs, self.targets = (
            torch.randn(batch, width, generator=generator).to(device) for _ in range(2)
        )
        self.forward_flops = batch * sum(layer.flops for layer in self.network.graph.layers)
        self.step()
        self.before = [tensors_digest(layer) for layer in self._layers()]

    def step(self) -> None:
        """Take one step of training; without a trainable layer it is the forward pass."""
        training_step(self.network, self.optimizer, self.inputs, self.targets)

    def require_frozen(self) -> None:
        """See that the trained layers changed, and no bit of the others.

        Raises:
            WrongResultError: it is otherwise.
        """
        from bench_core.models.digests import tensors_digest

        after = [tensors_digest(layer) for layer in self._layers()]
        changed = {v for v, before in enumerate(self.before) if after[v] != before}
        expected = set(range(LAYERS)) - self.network.frozen
        if changed != expected:
            raise WrongResultError(f"layers {sorted(changed)} changed, expected {sorted(expected)}")

    def _layers(self) -> list[dict[str, torch.Tensor]]:
        return [dict(self.network.layer(v).state_dict()) for v in range(LAYERS)]


class FrozenStep(FrozenBenchmark):
    """Inside the clock: forward pass, backward pass and SGD with momentum, over one batch.

    Of eight equal dense layers the first ``frozen`` percent are frozen: they run without autograd,
    keep no activations, and the backward pass ends where they begin. At 0 it is the training that
    knows no freezing. ``saved_bytes`` is what a forward pass keeps for the backward pass,
    ``state_bytes`` gradients and momenta, ``training_bytes`` the two together; on a GPU
    ``peak_bytes`` is what the step had allocated at most. Ideal: the operations of the forward
    pass, of the gradients of the trained layers' weights and of all but the first one's inputs, at
    the matrix product's rate.
    """

    params = (SHARES, (128,), (64,), DEVICES)
    param_names = ("frozen", "width", "batch", "device")
    quick = {"frozen": (0, 50)}

    def prepare(self, frozen: float, width: int, batch: int, device: str) -> None:
        self.prepare_network(frozen, width, batch, device)
        if device == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats()

    def time_step(self, frozen: float, width: int, batch: int, device: str) -> None:
        self.step()

    def ideal_seconds(self, limits: Limits) -> float | None:
        trained = LAYERS - len(self.network.frozen)
        passes = LAYERS + trained + max(trained - 1, 0)
        flops = self.forward_flops * passes / LAYERS
        limit = "matmul_flops" if self.device == "cpu" else "device_matmul_flops"
        return limits.seconds(limit, flops)

    def verify(self) -> None:
        self.require_frozen()
        if self.device == "cuda":
            import torch

            self.note(peak_bytes=torch.cuda.max_memory_allocated())
        saved, state = saved_bytes(self.network, self.inputs), state_bytes(self.optimizer)
        self.note(saved_bytes=saved, state_bytes=state, training_bytes=saved + state)


class FreezeGain(FrozenBenchmark):
    """A frozen step's time over the full step's, and that over ``(1 + 2 (1 - f)) / 3``.

    1 means that freezing saves what the operations promise: a backward pass costs twice the
    forward pass, and a share f of it is gone. Steps of both kinds in turns; the quotient of their
    medians. Below 1 is possible: at the boundary no gradient of the input is computed, and the
    optimiser has less to do. Not a time.
    """

    params = (SHARES[1:], (128,), (64,), (9,), DEVICES)
    param_names = ("frozen", "width", "batch", "steps", "device")
    quick: ClassVar[Mapping[str, Sequence[Param]] | None] = None
    unit = "ratio"

    def prepare(self, frozen: float, width: int, batch: int, steps: int, device: str) -> None:
        self.promised = (1 + 2 * (1 - frozen / 100)) / 3
        self.prepare_network(frozen, width, batch, device)
        self.full = frozen_network(0, width, device, self.seed)
        self.of_full = optimizer_of(self.full)

    def track_over_promise(
        self, frozen: float, width: int, batch: int, steps: int, device: str
    ) -> float:
        full, part = [], []
        for _ in range(steps):
            full.append(self._seconds(self.full, self.of_full))
            part.append(self._seconds(self.network, self.optimizer))
        self.measured = statistics.median(part) / statistics.median(full)
        return self.measured / self.promised

    def verify(self) -> None:
        self.require_frozen()
        self.note(measured_ratio=self.measured, promised_ratio=self.promised)

    def _seconds(self, network: Network, optimizer: torch.optim.Optimizer | None) -> float:
        import torch

        if self.device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter_ns()
        training_step(network, optimizer, self.inputs, self.targets)
        if self.device == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter_ns() - started) / 1e9


def frozen_network(frozen: float, width: int, device: str, seed: int) -> Network:
    """Return a chain of `LAYERS` equal layers, the first ``frozen`` percent of them frozen.

    Raises:
        RefusedError: that is no whole number of layers.
    """
    from bench_core.weight_transfer import materialise

    count = frozen * LAYERS / 100
    if count != int(count) or not 0 <= count <= LAYERS:
        raise RefusedError(f"{frozen} % of {LAYERS} equal layers; expected a whole number of them")
    network = materialise(_chain(width), device, seed)
    network.freeze(range(int(count)))
    return network.train()


def optimizer_of(network: Network) -> torch.optim.Optimizer | None:
    """Return SGD with momentum over what is trained; None where nothing is."""
    import torch

    trained = list(network.trainable_parameters())
    return torch.optim.SGD(trained, RATE, momentum=0.9) if trained else None


def training_step(
    network: Network,
    optimizer: torch.optim.Optimizer | None,
    inputs: torch.Tensor,
    targets: torch.Tensor,
) -> None:
    """Take one step of training; without an optimiser only the forward pass."""
    import torch

    loss = torch.nn.functional.mse_loss(network(inputs), targets)
    if optimizer is None:
        return
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()


def saved_bytes(network: Network, inputs: torch.Tensor) -> int:
    """Return the bytes that a forward pass keeps for the backward pass, parameters left out."""
    import torch

    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = network(inputs)  # held to the end: freed memory could be counted once for two
    del output
    return sum(kept.values())


def state_bytes(optimizer: torch.optim.Optimizer | None) -> int:
    """Return the bytes of the gradients and of what the optimiser remembers."""
    if optimizer is None:
        return 0
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    momenta = [optimizer.state[p]["momentum_buffer"] for p in trained]
    gradients = [p.grad for p in trained if p.grad is not None]
    return sum(tensor.nbytes for tensor in (*gradients, *momenta))


def _chain(width: int) -> ArchitectureGraph:
    from bench_core.weight_transfer import sequential
    from bench_core.weight_transfer.layers import dense

    return sequential([dense((width,), width, "relu")] * LAYERS)
