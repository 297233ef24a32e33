"""Measures a range of commits with asv in the environment that is already there.

``asv run A..B`` builds an environment of its own for the commits; on a host whose torch, driver or
device cannot be installed again, this loop does without. Each commit is checked out in a worktree
of its own and put first on the path of asv's benchmark processes; the benchmarks and the harness
come from the working tree, whose state does not matter. Results go where asv keeps them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from harness.asv_project import Project
from harness.commit_loop import Asv, Commit, Loop, Outcome
from harness.discovery import cases
from harness.errors import InputError
from harness.subprocesses import terminated_as_interrupt
from harness.worktree import git, worktree

__all__ = ["Commit", "Outcome", "measure", "resolve", "spread", "turns"]


def resolve(root: Path, *specs: str, steps: int | None = None) -> list[Commit]:
    """Return the commits of all ``specs``, each once; of a range the oldest first.

    Args:
        root: the repository.
        specs: ranges along first parents (``A..B``, without A, as in git) or single commits.
        steps: at most so many, evenly spaced, the last among them.

    Raises:
        InputError: git does not know one of ``specs``, or it holds no commit.
    """
    found = list(dict.fromkeys(commit for spec in specs for commit in _commits(root, spec)))
    return found if steps is None else spread(found, steps)


def _commits(root: Path, spec: str) -> list[Commit]:
    walk = ["--no-walk"] if _is_one_commit(root, spec) else ["--first-parent", "--reverse"]
    try:
        log = git(root, "log", *walk, "--format=%H %s", "--end-of-options", spec, "--")
    except InputError as error:
        raise InputError(f"commit range {spec!r} is unknown in {root}: {error}") from error
    found = [Commit(*line.split(" ", 1)) for line in log.splitlines()]
    if not found:
        raise InputError(f"commit range {spec!r} holds no commit; A..B leaves A out")
    return found


def spread(commits: Sequence[Commit], steps: int) -> list[Commit]:
    """Return at most ``steps`` of the commits, evenly spaced, the last one always among them."""
    if steps >= len(commits):
        return list(commits)
    last = len(commits) - 1
    if steps == 1:
        return [commits[last]]
    return [commits[round(position * last / (steps - 1))] for position in range(steps)]


def turns(commits: Sequence[Commit], rounds: int) -> Iterator[tuple[int, Commit]]:
    """Yield round and commit: forward in the first round, backward in the second, and so on.

    What drifts over a round then favours no commit, nor does what drifts over all of them.
    """
    for number in range(rounds):
        yield from ((number, commit) for commit in commits[:: -1 if number % 2 else 1])


def measure(
    project: Project,
    commits: Sequence[Commit],
    *,
    select: str | None = None,
    attributes: Sequence[str] = (),
    rounds: int = 1,
    force: bool = False,
    started: Callable[[int, Commit], None] = lambda number, commit: None,
) -> Iterator[Outcome]:
    """Measure each commit with its own code and yield what became of it, round by round.

    Cases whose results asv already holds are not measured again unless ``force`` is set, so that
    an interrupted loop goes on where it was. Failed and refused cases are tried again, once.

    Args:
        project: see `harness.asv_project.open_project`.
        commits: see `resolve`.
        select: a regular expression on the cases' ids, asv's ``-b``.
        attributes: asv's ``-a``, for example ``rounds=1``.
        rounds: 1 to measure one commit after the other, each as asv does; more to measure them in
            turns (see `turns`), one process a case in each round, until each has so many rounds.
        force: measure what has results, too, and forget these.
        started: called with round and commit before it is measured.

    Raises:
        InputError: no case matches.
    """
    wanted = cases(project.benchmarks, select)
    if not wanted:
        raise InputError(f"no benchmark matches {select!r}")
    with terminated_as_interrupt(), worktree(project.root) as folder:
        only = [] if select is None else [select]
        loop = Loop(project, Asv(project, folder, attributes), tuple(wanted), only, rounds, force)
        for number, commit in turns(commits, rounds):
            started(number, commit)
            yield loop.measured(number, commit)


def _is_one_commit(root: Path, spec: str) -> bool:
    try:
        git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{spec}^{{commit}}")
    except InputError:
        return False
    return True
