"""asv's side of a project: its configuration, this machine's name, and the results it holds."""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.discovery import Case
from harness.errors import InputError
from harness.subprocesses import output_of
from harness.worktree import git


@dataclass(frozen=True)
class Project:
    """The folder with asv's configuration, and what is needed of it here."""

    root: Path
    benchmarks: Path
    results: Path
    site: Path
    """Where ``asv publish`` writes its pages."""
    machine: str
    """The name under which asv keeps this machine's results."""


def open_project(root: Path) -> Project:
    """Read asv's configuration in ``root`` and make this machine known to asv.

    Raises:
        InputError: there is no usable asv.conf.json, or ``root`` is not in a git repository.
    """
    from asv.config import Config
    from asv.util import UserError

    root = root.resolve()
    try:
        config = Config.load(str(root / "asv.conf.json"))
    except UserError as error:
        raise InputError(f"{str(error).rstrip('.')}; run this where asv.conf.json lies") from error
    git(root, "rev-parse", "--git-dir")
    return Project(
        root=root,
        benchmarks=root / config.benchmark_dir,
        results=root / config.results_dir,
        site=root / config.html_dir,
        machine=_machine_known_to_asv(root),
    )


@dataclass(frozen=True)
class Stored:
    """What asv holds of one case at one commit."""

    path: Path
    """Its result file."""
    value: float | None
    """None if the case failed. NaN is n/a: it was refused, or left out by asv's ``-b``; asv keeps
    no difference."""
    samples: int
    """How many samples it holds; 0 for what is counted and not timed."""

    @property
    def is_measured(self) -> bool:
        """Whether there is a number."""
        return self.value is not None and not math.isnan(self.value)


def stored_of(project: Project, commit: str, wanted: Sequence[Case]) -> dict[str, Stored]:
    """Return case id to what asv holds for this commit, machine and interpreter.

    A case that was never run is not in it. Results of another ``version`` do not count.
    """
    found: dict[tuple[str, str], Stored] = {}
    for path in (project.results / project.machine).glob(f"{commit[:8]}-*.json"):
        content = json.loads(path.read_text())
        if content["commit_hash"] == commit and content["python"] == sys.executable:
            found |= _stored(path, content)
    keys = {case.id: (case.id, case.cls.version) for case in wanted}
    return {id: found[key] for id, key in keys.items() if key in found}


def _stored(path: Path, content: Mapping[str, Any]) -> dict[tuple[str, str], Stored]:
    """Return (case id, version) to what an asv result file holds of it."""
    found: dict[tuple[str, str], Stored] = {}
    for name, values in content["results"].items():
        # asv leaves out the columns at the end that hold nothing.
        row = dict(zip(content["result_columns"], values, strict=False))
        combinations = itertools.product(*row["params"])
        ids = [f"{name}({', '.join(each)})" for each in combinations] if row["params"] else [name]
        nothing = [None] * len(ids)
        columns = row["result"] or nothing, row.get("samples") or nothing
        for id, value, samples in zip(ids, *columns, strict=True):
            found[id, row["version"]] = Stored(path, value, len(samples or ()))
    return found


def _machine_known_to_asv(root: Path) -> str:
    """Return asv's name of this machine, writing its machine file if it does not know it yet.

    A GPU and its driver are added there: asv then keeps them with each result, as parameters.
    """
    from asv.machine import Machine, MachineCollection
    from asv.util import UserError

    from harness.machine import describe

    name = Machine.get_unique_machine_name()
    try:
        known = dict(MachineCollection.load(name))
    except UserError:
        output_of([sys.executable, "-m", "asv", "machine", "--yes"])
        known = dict(MachineCollection.load(name))
    gpus = describe(root)["gpus"]
    if gpus and "gpu" not in known:
        known |= {"gpu": f"{len(gpus)} {gpus[0]['name']}", "driver": gpus[0]["driver"]}
        MachineCollection.save(known["machine"], known)
    return str(known["machine"])
