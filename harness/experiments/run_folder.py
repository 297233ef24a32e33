"""A run's folder: who it belongs to, its files of samples, its locks and its logs.

``results/runs/<section>/<machine>-<key>/`` holds what was measured of one section with one code on
one machine, however often the run was interrupted and however many processes took part:

* ``experiment.json``: what the folder is of;
* ``<run id>.jsonl``: samples; each process appends to a file of its own, none is ever rewritten;
* ``locks/<cell>``: held while a process takes the samples of a cell, gone with the process;
* ``logs/<cell>.log``: what a cell's processes said.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from harness.errors import InputError
from harness.experiments.experiment import Experiment
from harness.experiments.identity import code_digest, run_key
from harness.machine import describe, machine_name
from harness.records import RunWriter, new_run_id, utc_now

RUNS: Final = Path("results") / "runs"
DESCRIPTION: Final = "experiment.json"
_MUST_AGREE: Final = ("section", "code", "machine", "io_limit")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run; see the module."""

    path: Path
    code: str
    """Digest of the code that is measured."""

    @property
    def shards(self) -> list[Path]:
        """The files of samples, oldest first."""
        return sorted(self.path.glob("*.jsonl"))

    def log(self, cell: str) -> Path:
        """Return the file for what a cell's processes say."""
        return self.path / "logs" / f"{cell}.log"

    def new_shard(self, experiment: Experiment) -> RunWriter:
        """Begin a file of samples that only this process appends to.

        Raises:
            InputError: it cannot be made or written.
        """
        while True:
            header = experiment.header(self.code, new_run_id())
            path = self.path / f"{header.run_id}.jsonl"
            try:
                return RunWriter.create(path, header)
            except InputError:
                # Processes that start in the same second may draw the same name.
                if not path.exists():
                    raise

    @contextlib.contextmanager
    def lock(self, cell: str) -> Iterator[bool]:
        """Hold a cell's lock if no other process does; yields whether it is held."""
        folder = self.path / "locks"
        folder.mkdir(exist_ok=True)
        with _locked(folder / cell, shared=False) as is_held:
            yield is_held


def folder_for(experiment: Experiment, *, root: Path = RUNS, is_new: bool = False) -> RunFolder:
    """Return the folder of an experiment with the present code on this machine, and make it.

    Args:
        experiment: what to run.
        root: of all runs.
        is_new: whether to begin a new one beside what was measured before.
    """
    code = code_digest(experiment.call.package)
    machine = describe(experiment.call.directory)
    key = run_key(code, machine_name(), machine, experiment.described()["io_limit"])
    first = root / experiment.name / f"{machine_name()}-{key}"
    known = [path for path in _generations(first) if path.exists()]
    if is_new:
        path = next(path for path in _generations(first, endless=True) if not path.exists())
    else:
        path = known[-1] if known else first
    return _made(path, experiment, code)


def chosen_folder(path: Path, experiment: Experiment) -> RunFolder:
    """Return a folder of the user's choice, and make it.

    Raises:
        InputError: another experiment, code or machine was measured into it.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; a run needs a folder")
    is_known = (path / DESCRIPTION).exists()
    if not is_known and any(path.glob("*.jsonl")):
        raise InputError(f"{path} holds samples and no {DESCRIPTION}; choose another folder")
    code = code_digest(experiment.call.package)
    wanted = _description(experiment, code)
    found = described(path) if is_known else wanted
    for fact in _MUST_AGREE:
        if found.get(fact) != wanted[fact]:
            raise InputError(
                f"{path} holds results of {fact} {found.get(fact)!r}, this is {wanted[fact]!r}; "
                "choose another folder"
            )
    return _made(path, experiment, code)


def described(path: Path) -> dict[str, Any]:
    """Return what a run's folder says that it is of.

    Raises:
        InputError: it is no folder of a run.
    """
    try:
        content = json.loads((path / DESCRIPTION).read_bytes())
    except OSError as error:
        reason = str(error.strerror)
    except ValueError as error:
        reason = str(error)
    else:
        if isinstance(content, dict) and isinstance(content.get("section"), str):
            return content
        reason = "it names no section"
    raise InputError(f"{path} is no run's folder: {DESCRIPTION}: {reason}")


@contextlib.contextmanager
def machine_reserved(directory: Path, what: str, *, shared: bool) -> Iterator[None]:
    """Reserve this machine's data folder for a run, as two at once would disturb each other.

    Args:
        directory: the data folder.
        what: what is run, for the message of whoever comes second.
        shared: whether others that say the same may measure at the same time.

    Raises:
        InputError: another run is under way.
    """
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "measuring.lock"
    with _locked(path, shared=shared) as is_held:
        if not is_held:
            raise InputError(
                f"{path.read_text().strip() or 'another run'} is measuring in {directory}, and two "
                "at once disturb each other; wait for its end, or run both with -j 2 and more"
            )
        # Whoever comes second shall not read what an earlier run left there.
        path.write_text(f"process {os.getpid()} ({what})\n")
        yield


@contextlib.contextmanager
def _locked(path: Path, *, shared: bool) -> Iterator[bool]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def _generations(first: Path, *, endless: bool = False) -> Iterator[Path]:
    """Yield a run's folder and those of later ones beside it, as long as they are there."""
    path, number = first, 1
    while endless or path.exists():
        yield path
        number += 1
        path = first.with_name(f"{first.name}-{number}")


def _made(path: Path, experiment: Experiment, code: str) -> RunFolder:
    try:
        path.mkdir(parents=True, exist_ok=True)
        (path / "logs").mkdir(exist_ok=True)
        # Of the latest call: it may ask for more than the one that made the folder.
        content = json.dumps(_description(experiment, code), indent=1)
        temporary = path / f".{DESCRIPTION}.{os.getpid()}"
        temporary.write_text(f"{content}\n", encoding="utf-8")
        temporary.replace(path / DESCRIPTION)
    except OSError as error:
        raise InputError(f"{path} cannot be made: {error.strerror}") from error
    return RunFolder(path.resolve(), code)


def _description(experiment: Experiment, code: str) -> dict[str, Any]:
    return {
        "section": experiment.name,
        "code": code,
        "machine": machine_name(),
        "called_at": utc_now(),
        **{key: value for key, value in experiment.described().items() if key != "figures"},
    }
