"""What a clock sees of an asynchronous device, and what waiting for the device costs.

The harness synchronises the device before both of its stamps. Here the second synchronisation is
part of what is measured: left out, done once, or done again and again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from benchmarks.support.common import require_cuda, require_equal
from harness import clock
from harness.benchmark import Benchmark
from harness.errors import WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    from harness.limits import Limits

MIB: Final = 1 << 20
SYNC: Final = ("none", "end", "each_task", "each_tensor")


class SyncPlacement(Benchmark):
    """Inside the clock: tasks of matrix products on the device, synchronised as ``sync`` says.

    With ``none`` the clock stops when the last launch has returned: the sample's value is what a
    clock without sync would have said. Its ``times`` hold the time between two device events around
    the work: what the device in fact needed.
    """

    params = (SYNC, (4,), (16,), (1024,))
    param_names = ("sync", "tasks", "tensors", "size")
    quick = {"sync": SYNC}

    def prepare(self, sync: str, tasks: int, tensors: int, size: int) -> None:
        import torch

        require_cuda()
        # The runner's own clock must not add the wait that this case leaves out.
        self.timer.device = "cpu" if sync == "none" else "cuda"
        generator = torch.Generator("cuda").manual_seed(0)
        self.inputs = [
            torch.randn(size, size, device="cuda", generator=generator) for _ in range(tensors)
        ]
        self.outputs = [torch.zeros_like(tensor) for tensor in self.inputs]
        self.expected = self.inputs[-1] @ self.inputs[-1]  # also loads the kernel
        self.events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()

    def time_tasks(self, sync: str, tasks: int, tensors: int, size: int) -> None:
        self.events[0].record()
        for _ in range(tasks):
            self._task(sync)
        self.events[1].record()
        if sync == "end":
            clock.synchronize("cuda")

    def verify(self) -> None:
        import torch

        clock.synchronize("cuda")
        self.note(times={"events": self.events[0].elapsed_time(self.events[1]) / 1e3})
        if not torch.equal(self.outputs[-1], self.expected):
            raise WrongResultError("the last product differs from the same product made before")

    def _task(self, sync: str) -> None:
        import torch

        for tensor, output in zip(self.inputs, self.outputs, strict=True):
            torch.mm(tensor, tensor, out=output)
            if sync == "each_tensor":
                clock.synchronize("cuda")
        if sync == "each_task":
            clock.synchronize("cuda")


class HostAndEventTime(Benchmark):
    """Inside the clock: one matrix product between two device events, and its device sync.

    The sample's ``times`` are three of the same work: until the launch ``returned``, until the
    device had finished by the ``host``'s clock, and between the ``events``. What the host's clock
    counts beyond the events is launching and queueing: most of a small product, little of a large
    one.
    """

    params = ((64, 1024, 4096),)
    param_names = ("size",)
    quick = {"size": (64, 4096)}

    def prepare(self, size: int) -> None:
        import torch

        require_cuda()
        generator = torch.Generator("cuda").manual_seed(0)
        self.input = torch.randn(size, size, device="cuda", generator=generator)
        self.output = torch.zeros_like(self.input)
        self.expected = self.input @ self.input  # also loads the kernel

    def time_product(self, size: int) -> clock.DeviceTimer:
        import torch

        with clock.DeviceTimer("cuda") as timer:
            torch.mm(self.input, self.input, out=self.output)
        return timer

    def verify(self) -> None:
        import torch

        timer: clock.DeviceTimer = self.result
        self.note(
            times={
                "returned": timer.returned_ns / 1e9,
                "host": timer.host_ns / 1e9,
                "events": (timer.event_ms or 0.0) / 1e3,
            }
        )
        if not torch.equal(self.output, self.expected):
            raise WrongResultError("the product differs from the same product made before")


class SyncCost(Benchmark):
    """Inside the clock: `harness.clock.synchronize`, ``calls`` times, with nothing queued.

    On the CPU it is what the instrument itself adds around a sample; on a device it includes the
    driver's call.
    """

    params = (("cpu", "cuda"), (1000,))
    param_names = ("device", "calls")
    quick = {"device": ("cpu", "cuda")}

    def prepare(self, device: str, calls: int) -> None:
        if device == "cuda":
            require_cuda()
        clock.synchronize(device)

    def time_synchronize(self, device: str, calls: int) -> None:
        for _ in range(calls):
            clock.synchronize(device)


class Copies(Benchmark):
    """Inside the clock: one copy between host and device, and the sync that ends it.

    ``blocking`` copies wait for the device by themselves; of a ``non_blocking`` one the sample's
    ``times`` say when the call ``returned``. From pageable memory the driver stages, and the call
    waits whatever it was told. Ideal: the probed bandwidth of this direction and memory.
    """

    params = (("h2d", "d2h"), ("pinned", "pageable"), ("blocking", "non_blocking"), (64,))
    param_names = ("direction", "memory", "mode", "mebibytes")
    quick = {
        "direction": ("h2d", "d2h"),
        "memory": ("pinned", "pageable"),
        "mode": ("blocking", "non_blocking"),
    }

    @classmethod
    def planned_bytes(cls, **params: Param) -> int:
        """Return the bytes of the copy."""
        return int(params["mebibytes"]) * MIB

    def prepare(self, direction: str, memory: str, mode: str, mebibytes: int) -> None:
        import torch

        require_cuda()
        generator = torch.Generator().manual_seed(0)
        payload = torch.randint(0, 256, (mebibytes * MIB,), dtype=torch.uint8, generator=generator)
        host = payload.pin_memory() if memory == "pinned" else payload
        device = payload.to("cuda")
        if direction == "h2d":
            self.source, self.destination = host, torch.zeros_like(device)
        else:
            self.source, self.destination = device, torch.zeros_like(host).fill_(1)
            if memory == "pinned":
                self.destination = self.destination.pin_memory()
        self.limit = f"{direction}_{memory}"
        torch.cuda.synchronize()

    def time_copy(self, direction: str, memory: str, mode: str, mebibytes: int) -> float:
        began = time.perf_counter()
        self.destination.copy_(self.source, non_blocking=mode == "non_blocking")
        return time.perf_counter() - began

    def needed_bytes(self) -> int | None:
        return self.source.nbytes

    def ideal_seconds(self, limits: Limits) -> float | None:
        return limits.seconds(self.limit, self.source.nbytes)

    def verify(self) -> None:
        self.note(times={"returned": self.result})
        require_equal({"copy": self.destination}, {"copy": self.source})
