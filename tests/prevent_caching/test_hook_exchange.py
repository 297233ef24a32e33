"""The files of the exchange: whole, bounded, never followed through links, and what is garbage."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prevent_caching import exchange
from prevent_caching.exchange import (
    MAX_BYTES,
    Answer,
    GarbageError,
    Heartbeat,
    Request,
    is_leftover,
    read_record,
    request_identity,
    request_name,
    write_record,
)

IDENTITY = "0123456789abcdef" * 2
REQUEST = Request(IDENTITY, 17, "host")

texts = st.text(max_size=50)
finite = st.floats(allow_nan=False, allow_infinity=False)
records = st.one_of(
    st.builds(Request, texts, st.integers(), texts),
    st.builds(Answer, texts, texts, texts, finite, st.integers(), texts),
    st.builds(Heartbeat, texts, st.integers(), texts, st.integers(), texts, st.integers()),
)


@given(record=records)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, record: Request | Answer | Heartbeat
) -> None:
    folder = os.open(tmp_path_factory.getbasetemp(), os.O_RDONLY)
    try:
        modified = write_record(folder, "record", record)
        assert read_record(folder, "record", type(record)) == (record, modified)
    finally:
        os.close(folder)


@given(payload=st.one_of(st.binary(), st.just(b"[" * MAX_BYTES), st.from_regex(rb"\{.*\}")))
def test_any_other_bytes_are_garbage(
    tmp_path_factory: pytest.TempPathFactory, payload: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "bytes").write_bytes(payload)
    opened = os.open(folder, os.O_RDONLY)
    try:
        with pytest.raises(GarbageError):
            read_record(opened, "bytes", Request)
    finally:
        os.close(opened)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 2}, "protocol version 1"),
        ({"pid": "17"}, "no int 'pid'"),
        ({"pid": True}, "no int 'pid'"),
        ({"pid": 1.5}, "no int 'pid'"),
        ({"hostname": None}, "no str 'hostname'"),
        ({"hostname": "x" * MAX_BYTES}, "larger than 4096 bytes"),
    ],
)
def test_a_record_that_is_wrong_in_one_point(
    directory: Path, descriptor: int, change: dict[str, object], complaint: str
) -> None:
    write_record(descriptor, "record", REQUEST)
    values = json.loads((directory / "record").read_text())
    (directory / "record").write_text(json.dumps({**values, **change}))
    with pytest.raises(GarbageError, match=complaint):
        read_record(descriptor, "record", Request)


def test_a_number_may_be_whole_but_no_text(directory: Path, descriptor: int) -> None:
    write_record(descriptor, "record", Answer(IDENTITY, "ok", "", 2, 3, ""))
    assert read_record(descriptor, "record", Answer)[0].seconds == 2
    values = json.loads((directory / "record").read_text())
    (directory / "record").write_text(json.dumps({**values, "seconds": "2"}))
    with pytest.raises(GarbageError, match="no float 'seconds'"):
        read_record(descriptor, "record", Answer)


def test_a_link_is_not_followed_when_reading(directory: Path, descriptor: int) -> None:
    write_record(descriptor, "target", REQUEST)
    (directory / "link").symlink_to("target")
    with pytest.raises(GarbageError, match="plain file"):
        read_record(descriptor, "link", Request)


def test_a_link_is_replaced_and_its_target_untouched_when_writing(
    directory: Path, descriptor: int, tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (directory / "record").symlink_to(victim)
    write_record(descriptor, "record", REQUEST)
    assert victim.read_text() == "precious"
    assert not (directory / "record").is_symlink()


def test_a_fifo_and_a_directory_neither_stop_nor_fool_the_reader(
    directory: Path, descriptor: int
) -> None:
    os.mkfifo(directory / "fifo")
    (directory / "folder").mkdir()
    for name in ("fifo", "folder"):
        with pytest.raises(GarbageError, match="not a regular file"):
            read_record(descriptor, name, Request)


def test_a_failed_write_leaves_nothing(directory: Path, descriptor: int) -> None:
    (directory / "taken").mkdir()
    with pytest.raises(OSError):
        write_record(descriptor, "taken", REQUEST)
    assert list(directory.iterdir()) == [directory / "taken"]


def test_records_are_readable_by_others_whatever_the_umask(
    directory: Path, descriptor: int
) -> None:
    before = os.umask(0o077)
    try:
        write_record(descriptor, "record", REQUEST)
    finally:
        os.umask(before)
    assert (directory / "record").stat().st_mode & 0o777 == 0o644


def test_names_are_told_apart(
    directory: Path, descriptor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert request_identity(request_name(IDENTITY)) == IDENTITY
    for name in ("request-../../etc/passwd.json", f"request-{IDENTITY}.json.tmp", "request-.json"):
        assert request_identity(name) is None
    assert is_leftover(exchange.answer_name(IDENTITY))
    assert not is_leftover(request_name(IDENTITY))
    assert not is_leftover(exchange.HEARTBEAT)

    # The temporary file as a process killed before the rename leaves it.
    monkeypatch.setattr(os, "rename", lambda *_, **__: None)
    write_record(descriptor, request_name(IDENTITY), REQUEST)
    write_record(descriptor, exchange.HEARTBEAT, REQUEST)
    left = [file.name for file in directory.iterdir()]
    assert len(left) == 2
    assert all(map(is_leftover, left))
