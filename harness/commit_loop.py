"""One turn of a commit: which cases it still lacks, asv's run on its code, and what came of it."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.asv_project import Project, Stored, stored_of
from harness.asv_rounds import Round, read_rounds, rounds_of, write_rounds
from harness.discovery import Case
from harness.records import new_run_id
from harness.subprocesses import run_group
from harness.worktree import check_out

LOGS: Final = Path(".asv/logs")


@dataclass(frozen=True)
class Commit:
    """A commit to measure."""

    hash: str
    subject: str


@dataclass(frozen=True)
class Outcome:
    """What became of one commit in one round."""

    commit: Commit
    status: str
    """``measured``; ``kept``: all results were there before; ``failed``: some case has none."""
    seconds: float
    failed: tuple[str, ...] = ()
    """Ids of the cases that have no result."""
    reason: str | None = None
    round: int = 0


@dataclass(frozen=True)
class Asv:
    """asv, on the code in a worktree, in the environment that is already there."""

    project: Project
    folder: Path
    """The worktree."""
    attributes: Sequence[str]
    """asv's ``-a``."""

    def run(self, commit: Commit, select: Sequence[str], options: Sequence[str]) -> str | None:
        """Run asv; return what it said if it could not measure at all.

        Args:
            commit: whose code lies in the worktree.
            select: asv's ``-b``.
            options: further ones.
        """
        environment = f"existing:{sys.executable}"
        command = [sys.executable, "-m", "asv", "run", "--environment", environment, *options]
        command += ["--machine", self.project.machine, "--set-commit-hash", commit.hash]
        command += ["--record-samples", "--show-stderr"]
        command += [word for expression in select for word in ("--bench", expression)]
        command += [word for attribute in self.attributes for word in ("--attribute", attribute)]
        own = {"ASV_PYTHONPATH": str(self.folder), "BENCH_CORE_EXPECT": str(self.folder)}
        log = self.project.root / LOGS / f"{commit.hash[:8]}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as output:
            code = run_group(command, self.project.root, {**os.environ, **own}, output)
        # 2: some benchmark failed; that stands in the results.
        return None if code in (0, 2) else f"{_last_error(log)} (all of it: {log})"


@dataclass
class Loop:
    """A loop over commits, and what it need not try again."""

    project: Project
    asv: Asv
    wanted: tuple[Case, ...]
    select: Sequence[str]
    """asv's ``-b`` for all wanted cases."""
    rounds: int
    force: bool
    name: str = field(default_factory=new_run_id)
    """Rounds of one name and number were measured shortly after one another."""
    _begun: set[str] = field(default_factory=set)
    _given_up: set[tuple[str, str]] = field(default_factory=set)

    def measured(self, number: int, commit: Commit) -> Outcome:
        """Measure what a commit lacks in a round, and return what became of it."""
        began = time.monotonic()
        known = self._known(commit)
        pending = [
            case
            for case in self.wanted
            if _done(known.get(case.id), self.rounds) <= number
            and (commit.hash, case.id) not in self._given_up
        ]
        if not pending:
            return Outcome(commit, "kept", time.monotonic() - began, round=number)
        check_out(self.asv.folder, commit.hash)
        reason = self._run(commit, pending, known)
        now = stored_of(self.project, commit.hash, pending)
        if self.rounds > 1:
            self._keep_rounds(number, pending, known, now)
        # One failure is enough to know: a later round would hide it or find it again.
        unknown = {
            case.id for case in pending if case.id not in now or not now[case.id].is_measured
        }
        self._given_up |= {(commit.hash, id) for id in unknown}
        failed = tuple(
            case.id for case in pending if case.id not in now or now[case.id].value is None
        )
        status = "failed" if failed or reason else "measured"
        return Outcome(commit, status, time.monotonic() - began, failed, reason, number)

    def _known(self, commit: Commit) -> dict[str, _Known]:
        """Return what counts of the stored results, by case."""
        if self.force and commit.hash not in self._begun:
            self._begun.add(commit.hash)
            return {}
        stored = stored_of(self.project, commit.hash, self.wanted)
        rounds = _rounds_in({item.path for item in stored.values()})
        return {
            id: _Known(item, rounds_of(rounds[item.path].get(id, ()), item.samples))
            for id, item in stored.items()
            if item.is_measured
        }

    def _run(
        self, commit: Commit, pending: Sequence[Case], known: Mapping[str, _Known]
    ) -> str | None:
        """Run asv on the pending cases: it adds to the samples of those that have some."""
        if self.rounds == 1:
            return self.asv.run(commit, self._ids(pending), ())
        reason = None
        for adds in (False, True):
            part = [case for case in pending if (case.id in known) == adds]
            if part:
                # What a user sets stands behind it, and is stronger.
                options = ["--attribute", "rounds=1", *(["--append-samples"] if adds else [])]
                reason = self.asv.run(commit, self._ids(part), options) or reason
        return reason

    def _ids(self, pending: Sequence[Case]) -> Sequence[str]:
        if len(pending) == len(self.wanted):
            return self.select
        return [f"^{re.escape(case.id)}$" for case in pending]

    def _keep_rounds(
        self,
        number: int,
        pending: Sequence[Case],
        known: Mapping[str, _Known],
        now: Mapping[str, Stored],
    ) -> None:
        rounds = _rounds_in({item.path for item in now.values()})
        for case in pending:
            stored = now.get(case.id)
            if stored is None:
                continue
            before = known[case.id].rounds if case.id in known else ()
            new = stored.samples - sum(item.samples for item in before)
            if stored.is_measured and new > 0:
                rounds[stored.path][case.id] = (*before, Round(self.name, number, new))
            else:
                rounds[stored.path].pop(case.id, None)
        for path, content in rounds.items():
            write_rounds(path, content)


@dataclass(frozen=True)
class _Known:
    """What counts of a case's stored result."""

    stored: Stored
    rounds: tuple[Round, ...]


def _done(known: _Known | None, rounds: int) -> int:
    """Return how many rounds a case has; what is only counted has all of them at once."""
    if known is None:
        return 0
    if rounds == 1 or not known.stored.samples:
        return rounds
    return sum(item.is_interleaved for item in known.rounds)


def _rounds_in(results: Iterable[Path]) -> dict[Path, dict[str, tuple[Round, ...]]]:
    return {path: read_rounds(path) for path in results}


def _last_error(log: Path) -> str:
    """Return the last line of a log that names an error, or else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b.*:", line)]
    return (errors or lines or ["asv said nothing"])[-1]
