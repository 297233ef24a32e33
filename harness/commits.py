"""Measures a range of commits with asv in the environment that is already there.

``asv run A..B`` builds an environment of its own for the commits; on a host whose torch, driver or
device cannot be installed again, this loop does without. Each commit is checked out in a worktree
of its own and put first on the path of asv's benchmark processes; the benchmarks and the harness
come from the working tree, whose state does not matter. Results go where asv keeps them.
"""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.asv_project import Project, results_of
from harness.discovery import cases
from harness.errors import InputError
from harness.subprocesses import run_group, terminated_as_interrupt
from harness.worktree import check_out, git, worktree

LOGS: Final = Path(".asv/logs")


@dataclass(frozen=True)
class Commit:
    """A commit to measure."""

    hash: str
    subject: str


@dataclass(frozen=True)
class Outcome:
    """What became of one commit."""

    commit: Commit
    status: str
    """``measured``; ``kept``: all results were there before; ``failed``: some case has none."""
    seconds: float
    failed: tuple[str, ...] = ()
    """Ids of the cases that have no result."""
    reason: str | None = None


def resolve(root: Path, spec: str, steps: int | None = None) -> list[Commit]:
    """Return the commits of ``spec``, oldest first, along first parents.

    Args:
        root: the repository.
        spec: a range (``A..B``, without A, as in git) or one commit.
        steps: at most so many, evenly spaced, the newest among them.

    Raises:
        InputError: git does not know ``spec``, or it holds no commit.
    """
    walk = ["--no-walk"] if _is_one_commit(root, spec) else ["--first-parent", "--reverse"]
    try:
        log = git(root, "log", *walk, "--format=%H %s", "--end-of-options", spec, "--")
    except InputError as error:
        raise InputError(f"commit range {spec!r} is unknown in {root}: {error}") from error
    found = [Commit(*line.split(" ", 1)) for line in log.splitlines()]
    if not found:
        raise InputError(f"commit range {spec!r} holds no commit; A..B leaves A out")
    return found if steps is None else spread(found, steps)


def spread(commits: Sequence[Commit], steps: int) -> list[Commit]:
    """Return at most ``steps`` of the commits, evenly spaced, the last one always among them."""
    if steps >= len(commits):
        return list(commits)
    last = len(commits) - 1
    if steps == 1:
        return [commits[last]]
    return [commits[round(position * last / (steps - 1))] for position in range(steps)]


def measure(
    project: Project,
    commits: Sequence[Commit],
    *,
    select: str | None = None,
    attributes: Sequence[str] = (),
    force: bool = False,
    started: Callable[[Commit], None] = lambda commit: None,
) -> Iterator[Outcome]:
    """Measure each commit with its own code and yield what became of it.

    Cases whose results asv already holds are not measured again unless ``force`` is set, so that
    an interrupted loop goes on where it was. Failed and refused cases are tried again.

    Args:
        project: see `harness.asv_project.open_project`.
        commits: see `resolve`.
        select: a regular expression on the cases' ids, asv's ``-b``.
        attributes: asv's ``-a``, for example ``rounds=1``.
        force: measure what has results, too.
        started: called with each commit before it is measured.
    """
    wanted = cases(project.benchmarks, select)
    if not wanted:
        raise InputError(f"no benchmark matches {select!r}")
    with terminated_as_interrupt(), worktree(project.root) as folder:
        for commit in commits:
            began = time.monotonic()
            known = {} if force else results_of(project, commit.hash, wanted)
            pending = [case for case in wanted if not _is_number(known.get(case.id))]
            started(commit)
            if not pending:
                yield Outcome(commit, "kept", time.monotonic() - began)
                continue
            check_out(folder, commit.hash)
            only = [select] if select is not None else []
            if len(pending) < len(wanted):
                only = [f"^{re.escape(case.id)}$" for case in pending]
            reason = _run_asv(project, folder, commit, only, attributes)
            now = results_of(project, commit.hash, pending)
            failed = tuple(id for id, value in now.items() if value is None)
            status = "failed" if failed or reason else "measured"
            yield Outcome(commit, status, time.monotonic() - began, failed, reason)


def _is_one_commit(root: Path, spec: str) -> bool:
    try:
        git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{spec}^{{commit}}")
    except InputError:
        return False
    return True


def _is_number(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _run_asv(
    project: Project,
    folder: Path,
    commit: Commit,
    select: Sequence[str],
    attributes: Sequence[str],
) -> str | None:
    """Run asv on the worktree's code; return what it said if it could not measure at all."""
    command = [sys.executable, "-m", "asv", "run", "--environment", f"existing:{sys.executable}"]
    command += ["--machine", project.machine, "--set-commit-hash", commit.hash]
    command += ["--record-samples", "--show-stderr"]
    command += [word for expression in select for word in ("--bench", expression)]
    command += [word for attribute in attributes for word in ("--attribute", attribute)]
    environment = {**os.environ, "ASV_PYTHONPATH": str(folder), "BENCH_CORE_EXPECT": str(folder)}
    log = project.root / LOGS / f"{commit.hash[:8]}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as output:
        code = run_group(command, project.root, environment, output)
    # 2: some benchmark failed; that stands in the results.
    return None if code in (0, 2) else f"{_last_error(log)} (all of it: {log})"


def _last_error(log: Path) -> str:
    """Return the last line of a log that names an error, or else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
    return (errors or lines or ["asv said nothing"])[-1]
