"""The clock: what it waits for, when it does not, and what it remembers."""

from __future__ import annotations

import subprocess
import sys
import time
import timeit
from types import SimpleNamespace
from typing import Any

import pytest

from harness import clock
from harness.errors import InputError, RefusedError


class FakeTorch(SimpleNamespace):
    """As much of torch as the clock looks at; it writes down what it is asked to do."""

    def __init__(self, contexts: list[bool], other: str | None = None) -> None:
        self.calls: list[str] = []
        log = self.calls.append

        def module(kind: str, used: bool) -> SimpleNamespace:
            def synchronize(index: int | None = None) -> None:
                log(f"{kind} sync" if index is None else f"{kind}:{index} sync")

            def event(enable_timing: bool) -> SimpleNamespace:
                return SimpleNamespace(
                    record=lambda: log(f"{kind} event"), elapsed_time=lambda end: 2.0
                )

            return SimpleNamespace(
                is_initialized=lambda: used,
                is_available=lambda: True,
                device_count=lambda: len(contexts),
                synchronize=synchronize,
                Event=event,
            )

        def device(name: str) -> SimpleNamespace:
            kind, _, index = name.partition(":")
            if kind not in ("cpu", "cuda", "xpu"):
                raise RuntimeError(f"Expected one of cpu, cuda, xpu: {name}")
            return SimpleNamespace(type=kind, index=int(index) if index else None)

        found = None if other is None else SimpleNamespace(type=other)
        super().__init__(
            cuda=module("cuda", any(contexts)),
            xpu=module("xpu", other == "xpu"),
            device=device,
            accelerator=SimpleNamespace(
                current_accelerator=lambda: found, synchronize=lambda: log("accelerator sync")
            ),
            _C=SimpleNamespace(_cuda_hasPrimaryContext=lambda index: contexts[index]),
        )


def use(monkeypatch: pytest.MonkeyPatch, contexts: list[bool], other: str | None = None) -> Any:
    torch = FakeTorch(contexts, other)
    monkeypatch.setitem(sys.modules, "torch", torch)
    return torch


def test_importing_the_instrument_imports_no_torch() -> None:
    modules = "cache, clock, counters, limits, machine, records, statistics"
    code = f"import sys; from harness import {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_device_is_synchronised_before_the_stamp(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = use(monkeypatch, [True])

    def stamp() -> int:
        torch.calls.append("stamp")
        return 5_000_000_000

    monkeypatch.setattr(time, "perf_counter_ns", stamp)
    assert clock.synced() == clock.StampClock("cuda")() == clock.StampClock()() == 5.0
    assert torch.calls == ["cuda sync", "stamp"] * 3


@pytest.mark.parametrize(
    ("contexts", "other", "device", "expected"),
    [
        ([False], None, "auto", []),
        ([False], None, "cuda", []),
        ([False], None, "cuda:0", []),
        ([True], None, "auto", ["cuda sync"]),
        ([True], None, "cpu", []),
        ([True, False, True], None, "auto", ["cuda:0 sync", "cuda:2 sync"]),
        ([True, False, True], None, "cuda", ["cuda:0 sync", "cuda:2 sync"]),
        ([True, False, True], None, "cuda:2", ["cuda:2 sync"]),
        ([False], "xpu", "auto", ["accelerator sync"]),
        ([False], "xpu", "xpu", ["xpu sync"]),
        ([False], None, "xpu", []),
    ],
)
def test_only_devices_in_use_are_waited_for(
    monkeypatch: pytest.MonkeyPatch,
    contexts: list[bool],
    other: str | None,
    device: str,
    expected: list[str],
) -> None:
    torch = use(monkeypatch, contexts, other)
    clock.synchronize(device)
    assert torch.calls == expected


def test_without_torch_there_is_nothing_to_wait_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    clock.synchronize("cuda")
    assert "torch" not in sys.modules
    assert clock.accelerator() is None


def test_an_unknown_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, [True])
    with pytest.raises(InputError, match="'gpu' is unknown"):
        clock.synchronize("gpu")


def test_real_torch_without_a_device_in_use_is_left_alone() -> None:
    torch = pytest.importorskip("torch")
    before = torch.cuda.is_initialized()
    assert clock.synced() <= clock.synced()
    assert torch.cuda.is_initialized() == before


def test_a_stamp_clock_knows_what_a_runner_timed() -> None:
    stamps = clock.StampClock()
    assert stamps.seconds is None
    seconds = timeit.Timer(lambda: sum(range(100)), timer=stamps).timeit(1)
    assert len(stamps.stamps) == 2
    assert stamps.seconds == pytest.approx(seconds, abs=1e-6)
    stamps.clear()
    assert stamps.stamps == () and stamps.seconds is None


def test_a_stamp_clock_keeps_the_newest_stamps_only() -> None:
    stamps = clock.StampClock("cpu")
    for _ in range(clock.KEPT_STAMPS + 10):
        last = stamps()
    assert len(stamps.stamps) == clock.KEPT_STAMPS
    assert stamps.stamps[-1] * 1e-9 == last
    assert list(stamps.stamps) == sorted(stamps.stamps)


def test_a_stamp_clock_as_a_class_attribute_does_not_bind_its_instance() -> None:
    class Suite:
        timer = clock.StampClock("cpu")

    assert Suite().timer() <= Suite().timer()


def test_a_device_timer_without_a_device_has_host_times_only() -> None:
    with clock.DeviceTimer("cpu") as timer:
        time.sleep(0.001)
    assert 1_000_000 <= timer.returned_ns <= timer.host_ns
    assert timer.event_ms is None


def test_a_device_timer_puts_its_events_inside_the_host_stamps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = use(monkeypatch, [True])
    with clock.DeviceTimer() as timer:
        torch.calls.append("work")
    assert torch.calls == ["cuda sync", "cuda event", "work", "cuda event", "cuda sync"]
    assert timer.event_ms == 2.0


def test_a_device_timer_of_a_failed_region_has_no_times() -> None:
    timer = clock.DeviceTimer("cpu")
    with pytest.raises(ValueError, match="broken"), timer:
        raise ValueError("broken")
    assert (timer.host_ns, timer.returned_ns) == (0, 0)


def test_a_device_timer_refuses_a_device_that_is_not_in_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use(monkeypatch, [False])
    with pytest.raises(RefusedError, match="'cuda' is not in use"), clock.DeviceTimer("cuda"):
        pass


@pytest.mark.gpu
def test_on_a_gpu_the_synced_time_covers_the_kernel() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no CUDA device")
    matrix = torch.rand(4096, 4096, device="cuda")
    torch.mm(matrix, matrix)
    with clock.DeviceTimer("cuda") as timer:
        for _ in range(10):
            torch.mm(matrix, matrix)
    assert timer.event_ms is not None
    # The host cannot be done before the device, nor know of its end before its own return.
    assert timer.host_ns >= timer.event_ms * 1e6 * 0.99
    assert timer.host_ns >= timer.returned_ns
