"""Loads results of any kind into one table: a file, a folder, a commit, or the newest run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from harness.errors import InputError
from harness.report import asv_results, fields, published, pytest_results, run_records, table
from harness.report.retried import without_retried
from harness.report.run_records import SHARED
from harness.report.settings import settings_of
from harness.report.table import Results, Row, RunFacts

RUNS: Final = Path("results/runs")
"""Where ``bench-core run`` puts its files."""
ASV_RESULTS: Final = Path("results/asv")
"""Where asv puts its results."""

Loader = Callable[[Path], tuple[RunFacts, list[Row]]]


def load(paths: Sequence[Path], *, allow_different: bool = False) -> Results:
    """Load files and folders.

    Args:
        paths: run files or folders, asv result files, pytest-benchmark JSON, folders of published
            figures, or folders of them.
        allow_different: give runs of different machines or libraries one setting, so that they
            are shown and compared together.

    Raises:
        InputError: a path does not exist or holds no results, or a result is damaged.
    """
    notes: list[str] = []
    files = {file: loader for path in paths for file, loader in _files(path, notes)}
    where = ", ".join(map(str, paths))
    if not files:
        raise InputError(f"{where}: no results found (run files, asv or pytest-benchmark JSON)")
    loaded = _each_run_once([loader(file) for file, loader in files.items()], notes)
    loaded = without_retried(_each_code_once(loaded), notes)
    rows = [row for _, part in loaded for row in part]
    if not rows:
        raise InputError(f"{where}: no samples found")
    runs = tuple(facts for facts, _ in loaded)
    notes.extend(note for run in runs for note in run.notes)
    measured = [run for run in runs if not run.quoted]
    settings, differences = settings_of(measured, mixed=allow_different)
    # What was published is of another machine and other code: it is never mixed with anything.
    quoted, _ = settings_of([run for run in runs if run.quoted], mixed=False)
    settings |= quoted
    samples = table.samples_table(rows)
    samples = samples.assign(setting=samples["run"].map(settings))
    return Results(samples, runs, settings, differences, tuple(notes))


def _each_run_once(
    loaded: Sequence[tuple[RunFacts, list[Row]]], notes: list[str]
) -> list[tuple[RunFacts, list[Row]]]:
    """Leave out copies of a run: samples that count twice would narrow every interval."""
    kept: dict[str, tuple[RunFacts, list[Row]]] = {}
    for facts, rows in loaded:
        first, _ = kept.setdefault(facts.run, (facts, rows))
        if first is not facts:
            notes.append(f"{facts.source}: left out, it is the same run as {first.source}")
    return list(kept.values())


def _each_code_once(
    loaded: Sequence[tuple[RunFacts, list[Row]]],
) -> list[tuple[RunFacts, list[Row]]]:
    """Give runs with the same digest of their code one name of it.

    A commit that leaves the measured code as it was does not make another code, and neither does
    a change that was not committed when the run began and was when it went on.
    """
    names: dict[str, str] = {}
    found = []
    for facts, rows in loaded:
        name = names.setdefault(facts.digest, facts.code) if facts.digest else facts.code
        if name != facts.code:
            facts = replace(facts, known_code=name)
            rows = [Row(**{**row, "code": name}) for row in rows]
        found.append((facts, rows))
    return found


def newest_run(folder: Path = RUNS) -> Path:
    """Return the run that was begun, or gone on with, last: its folder, or its file.

    Raises:
        InputError: there is none.
    """
    started: dict[Path, str] = {}
    for path in _run_files(folder):
        header = _header(path)
        run = path.parent if (path.parent / SHARED).exists() else path
        if header.get("kind") == "run":
            started[run] = max(started.get(run, ""), str(header.get("started_at", "")))
    if not started:
        raise InputError(f"no runs under {folder}; take one with: bench-core run quick")
    return max(started, key=lambda path: started[path])


def _run_files(folder: Path) -> Iterator[Path]:
    """Yield the files that may hold samples: of a run's folder those at its top alone."""
    yield from sorted(folder.glob("*.jsonl"))
    if not (folder / SHARED).exists():
        for inner in sorted(path for path in folder.glob("*") if path.is_dir()):
            yield from _run_files(inner)


