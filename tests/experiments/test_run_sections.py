"""Sections of TOML: what is right is read, what is wrong is one line with file, section and key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.errors import InputError
from harness.experiments import library
from harness.experiments.sections import Section, only, parse, parse_bytes

GOOD = """
[first]
title = "One"
memory_limit = "8 GiB"
io_limit = { read = "200MB/s" }
time_limit = 2.5

[[first.comparisons]]
name = "loads"
benchmark = "layer_loading.WholeModel.time_load"
params = { cache = ["warm"], model = ["resnet18"] }
twins = ["direct"]

[[first.comparisons]]
name = "writes"
benchmark = "storage_writes.DurableWrite.time_write"
rounds = 9

[[first.figures]]
name = "speed"
kind = "lines"
x = "model"
"""
LOADS = {"name": "loads", "benchmark": "work.Toy.time_work"}


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def section(tmp_path: Path) -> Section:
    return library.load("first", written(tmp_path, GOOD))


def test_a_section_is_read_with_its_defaults(section: Section) -> None:
    assert (section.title, section.rounds, section.probe) == ("One", 6, True)
    assert (section.repetitions, section.seeds, section.engine) == (1, [0], "processes")
    assert (section.time_limit, section.jobs) == (2.5, 1)
    assert section.io_limit is not None
    assert section.io_limit.rates == (200_000_000, None)
    loads, writes = section.comparisons
    assert loads.params == {"cache": ["warm"], "model": ["resnet18"]}
    assert (loads.twins, loads.rounds, loads.contender) == (["direct"], None, None)
    assert (writes.params, writes.rounds) == ({}, 9)
    assert [figure.name for figure in section.figures] == ["speed"]


def test_the_embedded_sections_are_there_and_right() -> None:
    assert {"quick", "writes", "loads", "smoke"} <= set(library.names())
    for name in library.names():
        assert library.load(name).title


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('title = "One"', 'titel = "One"', "unknown key 'titel'; did you mean 'title'?"),
        ('title = "One"', "", "key 'title' is missing"),
        ('title = "One"', "title = 1", "title = 1: expected a text"),
        ('title = "One"', 'title = "One"\nextend = "quick"', "'extend'; did you mean 'extends'?"),
        ("rounds = 9", "round = 9", "unknown key 'writes.round'; did you mean 'rounds'?"),
        ("rounds = 9", "rounds = 0", "writes.rounds = 0: input should be greater than or equal"),
        ("rounds = 9", 'rounds = "9"', "writes.rounds = '9': expected a whole number"),
        ("rounds = 9", "rounds = 9.5", "writes.rounds = 9.5: expected a whole number"),
        ("rounds = 9", 'interleave = "model"', "writes.interleave = 'model': expected a list"),
        ('cache = ["warm"]', 'cache = "warm"', "loads.params.cache = 'warm': expected a list"),
        ('cache = ["warm"]', "cache = []", "loads.params.cache = []: list should have at least 1"),
        (
            'cache = ["warm"]',
            "stride = [[1]]",
            "loads.params.stride = [1]: expected a text, a number, true or false",
        ),
        ('name = "writes"', 'name = "loads"', "two comparisons are called 'loads'"),
        ('name = "writes"', 'name = "no spaces"', "no spaces.name = 'no spaces'"),
        ('name = "writes"', "", "key 'comparisons[1].name' is missing"),
        ('name = "writes"', 'name = ["writes"]', "['writes'].name = ['writes']: expected a text"),
        ('"8 GiB"', '"8 Gigs"', "memory_limit = '8 Gigs': '8 Gigs' is no size: write for example"),
        ('"8 GiB"', '"0 B"', "memory_limit = '0 B': '0 B' is no size"),
        ('"8 GiB"', "8", "memory_limit = 8: expected a text"),
        ('read = "200MB/s"', 'raed = "1MB/s"', "unknown key 'io_limit.raed'; did you mean 'read'?"),
        ('read = "200MB/s"', 'read = "fast"', "io_limit.read = 'fast': 'fast' is not a bandwidth"),
        ('{ read = "200MB/s" }', '"200MB/s"', "io_limit = '200MB/s': expected a table"),
        ("time_limit = 2.5", "time_limit = 0", "time_limit = 0: input should be greater than 0"),
        ("time_limit = 2.5", 'time_limit = "1"', "time_limit = '1': expected a number"),
        ("time_limit = 2.5", "probe = 1", "probe = 1: expected true or false"),
        ("time_limit = 2.5", "seeds = 3", "seeds = 3: expected a list"),
        ("time_limit = 2.5", "seeds = []", "seeds = []: list should have at least 1 item"),
        ("time_limit = 2.5", "seeds = [1, 1]", "seeds = [1, 1]: a seed stands there twice"),
        ("time_limit = 2.5", 'engine = "rey"', "engine = 'rey': expected 'processes', 'ray', "),
        ("time_limit = 2.5", 'engine = "rey"', "; did you mean 'ray'?"),
        ("time_limit = 2.5", "jobs = 0", "jobs = 0: input should be greater than or equal to 1"),
        ("time_limit = 2.5", "set = { rounds = [[1]] }", "set.rounds = [[1]]: expected a text"),
        ("time_limit = 2.5", "test = 1", "test = 1: expected a table"),
        ("time_limit = 2.5", 'published = "x/y"', "published = 'x/y': expected a list"),
        ('kind = "lines"', 'kind = "line"', "figures.speed.kind = 'line': expected 'grouped_bars'"),
        ('kind = "lines"', 'kind = "line"', "; did you mean 'lines'?"),
        ('kind = "lines"', "", "key 'figures.speed.kind' is missing"),
        ('x = "model"', 'seris = "x"', "unknown key 'figures.speed.seris'; did you mean 'series'?"),
        ('x = "model"', 'log = ["z"]', "figures.speed.log = 'z': expected 'x' or 'y'"),
        ('x = "model"', "base = [1]", "figures.speed.base = [1]: expected a text, a number"),
        ('x = "model"', "select = { a = 1 }", "figures.speed.select.a = 1: expected a list"),
        (
            'x = "model"',
            '[[first.figures]]\nname = "speed"\nkind = "ecdf"',
            "two figures are called 'speed'",
        ),
    ],
)
def test_what_is_wrong_is_one_line_that_names_file_section_and_key(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in GOOD
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InputError) as raised:
        library.load("first", path)
    message = str(raised.value)
    assert message.startswith(f"{path}: [first]: ")
    assert expected in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"comparisons": []}, r"comparisons = \[\]: list should have at least 1 item"),
        ({"comparisons": 3}, "comparisons = 3: expected a list"),
        ({"comparisons": ["loads"]}, r"comparisons\[0\] = 'loads': expected a table"),
        ({"comparisons": [LOADS], "figures": [3]}, r"figures\[0\] = 3: expected a table"),
        ({}, "key 'comparisons' is missing"),
    ],
)
def test_content_that_is_no_table_of_tables_is_one_line(
    content: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InputError, match=f"^here: {expected}"):
        parse({"title": "T", **content}, "here")


@pytest.mark.parametrize(
    ("text", "nbytes"),
    [("512 MB", 512_000_000), ("8GiB", 8 << 30), ("1.5 KiB", 1536), ("7 B", 7), ("1 TB", 10**12)],
)
def test_sizes_are_decimal_unless_their_unit_has_an_i(text: str, nbytes: int) -> None:
    assert parse_bytes(text) == nbytes


def test_keys_with_dots_in_set_and_test_may_be_tables() -> None:
    content = {"title": "T", "comparisons": [LOADS]}
    dotted = parse({**content, "set": {"loads.size": [1], "rounds": 2}}, "here")
    nested = parse({**content, "set": {"loads": {"size": [1]}, "rounds": 2}}, "here")
    assert dotted == nested
    assert dotted.set == {"loads.size": [1], "rounds": 2}


def test_only_keeps_the_chosen_comparisons_in_order_with_their_figures() -> None:
    names = ("loads", "writes")
    section = parse(
        {
            "title": "T",
            "comparisons": [{"name": name, "benchmark": f"work.{name}.time"} for name in names],
            "figures": [
                {"name": name, "kind": "ecdf", "benchmark": f"work.{name}.time"} for name in names
            ],
        },
        "here",
    )
    kept = only(section, ["writes", "loads"])
    assert [comparison.name for comparison in kept.comparisons] == ["loads", "writes"]
    assert kept.figures == section.figures
    kept = only(section, ["writes"])
    assert [comparison.name for comparison in kept.comparisons] == ["writes"]
    assert [figure.name for figure in kept.figures] == ["writes"]
    with pytest.raises(InputError, match=r"--only write: .*did you mean 'writes'\?"):
        only(section, ["write"])
