"""Limits: the probes move the bytes they say, leave nothing behind, and say what they cannot do."""

from __future__ import annotations

import errno
import itertools
import json
import mmap
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from instrument_plans import TINY, require_direct_io, use_tiny_plans

from harness import limits
from harness.errors import InputError, RefusedError
from harness.limits import Limits, aio, buffers, device, disk, limit_probe, memory
from harness.limits.crew import together
from harness.limits.model import credited
from harness.limits.scratch import MIB, Point, ScratchFile, move

BLOCK = 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    require_direct_io(tmp_path)
    return tmp_path


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tiny_plans(monkeypatch)


def stamped(folder: Path, blocks: int) -> ScratchFile:
    """Return a scratch file whose 4 KiB blocks hold their own number, everywhere."""
    file = ScratchFile(folder, 8 * MIB)
    content = np.repeat(np.arange(blocks, dtype=np.uint64), BLOCK // 8)
    view = buffers.fresh(content.nbytes, buffers.Fresh.PLAIN)
    np.frombuffer(view, dtype=np.uint64)[:] = content
    assert os.pwrite(file.descriptor, view, 0) == content.nbytes
    return file


# Memory.


def test_touched_memory_is_aligned_random_and_seeded() -> None:
    view = buffers.touched(MIB + 8)
    assert buffers.address(view) % mmap.PAGESIZE == 0
    assert len(zlib.compress(view, 1)) > 0.99 * len(view)
    assert bytes(view[:64]) != bytes(view[64:128])
    assert buffers.touched(MIB + 8) == view != buffers.touched(MIB + 8, seed=1)


@pytest.mark.parametrize("way", list(buffers.Fresh))
def test_fresh_memory_can_be_populated_and_written(way: buffers.Fresh) -> None:
    view = buffers.fresh(4 * MIB, way)
    assert buffers.address(view) % mmap.PAGESIZE == 0
    buffers.populate(view[MIB : 2 * MIB])
    assert not any(view)
    view[-1] = 1
    assert view[-1] == 1


def test_every_way_of_copying_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = buffers.touched(2 * MIB, seed=1), buffers.touched(2 * MIB, seed=2)
    assert float(memory.memcpy(target, source, threads=2)["value"]) > 0
    assert target == source
    kept: list[memoryview] = []
    fresh = buffers.fresh

    def keep(size: int, way: buffers.Fresh) -> memoryview:
        kept.append(fresh(size, way))
        return kept[-1]

    monkeypatch.setattr(buffers, "fresh", keep)
    for way in buffers.Fresh:
        memory.memcpy_into_fresh(source, way)
    assert len(kept) == len(buffers.Fresh) and all(view == source for view in kept)


# Threads.


def test_a_crew_adds_up_what_its_threads_did() -> None:
    effort = together(8, lambda index: index)
    assert effort.amount == 28 and effort.seconds > 0
    assert effort.rate == effort.amount / effort.seconds


@pytest.mark.parametrize("size", [1, 4])
def test_the_error_of_a_thread_is_the_crews(size: int) -> None:
    def work(index: int) -> int:
        if index == size - 1:
            raise OSError(errno.EIO, "broken disk")
        return 1

    with pytest.raises(OSError, match="broken disk"):
        together(size, work)


# Disk.


@pytest.mark.parametrize("depth", [1, 4])
def test_each_offset_is_moved_once(folder: Path, depth: int) -> None:
    file = ScratchFile(folder, 4 * MIB)
    arena = buffers.touched(depth * MIB, seed=5)
    effort = move(os.pwritev, file.descriptor, arena, Point(MIB, depth), iter(range(0, MIB, MIB)))
    assert effort.amount == MIB
    found = buffers.touched(4 * MIB)
    assert os.preadv(file.descriptor, [found], 0) == 4 * MIB
    assert any(found[:MIB] == arena[at * MIB : (at + 1) * MIB] for at in range(depth))
    effort = move(
        os.preadv, file.descriptor, arena, Point(MIB, depth), iter(range(0, 4 * MIB, MIB))
    )
    assert effort.amount == 4 * MIB
    file.close()


def test_a_scratch_file_is_whole_random_and_has_no_name(folder: Path) -> None:
    file = ScratchFile(folder, 4 * MIB)
    assert list(folder.iterdir()) == []
    assert file.path.stat().st_size == 4 * MIB
    assert file.path.stat().st_blocks * 512 >= 4 * MIB
    assert len(zlib.compress(file.path.read_bytes(), 1)) > 0.99 * 4 * MIB
    file.close()


def test_asynchronous_reads_read_what_was_asked(folder: Path) -> None:
    file = stamped(folder, 64)
    arena = buffers.touched(8 * BLOCK)
    seen: list[int] = []
    offsets = itertools.cycle(range(0, 64 * BLOCK, BLOCK))

    def remember() -> Any:
        for offset in offsets:
            seen.append(offset)
            yield offset

    try:
        effort = aio.read_blocks(file.descriptor, arena, BLOCK, 8, remember(), 0.02)
    except OSError as error:
        pytest.skip(f"no asynchronous I/O here: {error}")
    finally:
        file.close()
    assert effort.amount == len(seen) - 8
    words = np.frombuffer(arena, dtype=np.uint64).reshape(8, -1)
    assert (words == words[:, :1]).all()
    assert {int(word) * BLOCK for word in words[:, 0]} <= set(seen)
    # The reads that were still in flight at the end landed in the arena as well.
    assert len({int(word) for word in words[:, 0]}) == 8


def test_an_asynchronous_read_that_fails_is_an_error(folder: Path) -> None:
    file = ScratchFile(folder, MIB)
    arena = buffers.touched(2 * BLOCK)
    with pytest.raises(OSError):
        aio.read_blocks(file.descriptor, arena, BLOCK, 2, itertools.repeat(100), 0.01)
    file.close()


def test_random_reads_fall_back_to_threads(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ScratchFile(folder, MIB)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "filtered")

    monkeypatch.setattr(aio, "read_blocks", refuse)
    reading = disk.random_read(file, 4, 0.01, seed=0)
    file.close()
    assert reading["engine"] == "threads" and float(reading["value"]) > 0


def test_every_reading_of_the_disk_says_how_it_was_taken(folder: Path) -> None:
    file = ScratchFile(folder, 4 * MIB)
    point, arena = Point(MIB, 2), buffers.touched(2 * MIB)
    readings = [
        disk.sequential_read(file, arena, point, 0.01),
        disk.sequential_write(file, arena, point, 0.01),
        disk.write_new(folder, arena, point, 4 * MIB),
        *(disk.read_into_fresh(file, way, point, 4 * MIB) for way in buffers.Fresh),
    ]
    for reading in readings:
        assert (reading["block"], reading["depth"]) == (MIB, 2)
        assert float(reading["value"]) > 0
    assert float(disk.buffered_write(folder, 4 * MIB)["value"]) > 0
    assert [float(item["value"]) > 0 for item in disk.fsync_appends(folder, 3)] == [True] * 3
    file.close()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "use",
    [
        lambda folder: ScratchFile(folder, MIB),
        lambda folder: disk.write_new(folder, buffers.touched(MIB), Point(MIB, 1), MIB),
    ],
)
def test_a_full_disk_is_one_clear_line_and_nothing_stays(
    folder: Path, monkeypatch: pytest.MonkeyPatch, use: Callable[[Path], object]
) -> None:
    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"no space left in .* scratch file of 1 MiB; free some"):
        use(folder)
    assert list(folder.iterdir()) == []
    assert len(os.listdir("/proc/self/fd")) == descriptors  # noqa: PTH208


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    with pytest.raises(InputError, match=r"cannot write to .*absent: No such file"):
        ScratchFile(folder / "absent", MIB)


