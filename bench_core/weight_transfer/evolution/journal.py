"""Every arrival of a search as a line of a file, so that a search that was stopped goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from io import FileIO
from pathlib import Path
from typing import Any

from bench_core.errors import CorruptFileError, SaveError
from bench_core.weight_transfer.errors import EvolutionError
from bench_core.weight_transfer.evolution.result import Arrival
from bench_core.weight_transfer.evolution.settings import Candidate, Evolution, Outcome, Setup
from bench_core.weight_transfer.prefix import Match


class Journal:
    """A file of JSON lines: what is searched, each start, each arrival.

    A line that a kill cut short is dropped. A line survives the process, not the machine: it is
    handed to the system, not synced. One process at a time has the file; the system gives it free
    when that dies.
    """

    def __init__(self, path: Path, setup: Setup, settings: Evolution) -> None:
        """Open or make the file, and note this start.

        Raises:
            EvolutionError: it is of another search, or another process has it.
            CorruptFileError: it is no journal.
            SaveError: it cannot be written.
        """
        self._path = path
        self._file = _opened(path)
        try:
            content = {"setup": _described(setup), "settings": asdict(settings)}
            lines = self._read(content)
            self.starts = sum("start" in line for line in lines)
            """How often the search was begun before."""
            self.arrivals = tuple(_arrival(path, line) for line in lines if "birth" in line)
            """What had arrived before."""
            self._write([*([] if lines else [content]), {"start": self.starts}])
        except BaseException:
            self.close()
            raise

    def add(self, arrivals: Sequence[Arrival]) -> None:
        """Append arrivals, all or none of which a killed process or a full disk leaves.

        Raises:
            SaveError: the disk is full.
        """
        self._write([_line(arrival) for arrival in arrivals])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        text, before = _encoded(lines), os.fstat(self._file.fileno()).st_size
        try:
            # In one call to the system, so that a kill leaves all or nothing.
            if self._file.write(text) != len(text):
                raise OSError("no space left")
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(before)
            raise SaveError(f"{self._path}: the journal cannot be written ({error})") from error

    def _read(self, content: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the whole lines; cut off what follows the last of them.

        A file that is no journal of this search is left as it is.
        """
        self._file.seek(0)
        data = self._file.readall()
        whole = data[: data.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise CorruptFileError(f"{self._path}: no journal of a search ({error})") from error
        is_begun = bool(lines) or _encoded([content]).startswith(data)
        if not is_begun or not all(isinstance(line, dict) for line in lines):
            raise CorruptFileError(f"{self._path}: no journal of a search")
        if lines and lines[0] != json.loads(json.dumps(content)):
            raise EvolutionError(
                f"{self._path}: the journal of another search, "
                f"{_first_difference(lines[0], content)}; give another path, or remove it"
            )
        self._file.truncate(len(whole))
        return lines


def _opened(path: Path) -> FileIO:
    """Open or make the file, and keep other processes out as long as it is open."""
    import fcntl  # not on every platform

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab+", buffering=0)
    except OSError as error:
        raise SaveError(f"{path}: the journal cannot be opened ({error})") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise EvolutionError(
            f"{path}: another process is at work on this search; wait for its end, or give another "
            "journal and another store"
        ) from None
    return file


def _encoded(lines: Sequence[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()


def _described(setup: Setup) -> Mapping[str, Any]:
    return {
        "space": setup.space.name,
        "space_settings": dict(setup.space.settings),
        "task": setup.task.name,
        "task_settings": dict(setup.task.settings),
        # Where the models are does not count: a folder may be moved, or be named otherwise.
        "method": [setup.method.name, setup.method.format],
        "plan": asdict(setup.plan),
        "threads": setup.threads,
    }


def _first_difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    for part in ("setup", "settings"):
        for name, value in wanted[part].items():
            there = found.get(part, {}).get(name) if isinstance(found.get(part), dict) else None
            if there != json.loads(json.dumps(value)):
                return f"whose {name} is {there!r} instead of {value!r}"
    return "which has other contents"


def _line(arrival: Arrival) -> Mapping[str, Any]:
    outcome = asdict(arrival.outcome)
    outcome["accuracy"] = arrival.outcome.accuracy if arrival.outcome.is_finite else None
    return {
        **outcome,
        "candidate": asdict(arrival.candidate),
        "seconds": arrival.seconds,
        "stored_bytes": arrival.stored_bytes,
    }


def _arrival(path: Path, line: Mapping[str, Any]) -> Arrival:
    try:
        known = dict(line)
        about = dict(known.pop("candidate"))
        match = about.pop("match")
        if match is not None:
            match = Match(match["donor"], tuple(match["positions"]), match["score"])
        candidate = Candidate(**{**about, "arch": tuple(about["arch"])}, match=match)
        seconds, stored = known.pop("seconds"), known.pop("stored_bytes")
        if known["accuracy"] is None:
            known["accuracy"] = float("-inf")
        return Arrival(candidate, Outcome(**known), seconds, stored)
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptFileError(f"{path}: a line of the journal is no arrival ({error})") from error