def resolve(name: str) -> list[Path]:
    """Return the files that a word on the command line means: a path, or a commit asv measured.

    Raises:
        InputError: it is neither.
    """
    if Path(name).exists():
        return [Path(name)]
    commit = _commit(name)
    found = sorted(ASV_RESULTS.glob(f"*/{commit[:8]}*-*.json")) if commit else []
    whole = [path for path in found if _commit_of(path).startswith(commit)]
    if not whole:
        hint = f"{ASV_RESULTS} has no results of commit {commit[:10]}" if commit else "no commit"
        raise InputError(f"{name}: no such file, and {hint}")
    return whole


def _files(path: Path, notes: list[str]) -> Iterator[tuple[Path, Loader]]:
    """Yield the result files at or below ``path`` with what reads them."""
    if path.is_dir():
        yield from _files_in(path, notes)
        return
    if not path.exists():
        raise InputError(f"{path} does not exist")
    loader = _loader(path)
    if loader is None:
        raise InputError(f"{path} is no run file, asv result or pytest-benchmark JSON")
    yield path, loader


def _files_in(folder: Path, notes: list[str]) -> Iterator[tuple[Path, Loader]]:
    if (folder / "machine.json").exists() or (folder / "benchmarks.json").exists():
        for path in asv_results.result_files(folder):
            yield path, asv_results.load_result
        return
    if (folder / SHARED).exists():
        yield from _shards_in(folder, notes)
        return
    if published.is_set(folder):
        yield from published.figures_of(folder)
        return
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _files_in(path, notes)
        elif path.suffix in (".json", ".jsonl"):
            loader = _loader(path)
            if loader is None:
                notes.append(f"{path}: left out, it holds no results")
            else:
                yield path, loader


def _shards_in(folder: Path, notes: list[str]) -> Iterator[tuple[Path, Loader]]:
    """Yield the files of a run's folder; a process that was killed may leave one with no line."""
    for path in sorted(folder.glob("*.jsonl")):
        if _is_begun(path):
            yield path, run_records.load_run
        else:
            notes.append(f"{path}: left out, its process ended before the first line was whole")


def _is_begun(path: Path) -> bool:
    with path.open("rb") as file:
        return file.readline().endswith(b"\n")


def _loader(path: Path) -> Loader | None:
    """Return what reads a file, by its content; None if nothing does."""
    first = _header(path)
    if first.get("kind") == "run":
        return run_records.load_run
    if first.get("kind") in ("sample", "limits"):
        return run_records.load_samples
    if path.suffix == ".jsonl":
        return run_records.load_run  # its error says what is wrong with the first line
    content = fields.read_json(path)
    if asv_results.is_result(content):
        return asv_results.load_result
    return pytest_results.load_result if pytest_results.is_result(content) else None


def _header(path: Path) -> dict[str, Any]:
    """Return the object in a file's first line, or an empty one if it holds none."""
    try:
        with path.open("rb") as file:
            first = json.loads(file.readline())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError:
        return {}
    return first if isinstance(first, dict) else {}


def _commit(name: str) -> str:
    """Return the full hash of a commit that git knows, ``name`` itself if it is a hash, or ""."""
    from harness.worktree import git

    commit = f"{name}^{{commit}}"
    try:
        return git(Path(), "rev-parse", "--verify", "--end-of-options", commit).strip()
    except InputError:
        is_hash = len(name) >= 4 and set(name) <= set("0123456789abcdef")
        return name if is_hash else ""


def _commit_of(path: Path) -> str:
    return str(fields.as_mapping(fields.read_json(path), str(path)).get("commit_hash", ""))
