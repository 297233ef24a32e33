"""Background saves: the values at the call, bounded memory, errors that nobody can miss."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.state_dict_loader import load as load_checkpoint

from bench_core import formats
from bench_core.errors import SaveError, UnknownNameError, UnsupportedError
from bench_core.formats import Durability, Reader, Tensors, WriteResult
from bench_core.formats.safetensors_file import SafetensorsMmap
from bench_core.models import equal_bytes, tensors
from bench_core.storage_writes import AsyncSaver, DcpAsyncSaver, save, save_async

STATE = tensors("tiny_5x4KiB")
OTHER = tensors("tiny_5x4KiB", seed=1)


class GatedFormat(SafetensorsMmap):
    """Writes when it is let, and fails when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.error: Exception | None = None

    def write(
        self, tensors: Tensors, path: Path, durability: Durability = Durability.FSYNC_DIR
    ) -> WriteResult:
        assert self.gate.wait(60)
        if self.error is not None:
            raise self.error
        return super().write(tensors, path, durability)


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> Iterator[GatedFormat]:
    format_ = GatedFormat()
    monkeypatch.setattr(formats, "get", lambda _name: format_)
    yield format_
    format_.gate.set()


def copy_of(state: Tensors) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def load(path: Path, format: str = "safetensors") -> dict[str, torch.Tensor]:
    reader: Reader
    with formats.get(format).open(path) as reader:
        return {name: tensor.clone() for name, tensor in reader.read().items()}


def same(a: Tensors, b: Tensors) -> bool:
    return a.keys() == b.keys() and all(equal_bytes(a[name], b[name]) for name in a)


def test_what_is_saved_are_the_values_at_the_call(gated: GatedFormat, tmp_path: Path) -> None:
    state = copy_of(STATE)
    with AsyncSaver() as saver:
        pending = saver.save(state, tmp_path / "m")
        assert not pending.done()
        for tensor in state.values():
            tensor.zero_()
        gated.gate.set()
        times = pending.result()
    assert same(load(tmp_path / "m"), STATE)
    assert times.path == tmp_path / "m"
    assert times.bytes_logical == 5 * 4096
    assert times.bytes_physical == (tmp_path / "m").stat().st_size
    assert 0 < times.blocked_ns <= times.total_ns
    assert times.blocked_ns == pending.blocked_ns


def test_a_save_of_one_call_is_of_the_values_at_the_call(
    gated: GatedFormat, tmp_path: Path
) -> None:
    state = copy_of(STATE)
    pending = save_async(state, tmp_path / "m")
    for tensor in state.values():
        tensor.zero_()
    with pytest.raises(TimeoutError, match="it goes on"):
        pending.result(timeout=0.01)
    gated.gate.set()
    pending.result()
    assert same(load(tmp_path / "m"), STATE)


def test_a_second_save_waits_for_the_memory_of_the_first(
    gated: GatedFormat, tmp_path: Path
) -> None:
    saver = AsyncSaver()
    first = saver.save(STATE, tmp_path / "m")
    held = saver.nbytes
    assert saver.try_save(OTHER, tmp_path / "m") is None
    began = threading.Event()

    def second() -> None:
        began.set()
        saver.save(OTHER, tmp_path / "m")

    thread = threading.Thread(target=second)
    thread.start()
    assert began.wait(10)
    thread.join(0.05)
    assert thread.is_alive()
    assert not first.done()
    gated.gate.set()
    thread.join(10)
    saver.close()
    assert first.done()
    assert held > 0
    assert saver.nbytes == 0
    assert same(load(tmp_path / "m"), OTHER)  # the later of two to one path stays


def test_two_buffers_take_two_saves_in_order(gated: GatedFormat, tmp_path: Path) -> None:
    with AsyncSaver(buffers=2) as saver:
        pending = [saver.save(state, tmp_path / "m") for state in (OTHER, STATE)]
        assert saver.try_save(OTHER, tmp_path / "m") is None
        gated.gate.set()
        assert pending[0].result().total_ns > 0
    assert same(load(tmp_path / "m"), STATE)


def test_memory_is_reused_by_later_saves(tmp_path: Path) -> None:
    with AsyncSaver(format="safetensors") as saver:
        held = set()
        for i in range(3):
            saver.save(STATE, tmp_path / f"m{i}").result()
            held.add(saver.nbytes)
    assert len(held) == 1


def test_an_error_is_raised_where_the_result_is_asked_for(
    gated: GatedFormat, tmp_path: Path
) -> None:
    (tmp_path / "m").write_text("the old one")
    gated.error = SaveError("disk full")
    gated.gate.set()
    with AsyncSaver() as saver:
        pending = saver.save(STATE, tmp_path / "m")
        with pytest.raises(SaveError, match="disk full"):
            pending.result()
        gated.error = None
        saver.save(STATE, tmp_path / "n").result()  # the error was seen: no second time
    assert (tmp_path / "m").read_text() == "the old one"


def test_an_error_nobody_asked_for_is_raised_by_the_next_call(
    gated: GatedFormat, tmp_path: Path
) -> None:
    gated.error = SaveError("disk full")
    gated.gate.set()
    saver = AsyncSaver()
    pending = saver.save(STATE, tmp_path / "m")
    while not pending.done():
        pass
    with pytest.raises(SaveError, match="disk full"):
        saver.save(STATE, tmp_path / "m")
    saver.save(STATE, tmp_path / "m")
    with pytest.raises(SaveError, match="disk full"):
        saver.close()
    with pytest.raises(SaveError, match="closed"):
        saver.save(STATE, tmp_path / "m")


