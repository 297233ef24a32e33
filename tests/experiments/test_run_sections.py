"""Sections of TOML: what is right is read, what is wrong is one line with file, section and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InputError
from harness.experiments.sections import Section, load, names, only, override, where

GOOD = """
[first]
title = "One"

[[first.comparisons]]
name = "loads"
benchmark = "layer_loading.WholeModel.time_load"
params = { cache = ["warm"], model = ["resnet18"] }
twins = ["direct"]

[[first.comparisons]]
name = "writes"
benchmark = "storage_writes.DurableWrite.time_write"
rounds = 9
"""
PARAMETERS = {"loads": ["format", "cache", "model"], "writes": ["format", "model", "durability"]}


@pytest.fixture
def section(tmp_path: Path) -> Section:
    return load("first", written(tmp_path, GOOD))


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


def test_a_section_is_read_with_its_defaults(section: Section) -> None:
    assert (section.title, section.rounds, section.probe) == ("One", 6, True)
    loads, writes = section.comparisons
    assert loads.params == {"cache": ["warm"], "model": ["resnet18"]}
    assert (loads.twins, loads.rounds, loads.contender) == (["direct"], None, None)
    assert (writes.params, writes.rounds) == ({}, 9)


def test_the_embedded_sections_are_there() -> None:
    assert {"quick", "writes", "loads", "smoke"} <= set(names())
    for name in names():
        assert load(name).title


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('title = "One"', 'titel = "One"', "unknown key 'titel'; did you mean 'title'?"),
        ('title = "One"', "", "key 'title' is missing"),
        ("rounds = 9", "round = 9", "unknown key 'writes.round'; did you mean 'rounds'?"),
        ("rounds = 9", "rounds = 0", "writes.rounds = 0: input should be greater than or equal"),
        ("rounds = 9", 'rounds = "9"', "writes.rounds = '9': input should be a valid integer"),
        ("rounds = 9", "rounds = 9.5", "writes.rounds = 9.5: input should be a valid integer"),
        ('cache = ["warm"]', 'cache = "warm"', "loads.params.cache = 'warm': input should be"),
        ('cache = ["warm"]', "cache = []", "loads.params.cache = []: list should have at least 1"),
        ('cache = ["warm"]', "cache = [[1]]", "loads.params.cache = [1]: input should be"),
        ('name = "writes"', 'name = "loads"', "two comparisons are called 'loads'"),
        ('name = "writes"', 'name = "no spaces"', "no spaces.name = 'no spaces'"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_file_section_and_key(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    path = written(tmp_path, GOOD.replace(old, new))
    with pytest.raises(InputError) as raised:
        load("first", path)
    message = str(raised.value)
    assert message.startswith(f"{path}: [first]: ")
    assert expected in message
    assert "\n" not in message


def test_a_section_without_comparisons_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, '[first]\ntitle = "One"\ncomparisons = []')
    with pytest.raises(InputError, match=r"comparisons = .*at least 1 item"):
        load("first", path)


def test_an_unknown_section_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no section 'quik'; .*did you mean 'quick'\?"):
        load("quik")
    with pytest.raises(InputError, match=r"mine.toml: there is no section 'frist'.*'first'\?"):
        load("frist", written(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[first\n", "no valid TOML"),
        ("first = 3\n", "key 'first' stands outside of any section"),
        ("\xff", "no valid TOML"),
    ],
)
def test_a_file_that_is_no_file_of_sections_is_refused(
    tmp_path: Path, text: str, expected: str
) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=expected):
        load("first", path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml cannot be read: No such file"):
        load("first", tmp_path / "none.toml")


def test_settings_reach_every_comparison_that_has_the_parameter(section: Section) -> None:
    loads, writes = override(section, ["model=gpt2,nt3"], PARAMETERS).comparisons
    assert loads.params == {"cache": ["warm"], "model": ["gpt2", "nt3"]}
    assert writes.params == {"model": ["gpt2", "nt3"]}


def test_settings_of_one_comparison_leave_the_others(section: Section) -> None:
    settings = ["writes.durability=fsync", "loads.rounds=2"]
    loads, writes = override(section, settings, PARAMETERS).comparisons
    assert (loads.rounds, loads.params["cache"]) == (2, ["warm"])
    assert (writes.rounds, writes.params) == (9, {"durability": ["fsync"]})


def test_rounds_for_all_take_the_place_of_each_ones_own(section: Section) -> None:
    changed = override(section, ["rounds=2", "probe=false"], PARAMETERS)
    assert (changed.rounds, changed.probe) == (2, False)
    assert [comparison.rounds for comparison in changed.comparisons] == [None, None]


def test_values_are_read_as_toml_and_bare_words_as_names(section: Section) -> None:
    (_, writes) = override(section, ['writes.model=3,2.5,true,"x y",word'], PARAMETERS).comparisons
    assert writes.params["model"] == [3, 2.5, True, "x y", "word"]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("rounds", "expected key=value"),
        ("=3", "expected key=value"),
        ("rounds=", "expected key=value"),
        ("modle=nt3", "no comparison has 'modle'; did you mean 'model'?"),
        ("lods.model=nt3", "no comparison 'lods'; did you mean 'loads'?"),
        ("loads.durability=fsync", "no comparison has 'durability'"),
        ("rounds=many", "--set: rounds = 'many': input should be a valid integer"),
        ("loads.rounds=0", "loads.rounds = 0"),
    ],
)
def test_a_wrong_setting_is_one_line(section: Section, setting: str, expected: str) -> None:
    with pytest.raises(InputError) as raised:
        override(section, [setting], PARAMETERS)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_only_keeps_the_chosen_comparisons_in_order(section: Section) -> None:
    kept = only(section, ["writes", "loads"])
    assert [comparison.name for comparison in kept.comparisons] == ["loads", "writes"]
    assert [c.name for c in only(section, ["writes"]).comparisons] == ["writes"]
    with pytest.raises(InputError, match=r"--only write: .*did you mean 'writes'\?"):
        only(section, ["write"])


def test_messages_name_the_users_file() -> None:
    assert where("quick") == "[quick]"
    assert where("mine", Path("a.toml")) == "a.toml: [mine]"
