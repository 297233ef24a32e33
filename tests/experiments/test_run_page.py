"""The page on experiments: every key and option stands there, and what it shows is valid."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import click
import pytest
from pydantic import BaseModel

from harness.cli import COMMANDS
from harness.experiments import call_for, define, library
from harness.experiments.engines import ENGINES
from harness.experiments.sections import RESOLVED, Comparison, IoLimit, Section
from harness.experiments.settings import LISTS, SCALARS
from harness.figure_spec import FigureSpec, Kind

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = (Path(__file__).parents[2] / "docs" / "experiments.md").read_text(encoding="utf-8")
TABLES = re.findall(r"\| key \| what it says \|\n\|---\|---\|\n((?:\|.*\n)+)", PAGE)
BLOCKS = {
    kind: re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for kind in ("toml", "")
}


def keys(table: str) -> list[str]:
    return re.findall(r"^\| `([a-z_]+)` \|", table, re.MULTILINE)


@pytest.mark.parametrize(
    ("table", "model", "others"),
    [(0, Section, RESOLVED), (1, Comparison, ()), (2, FigureSpec, ())],
    ids=["section", "comparison", "figure"],
)
def test_each_key_has_its_line(table: int, model: type[BaseModel], others: tuple[str, ...]) -> None:
    assert sorted(keys(TABLES[table])) == sorted([*model.model_fields, *others])


def test_engines_kinds_of_figures_and_keys_of_set_are_named() -> None:
    named = set(re.findall(r"`([a-z_.]+)`", PAGE))
    wanted = {*ENGINES, *get_args(Kind), *IoLimit.model_fields, *SCALARS, *LISTS}
    assert wanted - named == set()


def options(name: str, parent: click.Command) -> Iterator[str]:
    """Yield the options of a command, and of those below it."""
    for parameter in parent.params:
        yield from parameter.opts
    if isinstance(parent, click.Group):
        for below in parent.commands.values():
            yield from options(name, below)


def test_every_option_that_is_named_exists_and_those_of_run_are_named() -> None:
    known = {
        name: set(options(name, importlib.import_module(COMMANDS[name][0]).command))
        for name in ("run", "experiments", "report")
    }
    named = set(re.findall(r"(?<![\w>-])(--?[a-z][a-z-]*)", PAGE))
    others = {"-n", "-m", "-rf", "--logdir", "--oversubscribe"}  # of mpiexec, python, tensorboard
    assert named - others <= set().union(*known.values(), {"-9"})
    long = {option for option in known["run"] if option.startswith("--")}
    assert long - named - {"--dir", "--jobs", "--share"} == set()
    assert {"-j", "-i"} <= named


def test_every_command_that_is_shown_exists() -> None:
    experiments = importlib.import_module(COMMANDS["experiments"][0]).command
    shown = re.findall(r"bench-core ([a-z-]+)(?: ([a-z]+))?", "".join(BLOCKS[""]))
    assert {name for name, _ in shown} <= set(COMMANDS)
    assert {below for name, below in shown if name == "experiments"} == set(experiments.commands)
    sections = {below for name, below in shown if name == "run"} - {"first"}
    assert sections <= set(library.names())


def test_every_section_that_is_shown_can_be_run(tmp_path: Path) -> None:
    names = [name for block in BLOCKS["toml"] for name in tomllib.loads(block)]
    assert names == ["checkpoints", "search", "mine"]
    file = tmp_path / "page.toml"
    file.write_text("\n".join(BLOCKS["toml"]), encoding="utf-8")
    for name in names:
        for is_test in (False, True):
            call = call_for(name, directory=tmp_path, file=file, is_test=is_test)
            assert define(call).samples > 0
