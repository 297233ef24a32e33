"""Sections by name: which files they come from, and what one inherits from others."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import InputError
from harness.experiments import library
from harness.experiments.sections import Section

PARENTS = """
[base]
title = "Base"
rounds = 4
engine_options = { cluster = "local" }
set = { rounds = 3, "writes.model" = ["a"] }
test = { rounds = 1, writes = { model = ["b"] }, loads = { model = ["c"] } }

[[base.comparisons]]
name = "loads"
benchmark = "work.Loads.time"
params = { model = ["x"], cache = ["warm"] }

[[base.comparisons]]
name = "writes"
benchmark = "work.Writes.time"
rounds = 9

[[base.figures]]
name = "of_loads"
kind = "ecdf"
benchmark = "work.Loads.time"

[[base.figures]]
name = "of_writes"
kind = "ecdf"
benchmark = "work.Writes.time"

[limits]
io_limit = { read = "1MB/s", write = "1MB/s" }
rounds = 5
seeds = [1, 2]
"""


def load(folder: Path, text: str, name: str = "heir") -> Section:
    return library.load(name, written(folder, PARENTS + text))


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(InputError) as raised:
        load(folder, text)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_an_heir_has_all_that_it_does_not_change(tmp_path: Path) -> None:
    base = load(tmp_path, "", "base")
    assert load(tmp_path, '[heir]\nextends = "base"') == base
    heir = load(tmp_path, '[heir]\nextends = "base"\ntitle = "Heir"')
    assert heir.title == "Heir"
    assert heir.model_copy(update={"title": "Base"}) == base


def test_tables_are_merged_and_lists_are_replaced(tmp_path: Path) -> None:
    heir = load(
        tmp_path,
        '[heir]\nextends = "limits"\ntitle = "H"\nseeds = [7]\nio_limit = { read = "2MB/s" }\n'
        '[[heir.comparisons]]\nname = "c"\nbenchmark = "b"',
    )
    assert heir.seeds == [7]
    assert heir.io_limit is not None
    assert (heir.io_limit.read, heir.io_limit.write) == ("2MB/s", "1MB/s")


def test_comparisons_and_figures_are_merged_by_name_in_the_order_of_the_parent(
    tmp_path: Path,
) -> None:
    heir = load(
        tmp_path,
        '[heir]\nextends = "base"\n'
        '[[heir.comparisons]]\nname = "more"\nbenchmark = "work.More.time"\n'
        '[[heir.comparisons]]\nname = "loads"\nparams = { cache = ["cold_file"] }\n'
        '[[heir.figures]]\nname = "of_writes"\nkind = "lines"\n',
    )
    loads, writes, more = heir.comparisons
    assert (loads.name, loads.benchmark) == ("loads", "work.Loads.time")
    assert loads.params == {"model": ["x"], "cache": ["cold_file"]}
    assert (writes.rounds, more.benchmark) == (9, "work.More.time")
    assert [(figure.name, figure.kind) for figure in heir.figures] == [
        ("of_loads", "ecdf"),
        ("of_writes", "lines"),
    ]
    assert heir.figures[1].benchmark == "work.Writes.time"


def test_an_empty_list_takes_the_place_of_what_is_inherited(tmp_path: Path) -> None:
    assert load(tmp_path, '[heir]\nextends = "base"\nfigures = []').figures == []


def test_of_several_parents_the_last_one_counts(tmp_path: Path) -> None:
    last_limits = load(tmp_path, '[heir]\nextends = ["base", "limits"]')
    last_base = load(tmp_path, '[heir]\nextends = ["limits", "base"]')
    assert (last_limits.rounds, last_base.rounds) == (5, 4)
    assert last_limits.seeds == last_base.seeds == [1, 2]
    assert last_limits.title == "Base"


def test_grandparents_are_inherited_from(tmp_path: Path) -> None:
    text = '[middle]\nextends = "base"\nrounds = 8\n[heir]\nextends = "middle"\ntitle = "H"'
    heir = load(tmp_path, text)
    assert (heir.rounds, heir.title, len(heir.comparisons)) == (8, "H", 2)


def test_only_takes_what_belongs_to_other_comparisons_away(tmp_path: Path) -> None:
    heir = load(tmp_path, '[heir]\nextends = "base"\nonly = "loads"')
    assert [comparison.name for comparison in heir.comparisons] == ["loads"]
    assert [figure.name for figure in heir.figures] == ["of_loads"]
    assert heir.set == {"rounds": 3}
    assert heir.test == {"rounds": 1, "loads.model": ["c"]}


def test_only_chooses_among_what_is_inherited_and_own_comparisons_stay(tmp_path: Path) -> None:
    heir = load(
        tmp_path,
        '[heir]\nextends = "base"\nonly = ["writes"]\n'
        '[[heir.comparisons]]\nname = "own"\nbenchmark = "work.Own.time"',
    )
    assert [comparison.name for comparison in heir.comparisons] == ["writes", "own"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            '[heir]\nextends = "bass"',
            "extends: there is no section 'bass'; expected one of ",
        ),
        ('[heir]\nextends = "bass"', "; did you mean 'base'?"),
        ("[heir]\nextends = 3", "extends = 3: expected a name or a list of names"),
        ("[heir]\nextends = [3]", "extends = [3]: expected a name or a list of names"),
        ('[heir]\nextends = "heir"', "extends itself: heir → heir"),
        (
            '[heir]\nextends = "one"\n[one]\nextends = "two"\n[two]\nextends = "heir"',
            "extends itself: heir → one → two → heir",
        ),
        (
            '[heir]\nextends = "base"\nonly = ["write"]',
            "only: no comparison 'write' is inherited; did you mean 'writes'?",
        ),
        ('[heir]\nonly = ["writes"]\ntitle = "T"', "only: no comparison 'writes' is inherited"),
        (
            '[heir]\nextends = "base"\n'
            '[[heir.comparisons]]\nname = "loads"\n[[heir.comparisons]]\nname = "loads"\n',
            "two comparisons are called 'loads'",
        ),
        (
            '[odd]\ntitle = "T"\ncomparisons = ["x"]\n[heir]\nextends = "odd"\nonly = ["x"]',
            "only: no comparison 'x' is inherited",
        ),
    ],
)
def test_a_wrong_inheritance_is_one_line(tmp_path: Path, text: str, expected: str) -> None:
    message = complaint(tmp_path, text)
    assert message.startswith(f"{tmp_path / 'mine.toml'}: [")
    assert expected in message


def test_what_is_wrong_in_a_parent_is_told_of_the_section_that_was_asked_for(
    tmp_path: Path,
) -> None:
    message = complaint(tmp_path, '[odd]\nrounds = "x"\n[heir]\nextends = ["base", "odd"]')
    assert message.endswith("mine.toml: [heir]: rounds = 'x': expected a whole number")


def test_a_users_section_takes_the_place_of_an_embedded_one_and_may_extend_others(
    tmp_path: Path,
) -> None:
    embedded = library.load("smoke")
    text = '[smoke]\nextends = "quick"\ntitle = "Mine"\n[mine]\nextends = "smoke"\n'
    path = written(tmp_path, text)
    for name in ("smoke", "mine"):
        found = library.load(name, path)
        assert found.title == "Mine"
        assert found.comparisons == library.load("quick").comparisons
    assert library.load("smoke") == embedded
    assert library.names(path) == ["smoke", "mine"]
    assert "mine" not in library.names()


def test_an_unknown_section_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no section 'quik'; .*did you mean 'quick'\?"):
        library.load("quik")
    path = written(tmp_path, PARENTS)
    with pytest.raises(InputError, match=r"mine.toml: there is no section 'bse'.*'base'\?"):
        library.load("bse", path)


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
    with pytest.raises(InputError, match=rf"mine\.toml: {expected}"):
        library.load("first", path)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml cannot be read: No such file"):
        library.load("first", tmp_path / "none.toml")


def test_messages_name_the_file_that_a_section_stands_in(tmp_path: Path) -> None:
    path = written(tmp_path, PARENTS)
    assert library.where("quick") == "quick.toml: [quick]"
    assert library.where("base", path) == f"{path}: [base]"
    assert library.where("quick", path) == "quick.toml: [quick]"


def test_a_name_in_two_embedded_files_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "EMBEDDED", tmp_path)
    for name in ("a.toml", "b.toml"):
        (tmp_path / name).write_text('[same]\ntitle = "T"\n')
    with pytest.raises(InputError, match=r"^\[same\] stands in a\.toml and in b\.toml$"):
        library.names()
