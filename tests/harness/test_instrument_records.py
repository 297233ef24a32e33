"""Records: what is written is read back, whatever a crash leaves, and by later versions too."""

from __future__ import annotations

import errno
import json
import math
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import records
from harness.cache import CacheState
from harness.errors import InputError
from harness.record_lines import seal
from harness.records import (
    CellLine,
    LimitsLine,
    Record,
    RunHeader,
    RunWriter,
    read_records,
    read_run,
)

V1 = Path(__file__).parent / "data" / "run_v1.jsonl"

HEADER = RunHeader(
    run_id="id", started_at="2026-01-01T00:00:00.000+00:00", machine_name="m", machine={"cores": 2}
)


def sample(number: int = 0, **fields: Any) -> Record:
    return Record("suite.Case.time_it", {"number": number}, value=0.5 + number, **fields)


def written(path: Path, count: int = 3) -> Path:
    with RunWriter.create(path, HEADER) as writer:
        for number in range(count):
            writer.sample(sample(number))
    return path


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
extras = st.dictionaries(st.text(), json_values, max_size=3)
params = st.dictionaries(
    st.text(min_size=1), st.text() | st.integers() | st.booleans() | st.floats(-1e9, 1e9)
)


@given(
    params, st.dictionaries(st.text(), json_values, max_size=3), st.sampled_from(("ok", "failed"))
)
def test_a_record_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    params: dict[str, Any],
    extra: dict[str, Any],
    status: str,
) -> None:
    path = tmp_path_factory.mktemp("records") / "samples.jsonl"
    record = Record("a.B.time_c", params, status=status, extra=extra, value=1.25)
    records.append_record(path, record)
    assert read_records(path) == (record,)
    assert list(read_records(path)[0].params) == list(params)


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "run.jsonl"
    begin = LimitsLine("begin", {"memcpy": 1e10}, taken_at=records.utc_now())
    of_round = LimitsLine("round", {"memcpy": 9e9}, round=1)
    cell = CellLine("0a1b", "begin", "writes", "model=resnet18", records.utc_now())
    with RunWriter.create(path, HEADER) as writer:
        writer.limits(begin)
        writer.cell(cell)
        writer.sample(sample(1, status="failed", reason="wrong answer: ü"))
        writer.limits(of_round)
    run = read_run(path)
    assert run.header == HEADER
    assert run.limits == (begin, of_round)
    assert run.cells == (cell,)
    assert run.records == (sample(1, status="failed", reason="wrong answer: ü"),)
    assert run.notes == ()


def test_a_line_is_in_the_file_when_the_call_returns(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with RunWriter.create(path, HEADER) as writer:
        for number in range(3):
            writer.sample(sample(number))
            assert len(read_run(path).records) == number + 1


def test_a_run_never_overwrites_another(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl")
    content = path.read_bytes()
    with pytest.raises(InputError, match="exists already"):
        RunWriter.create(path, HEADER)
    assert path.read_bytes() == content


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    whole = written(tmp_path / "whole.jsonl").read_bytes()
    second_last = whole[:-1].rfind(b"\n") + 1
    for cut in range(second_last + 1, len(whole) - 1):
        path = tmp_path / f"{cut}.jsonl"
        path.write_bytes(whole[:cut])
        run = read_run(path)
        assert run.records == (sample(0), sample(1))
        assert run.notes == (f"{path}:4: left out a last line that is not whole",)


def test_a_last_line_without_its_end_is_whole(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl")
    path.write_bytes(path.read_bytes()[:-1])
    assert len(read_run(path).records) == 3


def test_zeros_after_a_power_failure_are_a_torn_line(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl")
    path.write_bytes(path.read_bytes() + bytes(512))
    run = read_run(path)
    assert len(run.records) == 3 and len(run.notes) == 1


def test_a_damaged_line_in_the_middle_names_file_and_line(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:20] + b"\n", *lines[3:]]))
    for use in (read_run, read_records):
        with pytest.raises(InputError, match=r"run\.jsonl:3: not a JSON object"):
            use(path)


def edited(path: Path, number: int, **fields: Any) -> Path:
    """Change fields of one line (from 1); None takes a field away."""
    lines = written(path).read_text().splitlines()
    line = {**json.loads(lines[number - 1]), **fields}
    del line["crc32"]
    kept = {key: value for key, value in line.items() if value is not None}
    lines[number - 1] = seal(kept).decode().rstrip()
    path.write_text("\n".join(lines) + "\n")
    return path


@given(st.data())
def test_a_changed_byte_is_found(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = written(tmp_path_factory.mktemp("records") / "run.jsonl")
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 2).filter(lambda at: content[at] != 10))
    content[position] ^= data.draw(st.sampled_from((1, 2, 4, 16)))
    if content[position] == 10:
        return  # a line more is not a changed byte of a line
    path.write_bytes(content)
    try:
        run = read_run(path)
    except InputError:
        return
    # A line that is no JSON any more may be a last one that a crash tore.
    assert len(run.notes) == 1 and run.records == (sample(0), sample(1))


