"""Writing with something in the way: full disks, refusals, short writes, interrupts, threads."""

from __future__ import annotations

import errno
import os
import resource
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from bench_core.errors import SaveError
from bench_core.formats import Durability
from bench_core.formats.direct import Direct, alignment, raw_io, writer
from bench_core.formats.direct.arena import CHUNK_BYTES, CHUNKS, current
from bench_core.formats.dtypes import on_host

TENSORS = {
    "large": torch.arange(5 * (1 << 20) // 4, dtype=torch.int32).view(-1, 256),
    "odd": torch.arange(1000, dtype=torch.uint8).view(8, 125),
}


def assert_written(path: Path) -> None:
    loaded = load_file(path)
    assert set(loaded) == set(TENSORS)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A file that a failed write must leave as it is, and alone."""
    path = tmp_path / "model.safetensors"
    Direct().write({"old": torch.ones(3)}, path)
    return path


def assert_untouched(path: Path) -> None:
    assert torch.equal(load_file(path)["old"], torch.ones(3))
    assert list(path.parent.iterdir()) == [path]
    assert current().idle == CHUNKS, "a chunk was not returned"


def failing(code: int, after: int = 0) -> Callable[..., int]:
    """Return a stand-in for a system call that fails from its call number ``after`` on."""
    calls = iter(range(1000))
    pwrite = raw_io.pwrite

    def call(*arguments: int) -> int:
        if next(calls) >= after:
            raise OSError(code, os.strerror(code))
        return pwrite(*arguments)

    return call


def test_a_full_disk_shows_before_the_first_byte(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.ENOSPC))
    monkeypatch.setattr(raw_io, "pwrite", lambda *_: pytest.fail("written to a full disk"))
    with pytest.raises(SaveError, match="No space left on device; free space"):
        Direct().write(TENSORS, old)
    assert_untouched(old)


@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_an_error_in_any_chunk_leaves_the_old_file(
    old: Path, monkeypatch: pytest.MonkeyPatch, after: int, code: int
) -> None:
    monkeypatch.setattr(raw_io, "pwrite", failing(code, after))
    with pytest.raises(SaveError, match=os.strerror(code)):
        Direct().write(TENSORS, old)
    assert_untouched(old)


def test_the_limit_on_file_sizes_is_a_full_disk_too(old: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, limits[1]))
    try:
        with pytest.raises(SaveError, match="File too large; the file system or `ulimit -f`"):
            Direct().write(TENSORS, old)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert_untouched(old)


@pytest.mark.parametrize("where", ["copy", "pwrite"])
def test_an_interrupt_leaves_the_old_file(
    old: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def interrupt(*_: int) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(raw_io, where, interrupt)
    with pytest.raises(KeyboardInterrupt):
        Direct().write(TENSORS, old)
    assert_untouched(old)


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = raw_io.pwrite
    monkeypatch.setattr(
        raw_io, "pwrite", lambda fd, a, n, o: pwrite(fd, a, max(min(n, 4096), n // 3), o)
    )
    path = tmp_path / "model.safetensors"
    Direct().write(TENSORS, path)
    assert_written(path)


def test_without_direct_io_the_bytes_are_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct, buffered = tmp_path / "direct.safetensors", tmp_path / "buffered.safetensors"
    Direct().write(TENSORS, direct)
    monkeypatch.delattr(os, "O_DIRECT")
    Direct().write(TENSORS, buffered)
    assert direct.read_bytes() == buffered.read_bytes()
    assert_written(buffered)


def test_without_fallocate_it_is_written_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", failing(errno.EOPNOTSUPP))
    Direct().write(TENSORS, tmp_path / "refused.safetensors")
    assert_written(tmp_path / "refused.safetensors")
    monkeypatch.delattr(os, "posix_fallocate")
    Direct().write(TENSORS, tmp_path / "absent.safetensors")
    assert_written(tmp_path / "absent.safetensors")


def test_a_file_system_that_refuses_direct_writes_gets_buffered_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = raw_io.pwrite
    flag = os.O_DIRECT
    refused = []

    def picky(descriptor: int, address: int, nbytes: int, offset: int) -> int:
        if alignment.fcntl.fcntl(descriptor, alignment.fcntl.F_GETFL) & flag:
            refused.append(offset)
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return pwrite(descriptor, address, nbytes, offset)

    monkeypatch.setattr(raw_io, "pwrite", picky)
    path = tmp_path / "model.safetensors"
    Direct().write(TENSORS, path)
    assert refused
    assert_written(path)


def test_aligned_memory_is_written_without_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of whole chunks; the first one, with the header, and the last one are put together."""
    path = tmp_path / "model.safetensors"
    pages = 4 * CHUNK_BYTES // 4096
    around = torch.zeros((pages + 1) * 4096, dtype=torch.uint8)
    start = -around.data_ptr() % 4096
    tensor = around[start : start + pages * 4096]
    tensor.random_(generator=torch.Generator().manual_seed(0))
    copied: list[int] = []
    copy = raw_io.copy
    monkeypatch.setattr(raw_io, "copy", lambda d, s, n: (copied.append(n), copy(d, s, n)))
    Direct().write({"t": tensor}, path)
    assert sum(copied) <= 2 * CHUNK_BYTES
    assert torch.equal(load_file(path)["t"], tensor)


def test_tensors_elsewhere_come_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of tensors that need a copy on the host only those in flight are held."""
    lock, alive, most = threading.Lock(), [0], [0]

    class Counted(torch.Tensor):
        def __del__(self) -> None:
            with lock:
                alive[0] -= 1

    def counting(tensor: torch.Tensor) -> torch.Tensor:
        copy = on_host(tensor)
        if copy.data_ptr() == tensor.data_ptr():
            return copy
        with lock:
            alive[0] += 1
            most[0] = max(most[0], alive[0])
        return copy.as_subclass(Counted)

    monkeypatch.setattr(writer, "on_host", counting)
    rows = 2 * CHUNK_BYTES // 1024
    tensors = {f"t{i}": torch.full((256, rows), i, dtype=torch.int32).t() for i in range(24)}
    path = tmp_path / "model.safetensors"
    Direct().write(tensors, path, Durability.RETURN)
    assert 0 < most[0] <= CHUNKS + 1
    assert alive[0] == 0
    loaded = load_file(path)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_several_threads_write_at_once(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def write(i: int) -> None:
        try:
            Direct().write(TENSORS, tmp_path / f"{i % 3}.safetensors", Durability.RETURN)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{i}.safetensors" for i in range(3)
    ]
    for i in range(3):
        assert_written(tmp_path / f"{i}.safetensors")
