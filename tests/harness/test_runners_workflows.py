"""The workflows of pull requests: what they call exists, and forks get no right to write."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from harness.cli import cli
from harness.report.pull_request import MARK

WORKFLOWS = Path(__file__).parents[2] / ".github" / "workflows"
MEASURE, COMMENT = "benchmarks.yml", "benchmarks-comment.yml"


def workflow(name: str) -> dict[Any, Any]:
    content: dict[Any, Any] = yaml.safe_load((WORKFLOWS / name).read_text())
    return content


def steps(name: str) -> list[dict[str, Any]]:
    return [step for job in workflow(name)["jobs"].values() for step in job["steps"]]


def commands(name: str) -> list[list[str]]:
    """Return the words of each call of bench-core, with variables as words of their own."""
    found = []
    for step in steps(name):
        for line in str(step.get("run", "")).replace("\\\n", " ").splitlines():
            words = shlex.split(line)
            if words and words[0] == "bench-core":
                found.append(words[1:])
    return found


def test_every_command_line_is_one_that_bench_core_takes() -> None:
    found = commands(MEASURE)

    assert [words[0] for words in found] == ["commits", "compare"]
    with click.Context(cli) as context:
        for name, *arguments in found:
            command = cli.get_command(context, name)
            assert command is not None
            parsed = command.make_context(name, list(arguments), parent=context)
            assert not parsed.args


def test_both_commands_speak_of_the_same_commits_and_cases() -> None:
    measured, compared = commands(MEASURE)

    assert measured[1:3] == compared[1:3] == ["$BASE", "$HEAD"]
    assert "$CASES" in measured and "$CASES" in compared
    assert int(measured[measured.index("--rounds") + 1]) >= 6


def test_the_selection_is_a_regular_expression_that_finds_cases() -> None:
    from harness.discovery import cases

    selection = workflow(MEASURE)["env"]["CASES"]

    re.compile(selection)
    assert len(cases(WORKFLOWS.parents[1] / "benchmarks", selection)) == 6


@pytest.mark.parametrize(
    ("name", "rights"),
    [
        (MEASURE, {"contents": "read"}),
        (COMMENT, {"actions": "read", "pull-requests": "write"}),
    ],
)
def test_rights_are_the_least(name: str, rights: dict[str, str]) -> None:
    content = workflow(name)

    assert content["permissions"] == rights
    assert not any("permissions" in job for job in content["jobs"].values())


def test_the_workflow_that_may_write_runs_no_code_of_the_pull_request() -> None:
    events = workflow(COMMENT)[True]  # YAML 1.1 reads the key "on" as true

    assert events == {"workflow_run": {"workflows": ["benchmarks"], "types": ["completed"]}}
    assert not commands(COMMENT)
    assert not any("checkout" in str(step.get("uses")) for step in steps(COMMENT))
    # What others chose (names of branches, say) reaches the shell as variables alone.
    assert not any("${{" in str(step.get("run", "")) for name in (MEASURE, COMMENT)
                   for step in steps(name))  # fmt: skip
    assert workflow(MEASURE)["name"] == "benchmarks"


def test_the_comment_is_found_again_by_its_mark() -> None:
    (script,) = (step["run"] for step in steps(COMMENT) if "run" in step)

    assert MARK in script
    uploaded = next(step for step in steps(MEASURE) if "upload" in str(step.get("uses")))
    written = commands(MEASURE)[1]
    assert written[written.index("--github") + 1] in uploaded["with"]["path"].split()
