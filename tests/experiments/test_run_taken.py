"""What has been taken: read as the files grow, each line once, and never half a line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_cells import cell, mark, sample

from harness.errors import InputError
from harness.experiments.taken import Line, Taken
from harness.record_lines import encode
from harness.records import CellLine, LimitsLine, RunHeader

CELL = cell("x", "y")
OTHER = cell("x", "y", size=2)
HEADER = encode("run", RunHeader("id", "", "machine", {}))
LIMITS = encode("limits", LimitsLine("begin", {}))


def encoded(line: Line) -> bytes:
    return encode("cell" if isinstance(line, CellLine) else "sample", line)


def test_each_line_is_returned_once_as_the_files_grow(tmp_path: Path) -> None:
    path, taken = tmp_path / "a.jsonl", Taken(tmp_path)
    assert taken.update() == []
    lines = [mark(CELL, "begin"), *(sample(CELL, turn) for turn in CELL.turns), mark(CELL, "end")]
    path.write_bytes(HEADER + LIMITS)
    assert taken.update() == []
    for line in lines:
        with path.open("ab") as file:
            file.write(encoded(line))
        assert taken.update() == [line]
    assert taken.update() == []
    assert taken.of(CELL.id) == lines[1:-1]
    assert Taken(tmp_path).update() == lines


def test_samples_of_all_files_are_known_by_their_cells(tmp_path: Path) -> None:
    first, second, third = (sample(CELL, turn) for turn in CELL.turns[:3])
    other = sample(OTHER, OTHER.turns[0])
    (tmp_path / "b.jsonl").write_bytes(HEADER + encoded(second) + encoded(other))
    (tmp_path / "a.jsonl").write_bytes(HEADER + encoded(first))
    (tmp_path / "a.json").write_text("not a file of samples")
    taken = Taken(tmp_path)
    assert taken.update() == [first, second, other]
    (tmp_path / "c.jsonl").write_bytes(HEADER + encoded(third))
    assert taken.update() == [third]
    assert taken.of(CELL.id) == [first, second, third]
    assert taken.of(OTHER.id) == [other]
    assert taken.of("unknown") == []
    assert list(taken.records) == [first, second, third, other]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(st.lists(st.integers(0, 2000), max_size=6))
def test_however_the_bytes_come_every_line_is_read_once_and_whole(
    tmp_path: Path, cuts: list[int]
) -> None:
    lines = [sample(CELL, turn) for turn in CELL.turns]
    data = HEADER + b"".join(map(encoded, lines))
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    path, taken, found = tmp_path / "a.jsonl", Taken(tmp_path), []
    for end in ends:
        path.write_bytes(data[:end])
        found += taken.update()
        assert found == lines[: len(found)]
    assert found == lines


def test_a_torn_line_at_the_end_is_left_for_later(tmp_path: Path) -> None:
    path, taken = tmp_path / "a.jsonl", Taken(tmp_path)
    first, second = (sample(CELL, turn) for turn in CELL.turns[:2])
    path.write_bytes(HEADER + encoded(first) + encoded(second)[:-1])
    assert taken.update() == [first]
    assert taken.update() == []
    with path.open("ab") as file:
        file.write(b"\n")
    assert taken.update() == [second]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda line: line.replace(b'"process": 1', b'"process": 2'), "its checksum differs"),
        (lambda line: line[:40] + b"\n", "not a JSON object; the file is damaged there"),
        (lambda line: b"[1]\n", "not a JSON object"),
    ],
    ids=["changed", "cut", "no object"],
)
@pytest.mark.parametrize("is_later", [False, True], ids=["at once", "later"])
def test_a_damaged_line_is_named(
    tmp_path: Path, damage: object, expected: str, is_later: bool
) -> None:
    assert callable(damage)
    path, taken = tmp_path / "a.jsonl", Taken(tmp_path)
    good, bad = (encoded(sample(CELL, turn)) for turn in CELL.turns[:2])
    if is_later:
        path.write_bytes(HEADER + good)
        taken.update()
    path.write_bytes(HEADER + good + damage(bad) + good)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}:3: {expected}"):
        taken.update()
