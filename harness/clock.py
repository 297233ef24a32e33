"""The clock: monotonic nanoseconds, read when the device has finished what was given to it.

``time.perf_counter_ns`` is CLOCK_MONOTONIC on Linux, so stamps of several processes of one host can
be compared. torch is never imported here: a process that did not import it has no device work.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from types import ModuleType, TracebackType
from typing import Any, Final

from harness.errors import InputError, RefusedError

NANOSECOND: Final = 1e-9
KEPT_STAMPS: Final = 4096


def synchronize(device: str = "auto") -> None:
    """Wait until the device has finished all work queued on it.

    ``auto`` is every accelerator that this process has initialised, ``cpu`` is none; otherwise a
    torch device such as ``cuda`` (all CUDA devices in use) or ``cuda:1``. Nothing happens, and no
    device is initialised, where torch is not imported or the device has never been used.

    Raises:
        InputError: torch does not know the device.
    """
    torch = sys.modules.get("torch")
    if torch is None or device == "cpu":
        return
    if device == "auto":
        if torch.cuda.is_initialized():
            _synchronize_cuda(torch)
        else:
            _synchronize_other(torch)
        return
    parsed = _parse(torch, device)
    if parsed.type == "cuda" and parsed.index is None:
        if torch.cuda.is_initialized():
            _synchronize_cuda(torch)
    elif parsed.type != "cpu" and _in_use(torch, parsed.type):
        getattr(torch, parsed.type).synchronize(*([] if parsed.index is None else [parsed.index]))


def synced() -> float:
    """Return seconds since an arbitrary origin, after `synchronize`.

    For asv: ``timer = staticmethod(clock.synced)``. asv reads the clock right before and right
    after the statement, so the device is synchronised at both ends.
    """
    synchronize()
    return time.perf_counter_ns() * NANOSECOND


class StampClock:
    """A float clock that remembers when it was read, so that others can know what a runner timed.

    An instance serves as asv's ``timer`` and as pytest-benchmark's. Only the newest `KEPT_STAMPS`
    readings are kept, since a runner that calibrates reads the clock without end.
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self.__name__ = type(self).__name__  # pytest-benchmark writes its timer's name down
        self._stamps: deque[int] = deque(maxlen=KEPT_STAMPS)

    def __call__(self) -> float:
        """Synchronise the device, keep the stamp and return it in seconds."""
        synchronize(self.device)
        now = time.perf_counter_ns()
        self._stamps.append(now)
        return now * NANOSECOND

    @property
    def stamps(self) -> tuple[int, ...]:
        """The stamps kept since the last `clear`, oldest first, in nanoseconds."""
        return tuple(self._stamps)

    @property
    def seconds(self) -> float | None:
        """Seconds between the two newest stamps; None before the second one."""
        if len(self._stamps) < 2:
            return None
        return (self._stamps[-1] - self._stamps[-2]) * NANOSECOND

    def clear(self) -> None:
        """Forget all stamps: the next two readings are a new sample's."""
        self._stamps.clear()


class DeviceTimer:
    """Times one region by host stamps and by a pair of device events; a context manager.

    The device is synchronised before the first host stamp and before the last one. On a host
    without an accelerator in use the event time is None and the host times stand alone.

    Example:
        >>> with DeviceTimer() as timer:
        ...     total = sum(range(1000))
        >>> timer.host_ns >= timer.returned_ns > 0
        True
    """

    def __init__(self, device: str = "auto") -> None:
        self.device = device
        self.returned_ns = 0
        """Until the region's last call returned: what a clock without a sync would have said."""
        self.host_ns = 0
        """Until the device had finished."""
        self.event_ms: float | None = None
        """Between the two events on the device's current stream."""
        self._events: tuple[Any, Any] | None = None
        self._begin = 0

    def __enter__(self) -> DeviceTimer:
        synchronize(self.device)
        self._events = _event_pair(self.device)
        self._begin = time.perf_counter_ns()
        if self._events is not None:
            self._events[0].record()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            return
        if self._events is not None:
            self._events[1].record()
        returned = time.perf_counter_ns()
        synchronize(self.device)
        self.host_ns = time.perf_counter_ns() - self._begin
        self.returned_ns = returned - self._begin
        if self._events is not None:
            self.event_ms = float(self._events[0].elapsed_time(self._events[1]))


def accelerator() -> str | None:
    """Return the type of the accelerator this process has initialised (``cuda``), or None."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if torch.cuda.is_initialized():
        return "cuda"
    other = _other_accelerator(torch)
    return other if other is not None and _in_use(torch, other) else None


def _synchronize_cuda(torch: ModuleType) -> None:
    """Wait for each CUDA device that has a context; a sync must not create one on the others."""
    if torch.cuda.device_count() == 1:
        torch.cuda.synchronize()
        return
    for index in range(torch.cuda.device_count()):
        if torch._C._cuda_hasPrimaryContext(index):
            torch.cuda.synchronize(index)


def _synchronize_other(torch: ModuleType) -> None:
    kind = _other_accelerator(torch)
    if kind is not None and _in_use(torch, kind):
        torch.accelerator.synchronize()


def _other_accelerator(torch: ModuleType) -> str | None:
    """Return the type of torch's accelerator (``mps``, ``xpu``, …) when it is not CUDA."""
    found = torch.accelerator.current_accelerator()
    return None if found is None or found.type == "cuda" else str(found.type)


def _in_use(torch: ModuleType, kind: str) -> bool:
    """Tell whether a device type is initialised; one that cannot say so (mps) counts as used."""
    module = getattr(torch, kind, None)
    if module is None or not module.is_available():
        return False
    is_initialized = getattr(module, "is_initialized", None)
    return True if is_initialized is None else bool(is_initialized())


def _parse(torch: ModuleType, device: str) -> Any:
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise InputError(
            f"device {device!r} is unknown to torch; use auto, cpu, cuda or cuda:<index>"
        ) from error


def _event_pair(device: str) -> tuple[Any, Any] | None:
    """Return two timing events on ``device``, or None where no accelerator is in use."""
    kind = accelerator() if device == "auto" else device.partition(":")[0]
    if kind is None or kind == "cpu":
        return None
    torch = sys.modules.get("torch")
    if torch is None or not _in_use(torch, kind):
        raise RefusedError(f"device {device!r} is not in use in this process; no event can time it")
    event = getattr(torch, kind).Event
    return event(enable_timing=True), event(enable_timing=True)