# The whole probe.


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise RefusedError("no device in this test")

    monkeypatch.setattr(device, "require_cuda", refuse)


ON_DEVICE = {name for name in limits.NAMES if name.startswith(("h2d", "d2h", "device"))}


@pytest.mark.usefixtures("tiny", "no_cuda")
def test_a_probe_knows_every_limit_or_why_not(folder: Path) -> None:
    steps: list[str] = []
    found = limits.probe(folder, quick=True, on_step=steps.append)
    assert tuple(steps) == limits.NAMES
    for name in limits.NAMES:
        value, readings = getattr(found, name), found.readings.get(name, ())
        if name in ON_DEVICE:
            assert value is None and "no device in this test" in found.notes[name]
        else:
            assert value > 0 and value in [reading["value"] for reading in readings]
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("tiny", "no_cuda")
def test_a_refresh_takes_the_bandwidths_where_they_were_best(folder: Path) -> None:
    with limits.LimitProbe(folder) as prober:
        begin = prober.probe()
        # As a full probe would have left it: a point that this one's arena never had.
        large = {"value": 1e15, "block": 2 * MIB, "depth": 3}
        wider = {**begin.readings, "sequential_read": (large,)}
        again = prober.refresh(Limits.from_readings(wider, {}))
        assert list(folder.iterdir()) == []
    known = {name for name in limits.NAMES if getattr(again, name) is not None}
    assert known == set(limits.REFRESHED)
    (reading,) = again.readings["sequential_read"]
    assert (reading["block"], reading["depth"]) == (2 * MIB, 3)
    fresh = limits.best_reading(begin, "read_into_fresh")
    assert fresh is not None and again.readings["read_into_fresh"][0]["way"] == fresh["way"]


@pytest.mark.usefixtures("tiny")
def test_a_refresh_leaves_out_what_was_never_probed(folder: Path) -> None:
    assert limits.refresh(folder, Limits()).as_dict() == {"readings": {}, "notes": {}}


@pytest.mark.usefixtures("tiny", "no_cuda")
def test_without_direct_io_the_other_limits_are_probed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "O_DIRECT", raising=False)
    found = limits.probe(tmp_path, quick=True)
    assert found.sequential_read is None and "O_DIRECT" in found.notes["sequential_read"]
    assert found.buffered_write and found.memcpy and found.matmul_flops


