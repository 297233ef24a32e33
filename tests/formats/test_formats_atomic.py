"""Files and folders appear whole or not at all, and dead writers' temporaries go."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_core.errors import SaveError, UnsupportedError
from bench_core.formats import Durability, WriteResult, atomic

HOST = socket.gethostname()


def put(
    path: Path,
    content: bytes = b"new",
    durability: Durability = Durability.FSYNC_DIR,
) -> WriteResult:
    return atomic.write_atomically(
        path, durability, lambda temporary: _ignore(temporary.write_bytes(content)), bytes_logical=1
    )


def put_folder(path: Path, content: str = "new", marker: str = "marker") -> WriteResult:
    def write(temporary: Path) -> None:
        (temporary / "sub").mkdir(parents=True)
        (temporary / marker).write_text(content)
        (temporary / "sub" / "data").write_text(content)

    return atomic.write_atomically(
        path, Durability.FSYNC_DIR, write, bytes_logical=1, marker=marker
    )


def _ignore(_: object) -> None:
    return None


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


@pytest.mark.parametrize("durability", Durability)
def test_a_file_appears(tmp_path: Path, durability: Durability) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")
    result = put(path, b"newer", durability)
    assert path.read_bytes() == b"newer"
    assert names(tmp_path) == ["model"]
    assert (result.bytes_logical, result.bytes_physical) == (1, 5)
    assert 0 < result.return_ns <= result.durable_ns


def test_nothing_is_at_the_path_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "model"

    def write(temporary: Path) -> None:
        assert temporary.parent == path.parent
        assert not temporary.exists()
        assert not path.exists()
        temporary.write_bytes(b"new")

    atomic.write_atomically(path, Durability.RETURN, write, bytes_logical=3)
    assert path.read_bytes() == b"new"


class LibraryError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "raised", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), SaveError, "free space"),
        (OSError(errno.EROFS, "Read-only file system"), SaveError, "write elsewhere"),
        (OSError("odd"), SaveError, "not written, odd"),
        (LibraryError("line 1\nline 2"), SaveError, r"line 1 line 2 \(\d+ bytes are free"),
        (SaveError("known already"), SaveError, "^known already$"),
        (UnsupportedError("no such type"), UnsupportedError, "no such type"),
        (ZeroDivisionError("a bug"), ZeroDivisionError, "a bug"),
        (KeyboardInterrupt("stop"), KeyboardInterrupt, "stop"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_a_failed_write_leaves_the_old_one(
    tmp_path: Path, error: BaseException, raised: type[BaseException], text: str, folder: bool
) -> None:
    path = tmp_path / "model"
    path.write_bytes(b"old")

    def write(temporary: Path) -> None:
        if folder:
            temporary.mkdir()
            (temporary / "part").write_bytes(b"half")
        else:
            temporary.write_bytes(b"half")
        raise error

    with pytest.raises(raised, match=text) as caught:
        atomic.write_atomically(
            path,
            Durability.FSYNC,
            write,
            bytes_logical=1,
            library_errors=(LibraryError, RuntimeError),
        )
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["model"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")
@pytest.mark.parametrize("save", [put, put_folder])
@pytest.mark.parametrize("is_renamed", [False, True])
def test_a_sync_that_fails_tells_which_one_is_there(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    save: Callable[[Path], WriteResult],
    is_renamed: bool,
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    save(home / "model")
    before = (home / "model").stat().st_ino
    real = os.fsync

    def fail(descriptor: int) -> None:
        if (Path(f"/proc/self/fd/{descriptor}").readlink() == home) is is_renamed:
            raise OSError(errno.EIO, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    said = "written, not known to be durable" if is_renamed else "not written"
    with pytest.raises(SaveError, match=f"home/model: {said}, Input/output error; the device"):
        save(home / "model")
    assert ((home / "model").stat().st_ino != before) is is_renamed
    assert names(home) == ["model"]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match=r"there is no such folder; create the folder first"):
        put(tmp_path / "missing" / "model")


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="choose a shorter file name"):
        put(tmp_path / ("x" * 250))


def test_a_symbolic_link_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"old")
    (tmp_path / "link").symlink_to("kept")
    put(tmp_path / "link")
    assert (tmp_path / "kept").read_bytes() == b"old"
    assert not (tmp_path / "link").is_symlink()


def recorded(monkeypatch: pytest.MonkeyPatch, calls: list[str]) -> None:
    """Write down the calls that make a file durable and visible, in their order."""

    def on_descriptor(name: str, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            target = Path(f"/proc/self/fd/{descriptor}").readlink().name
            calls.append(f"{name} {'temporary' if target.endswith('.tmp') else target}")
            real(descriptor)

        return call

    def note(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            calls.append(name)
            return real(*args)

        return call

    monkeypatch.setattr(os, "fsync", on_descriptor("fsync", os.fsync))
    monkeypatch.setattr(os, "fdatasync", on_descriptor("fdatasync", os.fdatasync))
    monkeypatch.setattr(os, "sync", note("sync", lambda: None))
    monkeypatch.setattr(os, "replace", note("rename", os.replace))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")
@pytest.mark.parametrize(
    ("durability", "expected"),
    [
        (Durability.RETURN, ["rename"]),
        (Durability.FDATASYNC, ["fdatasync temporary", "rename"]),
        (Durability.FSYNC, ["fsync temporary", "rename"]),
        (Durability.FSYNC_DIR, ["fsync temporary", "rename", "fsync home"]),
        (Durability.GLOBAL_SYNC, ["fsync temporary", "rename", "sync"]),
    ],
)
def test_order_of_the_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durability: Durability, expected: list[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    calls: list[str] = []
    recorded(monkeypatch, calls)
    put(home / "model", durability=durability)
    assert calls == expected


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/fd")
def test_every_file_of_a_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    home.mkdir()
    calls: list[str] = []
    recorded(monkeypatch, calls)
    put_folder(home / "model")
    before, after = calls[: calls.index("rename")], calls[calls.index("rename") + 1 :]
    assert sorted(before) == ["fsync data", "fsync marker", "fsync sub", "fsync temporary"]
    assert after == ["fsync home"]


def test_a_folder_is_exchanged(tmp_path: Path) -> None:
    path = tmp_path / "model"
    put_folder(path, "old")
    (path / "more").write_text("old")
    result = put_folder(path, "new")
    assert names(path) == ["marker", "sub"]
    assert (path / "sub" / "data").read_text() == "new"
    assert names(tmp_path) == ["model"]
    assert result.bytes_physical == 6


def test_an_empty_folder_and_a_link_to_a_folder_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    put_folder(tmp_path / "model")
    (tmp_path / "link").symlink_to("model")
    put_folder(tmp_path / "link", "newer")
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "model" / "marker").read_text() == "new"
    assert (tmp_path / "link" / "marker").read_text() == "newer"
    assert names(tmp_path) == ["link", "model"]


def test_a_folder_of_something_else_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "home"
    path.mkdir()
    (path / "thesis.tex").write_text("mine")
    for save in (put, put_folder):
        with pytest.raises(SaveError, match="choose another name"):
            save(path)
    assert names(path) == ["thesis.tex"]
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(SaveError, match="a file of this name exists"):
        put_folder(tmp_path / "file")
    assert names(tmp_path) == ["file", "home"]


def test_folders_that_cannot_be_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_folder(tmp_path / "model", "old")
    monkeypatch.setattr(atomic.ctypes, "CDLL", lambda *_, **__: object())
    with pytest.raises(UnsupportedError, match="cannot exchange folders; remove the old one"):
        put_folder(tmp_path / "model", "new")
    assert (tmp_path / "model" / "marker").read_text() == "old"
    assert names(tmp_path) == ["model"]


def dead_process() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def temporary_of(name: str, pid: int, host: str = HOST, start: str = "1") -> str:
    return f".{name}.{host}.{pid}.{start}-abcd1234.tmp"


def test_temporaries_of_dead_writers_go(tmp_path: Path) -> None:
    dead = dead_process()
    (tmp_path / temporary_of("model", dead)).write_bytes(b"half")
    scratch = tmp_path / f"{temporary_of('model', dead)}.d"
    scratch.mkdir()
    (scratch / "part").write_bytes(b"half")
    put(tmp_path / "model")
    assert names(tmp_path) == ["model"]


def test_the_process_id_of_a_dead_writer_may_be_in_use_again(tmp_path: Path) -> None:
    (tmp_path / temporary_of("model", os.getpid(), start="1")).write_bytes(b"half")
    put(tmp_path / "model")
    assert names(tmp_path) == ["model"]


def test_a_writer_that_nobody_waited_for_is_dead() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin and process.stdout
    process.stdout.readline()
    _, start = atomic._process_state(process.pid)
    mark = f"{HOST}.{process.pid}.{start:x}-ab"
    assert not atomic.is_dead(mark)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert atomic.is_dead(mark)
    process.communicate()


def test_what_others_write_is_kept(tmp_path: Path) -> None:
    dead = dead_process()
    kept = [
        atomic.temporary_beside(tmp_path / "model").name,
        temporary_of("model", dead, host="elsewhere"),
        temporary_of("model.more", dead),
        temporary_of("mode", dead),
        ".model.tmp",
        ".model.notes.tmp",
        f".model.{HOST}.{10**30}.x.tmp",
    ]
    for name in kept:
        (tmp_path / name).write_bytes(b"")
    put(tmp_path / "model")
    assert names(tmp_path) == sorted([*kept, "model"])


def test_a_scratch_folder_goes_with_its_block(tmp_path: Path) -> None:
    temporary = atomic.temporary_beside(tmp_path / "model")
    with pytest.raises(ZeroDivisionError), atomic.scratch_folder(temporary) as folder:
        (folder / "part").write_bytes(b"half")
        raise ZeroDivisionError
    assert names(tmp_path) == []
