"""Every arrival of a search as a line of a file, so that a search that was stopped goes on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
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
    handed to the system, not synced.
    """

    def __init__(self, path: Path, setup: Setup, settings: Evolution) -> None:
        """Open or make the file, and note this start.

        Raises:
            EvolutionError: it is of another search.
            CorruptFileError: it is no journal.
            SaveError: it cannot be written.
        """
        self._path = path
        content = {"setup": _described(setup), "settings": asdict(settings)}
        lines = self._read()
        if lines and lines[0] != json.loads(json.dumps(content)):
            raise EvolutionError(
                f"{path}: the journal of another search, {_first_difference(lines[0], content)}; "
                "give another path, or remove it"
            )
        self.starts = sum("start" in line for line in lines)
        """How often the search was begun before."""
        self.arrivals = tuple(_arrival(path, line) for line in lines if "birth" in line)
        """What had arrived before."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise SaveError(f"{path}: the journal cannot be opened ({error})") from error
        self._write([*([] if lines else [content]), {"start": self.starts}])

    def add(self, arrivals: Sequence[Arrival]) -> None:
        """Append arrivals, all or none of which a killed process leaves.

        Raises:
            SaveError: the disk is full.
        """
        self._write([_line(arrival) for arrival in arrivals])

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, lines: Sequence[Mapping[str, Any]]) -> None:
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()
        try:
            # In one call to the system, so that a kill leaves all or nothing.
            if self._file.write(text) != len(text):
                raise OSError("no space left")
        except OSError as error:
            raise SaveError(f"{self._path}: the journal cannot be written ({error})") from error

    def _read(self) -> list[dict[str, Any]]:
        """Return the whole lines; cut off what follows the last of them."""
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise SaveError(f"{self._path}: the journal cannot be read ({error})") from error
        whole = data[: data.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise CorruptFileError(f"{self._path}: no journal of a search ({error})") from error
        if not all(isinstance(line, dict) for line in lines):
            raise CorruptFileError(f"{self._path}: no journal of a search")
        if len(whole) != len(data):
            os.truncate(self._path, len(whole))
        return lines


def _described(setup: Setup) -> Mapping[str, Any]:
    return {
        "space": setup.space.name,
        "space_settings": dict(setup.space.settings),
        "task": setup.task.name,
        "task_settings": dict(setup.task.settings),
        "method": asdict(setup.method),
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
    except (KeyError, TypeError) as error:
        raise CorruptFileError(f"{path}: a line of the journal is no arrival ({error})") from error