def test_a_schema_that_never_was_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl")
    path.write_text(path.read_text().replace('"schema": 2', '"schema": 0'))
    with pytest.raises(InputError, match="no schema number"):
        read_run(path)


def test_a_figure_changed_by_hand_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "run.jsonl")
    path.write_text(path.read_text().replace('"value": 1.5', '"value": 0.5'))
    with pytest.raises(
        InputError, match=r"run\.jsonl:3: its checksum differs; the line was changed"
    ):
        read_run(path)


@pytest.mark.parametrize(
    ("number", "fields", "message"),
    [
        (1, {"kind": "sample"}, "does not begin with a run's header"),
        (1, {"machine_name": None}, r":1: a run line lacks fields.*machine_name"),
        (2, {"schema": 99}, r":2: written with schema 99.*reads up to 2; use a newer"),
        (2, {"schema": None}, ":2: no schema number"),
        (3, {"benchmark": None}, r":3: a sample line lacks fields.*benchmark"),
        (3, {"status": "great"}, ":3: status 'great' is not one of ok, failed"),
        (3, {"kind": "run"}, ":3: a second run's header"),
    ],
)
def test_what_cannot_be_read_is_said(
    tmp_path: Path, number: int, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_run(edited(tmp_path / "run.jsonl", number, **fields))


def test_a_full_disk_is_one_line_that_says_what_to_do() -> None:
    writer = RunWriter(Path("/dev/full"), os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(
        InputError, match=r"/dev/full cannot be written: No space left.*run the same"
    ):
        writer.sample(sample())


def test_a_file_that_cannot_be_begun_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(InputError, match="cannot be written: No space left"):
            RunWriter.create(tmp_path / "run.jsonl", HEADER)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file/run\.jsonl cannot be made: "):
        RunWriter.create(tmp_path / "file" / "run.jsonl", HEADER)


def test_a_missing_and_an_empty_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_run(tmp_path / "absent.jsonl")
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(InputError, match="does not begin with a run's header"):
        read_run(tmp_path / "empty.jsonl")


def test_additions_of_a_later_version_are_passed_over(tmp_path: Path) -> None:
    path = edited(tmp_path / "run.jsonl", 3, added="later")
    assert read_run(path).records[1] == sample(1)
    other = edited(tmp_path / "other.jsonl", 3, kind="weather")
    run = read_run(other)
    assert len(run.records) == 2
    assert run.notes == (f"{other}:3: left out a line of unknown kind 'weather'",)


def test_version_1_is_read_for_ever() -> None:
    run = read_run(V1)
    assert run.header.run_id == "20260102T030405Z-0a1b"
    assert run.header.machine["cpu"]["model"] == "Example"
    assert [(line.when, line.round) for line in run.limits] == [("begin", None), ("round", 0)]
    first, second = run.records
    assert list(first.params) == ["format", "model", "cache"]
    assert (first.status, first.value, first.bytes) == ("ok", 0.025, 50_000_000)
    assert first.cache is not None and first.cache["proved"] is True
    assert first.counters == {"read_bytes": 50003968, "minor_faults": 12}
    assert (second.status, second.value) == ("skipped", None)
    assert second.reason == "redis-server is not installed"
    assert run.notes == ()


def test_only_valid_json_is_written(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    extra = {
        "nan": math.nan,
        "infinite": [1.0, -math.inf],
        "numpy": np.float32(0.5),
        "array": np.arange(3),
        "path": Path("a/b"),
        "undecodable": "\udcff",
        "state": CacheState.WARM,
        "pair": (1, 2),
    }
    record = Record("a.B.time_c", {"size": np.int64(4)}, value=math.nan, extra=extra)
    records.append_record(path, record)

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    json.loads(path.read_text(), parse_constant=refuse)
    (found,) = read_records(path)
    assert found.value is None and found.params == {"size": 4}
    assert found.extra == {
        "nan": None,
        "infinite": [1.0, None],
        "numpy": 0.5,
        "array": [0, 1, 2],
        "path": "a/b",
        "undecodable": "\udcff",
        "state": "warm",
        "pair": [1, 2],
    }


def test_many_may_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"

    def work(worker: int) -> None:
        for number in range(50):
            records.append_record(path, sample(number, process=worker, reason="x" * 5000))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = read_records(path)
    assert len(found) == 200
    for worker in range(4):
        mine = [record.params["number"] for record in found if record.process == worker]
        assert mine == list(range(50))


def test_run_ids_are_unique_and_sort_by_time() -> None:
    ids = [records.new_run_id() for _ in range(8)]
    assert len(set(ids)) > 1
    assert [run_id[:16] for run_id in ids] == sorted(run_id[:16] for run_id in ids)