def test_of_several_failed_saves_each_is_told(gated: GatedFormat, tmp_path: Path) -> None:
    saver = AsyncSaver(buffers=3)
    gated.error = SaveError("disk full")
    seen, *_ = [saver.save(STATE, tmp_path / "m") for _ in range(3)]
    gated.gate.set()
    with pytest.raises(SaveError, match="disk full"):
        seen.result()
    with pytest.raises(SaveError, match=r"^2 saves failed: disk full; disk full$") as told:
        saver.close()
    assert told.value.__cause__ is gated.error
    saver.close()  # no second time


def test_the_next_save_tells_of_all_that_failed_before(gated: GatedFormat, tmp_path: Path) -> None:
    with AsyncSaver(buffers=2) as saver:
        failing = [saver.save(STATE, tmp_path / name / "m") for name in ("here", "there")]
        gated.gate.set()
        while not all(pending.done() for pending in failing):
            pass
        with pytest.raises(SaveError, match=r"2 saves failed: .*/here/m: .*; .*/there/m: "):
            saver.save(STATE, tmp_path / "m")
        saver.save(STATE, tmp_path / "m")
    assert same(load(tmp_path / "m"), STATE)


def test_who_stopped_waiting_has_seen_no_error(gated: GatedFormat, tmp_path: Path) -> None:
    saver = AsyncSaver()
    gated.error = SaveError("disk full")
    pending = saver.save(STATE, tmp_path / "m")
    with pytest.raises(TimeoutError):
        pending.result(timeout=0)
    gated.gate.set()
    with pytest.raises(SaveError, match="disk full"):
        saver.close()


def test_a_save_that_failed_of_a_time_limit_is_not_one_that_goes_on(
    gated: GatedFormat, tmp_path: Path
) -> None:
    gated.error = TimeoutError("the server does not answer")
    gated.gate.set()
    with AsyncSaver() as saver, pytest.raises(TimeoutError, match="the server does not answer"):
        saver.save(STATE, tmp_path / "m").result()


def test_an_error_in_training_is_not_hidden_by_one_of_a_save(
    gated: GatedFormat, tmp_path: Path
) -> None:
    gated.error = SaveError("disk full")
    gated.gate.set()
    with pytest.raises(ZeroDivisionError), AsyncSaver() as saver:
        saver.save(STATE, tmp_path / "m")
        raise ZeroDivisionError


def test_a_refused_save_gives_its_memory_back(tmp_path: Path) -> None:
    with AsyncSaver(format="safetensors") as saver:
        for _ in range(2):
            with pytest.raises(UnsupportedError, match="meta"):
                saver.save({"w": torch.empty(1, device="meta")}, tmp_path / "m")
        saver.save(STATE, tmp_path / "m")
    assert same(load(tmp_path / "m"), STATE)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"worker": "threads"}, UnknownNameError, "did you mean 'thread'"),
        ({"durability": "never"}, UnknownNameError, "unknown durability"),
        ({"format": "zip"}, UnknownNameError, "unknown format"),
        ({"buffers": 0}, UnsupportedError, "at least 1"),
    ],
)
def test_a_wrong_option_is_one_clear_line(
    options: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        AsyncSaver(**options)  # type: ignore[arg-type]


def test_a_process_writes_the_values_at_the_call_and_reports_its_errors(tmp_path: Path) -> None:
    larger = tensors("stack_3x64KiB")
    with AsyncSaver(worker="process", format="safetensors", durability="fdatasync") as saver:
        state = copy_of(STATE)
        pending = saver.save(state, tmp_path / "m")
        for tensor in state.values():
            tensor.zero_()
        grown = saver.save(larger, tmp_path / "larger")
        assert pending.result().bytes_logical == 5 * 4096
        assert grown.result().total_ns >= grown.blocked_ns
        with pytest.raises(SaveError, match="nowhere"):
            saver.save(STATE, tmp_path / "nowhere" / "m").result()
        again = saver.save(OTHER, tmp_path / "again")
    assert again.done()
    assert same(load(tmp_path / "m"), STATE)
    assert same(load(tmp_path / "larger"), larger)
    assert same(load(tmp_path / "again"), OTHER)


def test_a_killed_writing_process_is_an_error_and_the_old_file_stays(tmp_path: Path) -> None:
    save(OTHER, tmp_path / "m", format="safetensors")
    with AsyncSaver(worker="process", format="safetensors") as saver:
        assert saver._process is not None
        os.kill(saver._process._child._process.pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(SaveError, match=r"the process died \(signal 9\)"):
                saver.save(STATE, tmp_path / "m").result()
    assert same(load(tmp_path / "m"), OTHER)


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_the_peer_saves_the_values_at_the_call_too(tmp_path: Path) -> None:
    state = copy_of(STATE)
    with DcpAsyncSaver() as saver:
        pending = saver.save(state, tmp_path / "m")
        for tensor in state.values():
            tensor.zero_()
        second = saver.save(OTHER, tmp_path / "n")
        assert pending.result().blocked_ns <= pending.result().total_ns
        assert second.result().bytes_physical > second.result().bytes_logical == 5 * 4096
    loaded = {name: torch.empty_like(tensor) for name, tensor in STATE.items()}
    load_checkpoint(loaded, checkpoint_id=tmp_path / "m", no_dist=True)
    assert same(loaded, STATE)


@pytest.mark.filterwarnings("ignore:torch.distributed is")
def test_an_error_of_the_peer_is_a_save_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        DcpAsyncSaver() as saver,
        pytest.raises(SaveError, match=r"file/m: not written by async_save, NotADirectory"),
    ):
        saver.save(STATE, tmp_path / "file" / "m").result()
