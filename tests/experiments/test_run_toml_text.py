"""Sections written as TOML: what is written is read back as the same section."""

from __future__ import annotations

import math
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.experiments import library
from harness.experiments.sections import Section, parse
from harness.experiments.toml_text import toml_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,5}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXTS
COUNTS = st.integers(1, 99)
COMPARISONS = st.fixed_dictionaries(
    {"name": NAMES, "benchmark": TEXTS},
    optional={
        "params": st.dictionaries(TEXTS, st.lists(VALUES, min_size=1, max_size=3), max_size=3),
        "contender": TEXTS,
        "interleave": st.lists(TEXTS, max_size=2),
        "rounds": COUNTS,
        "twins": st.lists(VALUES, max_size=2),
    },
)
FIGURES = st.fixed_dictionaries(
    {"name": NAMES, "kind": st.sampled_from(["lines", "ecdf", "heat_map"])},
    optional={
        "title": TEXTS,
        "select": st.dictionaries(TEXTS, st.lists(VALUES, max_size=2), max_size=2),
        "base": VALUES,
        "labels": st.dictionaries(TEXTS, TEXTS, max_size=3),
        "log": st.lists(st.sampled_from(["x", "y"]), max_size=2),
    },
)
SECTIONS = st.fixed_dictionaries(
    {"title": TEXTS, "comparisons": st.lists(COMPARISONS, min_size=1, max_size=2)},
    optional={
        "rounds": COUNTS,
        "repetitions": COUNTS,
        "seeds": st.lists(st.integers(0, 9), min_size=1, max_size=3, unique=True),
        "probe": st.booleans(),
        "time_limit": st.floats(0, exclude_min=True, allow_nan=False) | COUNTS,
        "memory_limit": st.just("8 GiB"),
        "io_limit": st.fixed_dictionaries({}, optional={"read": st.just("1MB/s")}),
        "engine": st.sampled_from(["processes", "ray", "mpi", "slurm"]),
        "jobs": COUNTS,
        "engine_options": st.dictionaries(TEXTS, VALUES, max_size=3),
        "figures": st.lists(FIGURES, max_size=2),
        "published": st.lists(TEXTS, max_size=2),
    },
)


def read_back(name: str, section: Section) -> Section:
    content = tomllib.loads(toml_text(name, section))
    assert list(content) == [name]
    return parse(content[name], name)


@given(TEXTS, SECTIONS)
def test_what_is_written_is_read_back(name: str, content: dict[str, Any]) -> None:
    section = parse(content, "here")
    assert read_back(name, section) == section


@pytest.mark.parametrize("name", library.names())
def test_the_embedded_sections_are_read_back_with_all_that_they_inherit(name: str) -> None:
    section = library.load(name)
    expected = section.model_copy(update={"set": {}, "test": {}})
    assert read_back(name, section) == expected


def test_defaults_and_what_has_been_applied_are_left_out() -> None:
    comparison = {"name": "c", "benchmark": "b", "rounds": 2}
    content = {"title": "T", "rounds": 6, "seeds": [0], "set": {"rounds": 3}, "test": {"jobs": 1}}
    assert toml_text("toy", parse({**content, "comparisons": [comparison]}, "here")) == (
        '[toy]\ntitle = "T"\n\n[[toy.comparisons]]\nname = "c"\nbenchmark = "b"\nrounds = 2\n'
    )


@pytest.mark.parametrize("value", [math.inf, -math.inf, "\x7f", "\x00\n\t", '"\\', "é→", True])
def test_what_json_writes_otherwise_is_written_as_toml_has_it(value: float | str) -> None:
    comparison = {"name": "c", "benchmark": "b", "twins": [value]}
    section = parse({"title": "T", "comparisons": [comparison]}, "here")
    assert read_back("toy", section) == section