@pytest.mark.usefixtures("tiny", "no_cuda")
def test_a_file_system_in_memory_is_noted() -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or not os.access(shm, os.W_OK):
        pytest.skip(f"{shm} is not there")
    found = limits.probe(shm, quick=True)
    assert "tmpfs" in found.notes["disk"]


@pytest.mark.gpu
def test_copies_between_host_and_device_are_probed() -> None:
    try:
        device.require_cuda()
    except RefusedError as error:
        pytest.skip(str(error))
    for pinned in (True, False):
        for direction in ("h2d", "d2h"):
            readings = device.copies(direction, pinned=pinned, repeats=2)  # type: ignore[arg-type]
            assert len(readings) == 2 and all(float(item["value"]) > 1e8 for item in readings)
    assert float(memory.matmul_flops(1024, "cuda")["value"]) > 1e9


# Limits as data.


def test_the_best_of_two_probes_keeps_the_readings_of_both() -> None:
    first = Limits.from_readings(
        {"memcpy": ({"value": 10.0},), "fsync_seconds": ({"value": 2.0}, {"value": 3.0})},
        {"a": "b"},
    )
    second = Limits.from_readings(
        {"memcpy": ({"value": 12.0},), "fsync_seconds": ({"value": 4.0},)}, {}
    )
    both = limits.best(first, second)
    assert (both.memcpy, both.fsync_seconds, both.h2d_pinned) == (12.0, 2.0, None)
    assert both.readings["memcpy"] == ({"value": 10.0}, {"value": 12.0})
    assert both.notes == {"a": "b"}
    assert limits.best(both, Limits()) == both


def test_drift_is_relative_and_marks_in_both_directions() -> None:
    first = Limits(memcpy=10.0, sequential_read=10.0, fsync_seconds=1.0, matmul_flops=5.0)
    second = Limits(memcpy=8.5, sequential_read=7.0, fsync_seconds=1.5)
    assert limits.drift(first, second) == pytest.approx(
        {"memcpy": -0.15, "sequential_read": -0.3, "fsync_seconds": 0.5}
    )
    assert limits.drifted(first, second).keys() == {"sequential_read", "fsync_seconds"}


def test_what_was_done_under_harder_terms_counts_for_the_easier_limit() -> None:
    easy, hard = {"value": 2.0, "block": 1}, {"value": 3.0, "block": 2, "way": "huge"}
    readings = credited({"sequential_read": (easy,), "read_into_fresh": (hard, easy)})
    found = Limits.from_readings(readings, {})
    assert found.sequential_read == 3.0
    assert readings["sequential_read"] == (easy, {**hard, "from": "read_into_fresh"})
    unchanged = {"sequential_read": (hard,), "read_into_fresh": (easy,)}
    assert credited(unchanged) == unchanged
    assert credited({"read_into_fresh": (hard,)}) == {"read_into_fresh": (hard,)}


def test_the_time_at_a_limit() -> None:
    found = Limits(sequential_read=2e9, fsync_seconds=1e-4)
    assert found.seconds("sequential_read", 1e9) == 0.5
    assert found.seconds("fsync_seconds", 3) == pytest.approx(3e-4)
    assert found.seconds("h2d_pinned", 1e9) is None


@given(st.dictionaries(st.sampled_from(limits.NAMES), st.floats(1e-9, 1e12)))
def test_limits_survive_json(values: dict[str, float]) -> None:
    readings: Any = {name: ({"value": value, "way": "huge"},) for name, value in values.items()}
    found = Limits.from_readings(readings, {"disk": "a note"})
    content = json.loads(json.dumps({**found.as_dict(), "of a later version": 1}))
    assert Limits.from_dict(content) == found


def test_every_limit_says_what_it_is() -> None:
    for name in limits.NAMES:
        assert limits.unit(name) in ("B/s", "IOPS", "s", "FLOP/s")
        assert limits.meaning(name)
    assert {name for name in limits.NAMES if limits.unit(name) == "s"} == {"fsync_seconds"}


def test_limits_are_loaded_as_they_were_saved(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "limits.json"
    found = Limits.from_readings({"memcpy": ({"value": 1e10, "threads": 1},)}, {"disk": "note"})
    limits.save(path, found, machine={"name": "m"})
    assert limits.load(path) == found
    assert json.loads(path.read_text())["machine"] == {"name": "m"}
    assert [item.name for item in path.parent.iterdir()] == ["limits.json"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read: No such file"),
        ("{", "is not JSON"),
        ("[]", "holds no limits"),
        ('{"schema": 1}', "holds no limits"),
        ('{"schema": 7, "limits": {}}', "written with schema 7"),
    ],
)
def test_files_without_limits_are_refused(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "limits.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        limits.load(path)


def test_the_grid_is_the_one_that_was_promised() -> None:
    blocks, depths = {1, 4, 8, 16}, {1, 4, 8, 16, 32}
    promised = {(block * MIB, depth) for block in blocks for depth in depths}
    assert {(point.block, point.depth) for point in disk.FULL_GRID} == promised
    assert set(disk.QUICK_GRID) <= set(disk.FULL_GRID)
    for plan in (limit_probe.QUICK, limit_probe.FULL, TINY):
        assert all(plan.file_bytes % point.block == 0 for point in plan.grid)
