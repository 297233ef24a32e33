"""Settings: what ``--set``, ``set`` and ``test`` change, in which order, and what they refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_toys import make_package

from harness.errors import InputError
from harness.experiments import Experiment, call_for, define
from harness.experiments.sections import Section, parse
from harness.experiments.settings import apply, from_table, from_words

PARAMETERS = {"loads": ["format", "cache", "model"], "writes": ["format", "model", "durability"]}
TOYS = """
[toys]
title = "Toys"
set = { size = [2], "one.rounds" = 4, "two.contender" = ["fine"] }
test = { rounds = 1, "one.size" = 1 }

[[toys.comparisons]]
name = "one"
benchmark = "work.Toy.time_work"

[[toys.comparisons]]
name = "two"
benchmark = "work.Toy.time_other"

[[toys.comparisons]]
name = "ways"
benchmark = "work.Closed.time_nothing"

[[toys.figures]]
name = "by_size"
kind = "lines"
benchmark = "work.Toy.time_work"
x = "size"
series = "contender"
"""


@pytest.fixture
def section() -> Section:
    return parse(
        {
            "title": "One",
            "comparisons": [
                {
                    "name": "loads",
                    "benchmark": "layer_loading.WholeModel.time_load",
                    "params": {"cache": ["warm"], "model": ["resnet18"]},
                    "twins": ["direct"],
                },
                {
                    "name": "writes",
                    "benchmark": "storage_writes.DurableWrite.time_write",
                    "contender": "durability",
                    "twins": ["fsync"],
                    "rounds": 9,
                },
            ],
        },
        "[first]",
    )


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    package = make_package(tmp_path_factory.mktemp("settings"), "toys_of_settings")
    (package / "work.py").open("a").write("\nToy.time_other = Toy.time_work\n")
    return package


def changed(section: Section, *words: str) -> Section:
    return apply(section, from_words(words), PARAMETERS, "--set")


def test_settings_reach_every_comparison_that_has_the_parameter(section: Section) -> None:
    loads, writes = changed(section, "model=gpt2,nt3").comparisons
    assert loads.params == {"cache": ["warm"], "model": ["gpt2", "nt3"]}
    assert writes.params == {"model": ["gpt2", "nt3"]}


def test_settings_of_one_comparison_leave_the_others(section: Section) -> None:
    loads, writes = changed(section, "writes.format=npz", "loads.rounds=2").comparisons
    assert (loads.rounds, loads.params["cache"]) == (2, ["warm"])
    assert (writes.rounds, writes.params) == (9, {"format": ["npz"]})


def test_rounds_for_all_take_the_place_of_each_ones_own(section: Section) -> None:
    found = changed(section, "rounds=2", "probe=false")
    assert (found.rounds, found.probe) == (2, False)
    assert [comparison.rounds for comparison in found.comparisons] == [None, None]


def test_keys_of_the_section_and_of_its_tables_can_be_set(section: Section) -> None:
    found = changed(
        section,
        *("repetitions=3", "seeds=0,7", "engine=ray", "jobs=4", "time_limit=2.5"),
        *("memory_limit=8 GiB", "io_limit.read=1MB/s", "io_limit.write=2MB/s"),
        *("engine_options.address=auto", "engine_options.num_cpus=2"),
    )
    assert (found.repetitions, found.seeds, found.engine, found.jobs) == (3, [0, 7], "ray", 4)
    assert (found.time_limit, found.memory_limit) == (2.5, "8 GiB")
    assert found.io_limit is not None
    assert found.io_limit.rates == (1_000_000, 2_000_000)
    assert found.engine_options == {"address": "auto", "num_cpus": 2}


def test_nothing_else_changes(section: Section) -> None:
    assert changed(section) == section
    assert changed(section, "jobs=1") == section


def test_twins_of_contenders_that_are_left_out_are_left_out(section: Section) -> None:
    loads, writes = changed(section, "format=npz,torch").comparisons
    assert loads.twins == []  # the format is its contender: its class's first parameter
    assert writes.twins == ["fsync"]  # here it is the durability
    assert changed(section, "format=npz,direct").comparisons[0].twins == ["direct"]
    assert changed(section, "durability=return").comparisons[1].twins == []
    assert changed(section, "model=nt3").comparisons[0].twins == ["direct"]
    assert changed(section, "loads.twins=npz,torch").comparisons[0].twins == ["npz", "torch"]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('3,2.5,true,"x y",word', [3, 2.5, True, "x y", "word"]),
        ("1e3, -2", [1000.0, -2]),
        ('"a,b",c', ["a,b", "c"]),
        ("'a,b',\"c,d\"", ["a,b", "c,d"]),
        ("stack_2x4KiB", ["stack_2x4KiB"]),
        ("8 GiB", ["8 GiB"]),
        ("a=b", ["a=b"]),
        ("007", ["007"]),
    ],
)
def test_values_are_read_as_toml_and_bare_words_as_texts(text: str, values: list[Any]) -> None:
    found = from_words([f"key={text}"])["key"]
    assert found == values
    assert [type(value) for value in found] == [type(value) for value in values]


def test_a_table_s_single_values_are_lists_of_one() -> None:
    assert from_table({"rounds": 2, "model": ["a", "b"]}) == {"rounds": [2], "model": ["a", "b"]}


@pytest.mark.parametrize("word", ["rounds", "=3", "rounds=", "model=a,", "model=a,,b", "=", ""])
def test_words_of_another_form_are_refused(word: str) -> None:
    with pytest.raises(InputError, match=rf"^--set {word}: expected key=value"):
        from_words([word])


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("modle=nt3", "modle: no comparison has 'modle'; did you mean 'model'?"),
        ("seed=1", "seed: no comparison has 'seed'; did you mean 'seeds'?"),
        ("lods.model=nt3", "lods.model: no comparison 'lods'; did you mean 'loads'?"),
        ("io_limt.read=1", "io_limt.read: no comparison 'io_limt'; did you mean 'io_limit'?"),
        ("loads.durability=fsync", "loads.durability: no comparison has 'durability'"),
        ("loads.model.x=1", "loads.model.x: no comparison 'loads.model'; did you mean 'loads'?"),
        ("rounds=many", "rounds = 'many': expected a whole number"),
        ("rounds=1,2", "rounds: expected one value, found 2"),
        ("loads.rounds=1,2", "loads.rounds: expected one value, found 2"),
        ("loads.rounds=0", "loads.rounds = 0: input should be greater than or equal to 1"),
        ("seeds=1,1", "seeds = [1, 1]: a seed stands there twice"),
        ("io_limit.read=fast", "io_limit.read = 'fast': 'fast' is not a bandwidth"),
        ("io_limit.raed=1", "unknown key 'io_limit.raed'; did you mean 'read'?"),
        ("io_limit=1MB/s", "io_limit: name what is in it, as in io_limit.NAME"),
        ("engine_options=3", "engine_options: name what is in it, as in engine_options.NAME"),
        ("engine_options.a=1,2", "engine_options.a: expected one value, found 2"),
        ("engine=rey", "; did you mean 'ray'?"),
        ("twins=direct", "twins: name a comparison, as in loads.twins"),
        ("memory_limit=8", "memory_limit = 8: expected a text"),
    ],
)
def test_a_wrong_setting_is_one_line(section: Section, word: str, expected: str) -> None:
    with pytest.raises(InputError) as raised:
        changed(section, word)
    assert str(raised.value).startswith("--set: ")
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def experiment(tmp_path: Path, package: Path, text: str = TOYS, **options: Any) -> Experiment:
    file = tmp_path / "toys.toml"
    file.write_text(text)
    return define(
        call_for("toys", directory=tmp_path / "data", file=file, package=package, **options)
    )


def test_the_section_s_set_comes_first_then_its_test_then_the_command_line(
    tmp_path: Path, package: Path
) -> None:
    one, two, _ = experiment(tmp_path, package).section.comparisons
    assert (one.params, one.rounds, two.rounds) == ({"size": [2]}, 4, None)
    assert two.params == {"size": [2], "contender": ["fine"]}
    tested = experiment(tmp_path, package, is_test=True)
    one, two, _ = tested.section.comparisons
    assert (tested.section.rounds, one.rounds, one.params, two.params["size"]) == (
        1,
        None,
        {"size": [1]},
        [2],
    )
    chosen = experiment(tmp_path, package, is_test=True, words=["one.size=3", "rounds=2"])
    assert chosen.section.comparisons[0].params == {"size": [3]}
    assert {len(cell.rounds) for cell in chosen.cells} == {2}


def test_a_test_has_a_name_of_its_own(tmp_path: Path, package: Path) -> None:
    assert experiment(tmp_path, package).name == "toys"
    assert experiment(tmp_path, package, is_test=True).name == "toys-test"


def test_only_one_comparison_can_be_had_of_a_section_that_sets_the_others(
    tmp_path: Path, package: Path
) -> None:
    found = experiment(tmp_path, package, only=["ways"], is_test=True)
    assert {cell.comparison for cell in found.cells} == {"ways"}
    assert found.section.figures == []
    with pytest.raises(InputError, match=r"^--set: one.size: no comparison 'one'"):
        experiment(tmp_path, package, only=["ways"], words=["one.size=1"])


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("size = [2]", "sise = [2]", ": set: sise: no comparison has 'sise'; did you mean 'size'?"),
        ("size = [2]", "rounds = 0", ": set: rounds = 0: input should be greater"),
        ('"one.size" = 1', '"on.size" = 1', ": test: on.size: no comparison 'on'"),
        ('"one.size" = 1', '"one.size" = "x"', " with --test: one.params.size = 'x': expected int"),
        ('x = "size"', 'x = "sise"', ": figures.by_size.x: work.Toy.time_work has no parameter"),
        ('x = "size"', 'x = "sise"', "'sise'; did you mean 'size'?"),
        ('"contender"\n', '"contendr"\n', ": figures.by_size.series: work.Toy.time_work has no"),
        ('x = "size"', "select = { sise = [1] }", ": figures.by_size.select.sise: work.Toy"),
        ('x = "size"', 'panel = "sise"', ": figures.by_size.panel: work.Toy.time_work has no"),
        (
            'benchmark = "work.Toy.time_work"\nx',
            'benchmark = "work.Toy.time_wrk"\nx',
            ": figures.by_size.benchmark = 'work.Toy.time_wrk': the section does not measure it; "
            "did you mean 'work.Toy.time_work'?",
        ),
        (
            'benchmark = "work.Toy.time_work"\nx',
            "x",
            ": figures.by_size: key 'benchmark' is missing: the section measures work.Toy.time_",
        ),
    ],
)
def test_what_does_not_fit_the_benchmarks_is_one_line_with_its_place(
    tmp_path: Path, package: Path, old: str, new: str, expected: str
) -> None:
    assert old in TOYS
    with pytest.raises(InputError) as raised:
        experiment(tmp_path, package, TOYS.replace(old, new), is_test=True)
    message = str(raised.value)
    assert message.startswith(f"{tmp_path / 'toys.toml'}: [toys]")
    assert expected in message
    assert "\n" not in message


def test_the_x_of_a_scatter_is_a_quantity(tmp_path: Path, package: Path) -> None:
    text = TOYS.replace('kind = "lines"', 'kind = "scatter"').replace('x = "size"', 'x = "bytes"')
    (figure,) = experiment(tmp_path, package, text).section.figures
    assert (figure.kind, figure.x) == ("scatter", "bytes")
