"""Loads what is to be compared, and refuses runs that differ in more than the code."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from harness.errors import InputError
from harness.report.load import load, resolve
from harness.report.settings import differences
from harness.report.table import Results, usable
from harness.report.thresholds import (
    Threshold,
    aa_thresholds,
    threshold_of,
    twin_thresholds,
)


def load_side(name: str, *, allow_different: bool) -> Results:
    """Load one side: files, folders, or a commit that asv has measured.

    Raises:
        InputError: there is no such thing, its own runs differ and that was not allowed, or they
            are of several commits.
    """
    results = load(resolve(name), allow_different=allow_different)
    if len(set(results.settings.values())) > 1:
        first, second, *_ = dict.fromkeys(results.settings.values())
        a, b = (_setting_of(results, label) for label in (first, second))
        lines = "; ".join(differences(a, b))
        raise InputError(f"{name} holds runs that differ ({lines}); name one of its files")
    codes = list(dict.fromkeys(results.samples["code"]))
    if len(codes) > 1:
        raise InputError(
            f"{name} holds {len(codes)} states of the code ({', '.join(codes[:4])}); "
            "name one of its files"
        )
    return results


def require_comparable(a: Results, b: Results, *, allow_different: bool) -> list[str]:
    """Return what differs between the machines and libraries of two sides.

    Raises:
        InputError: something does, and that was not allowed.
    """
    pairs = itertools.product(a.runs, b.runs)
    lines = (differences(first.setting, second.setting) for first, second in pairs)
    found = list(dict.fromkeys(itertools.chain.from_iterable(lines)))
    if found and not allow_different:
        raise InputError(
            f"the two sides differ in more than the code: {'; '.join(found)}; "
            "--allow-different compares them all the same"
        )
    return found


def selected(results: Results, expression: str | None) -> pd.DataFrame:
    """Return the samples of the cases whose id matches.

    Raises:
        InputError: the expression is wrong or matches nothing.
    """
    samples = results.samples
    if expression is None:
        return samples
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise InputError(f"{expression!r} is no regular expression: {error}") from error
    matching: pd.DataFrame = samples[samples["case"].map(lambda case: bool(pattern.search(case)))]
    return matching


def require_samples(samples: pd.DataFrame, name: str) -> None:
    """Raise `InputError` if a side has nothing to compare: a gate must not pass on nothing."""
    if usable(samples).empty:
        raise InputError(f"{name}: no usable sample, so there is nothing to compare")


def not_in_turns(a: pd.DataFrame, b: pd.DataFrame) -> list[str]:
    """Return a note if asv measured the sides one after the other, and how to mend it."""
    sides = [usable(side) for side in (a, b)]
    if any(set(side["runner"]) != {"asv"} for side in sides):
        return []
    turns_a, turns_b = (set(side["turns"]) - {""} for side in sides)
    if turns_a & turns_b:
        return []
    return [
        "A and B were measured one after the other, so what drifted between them counts as a "
        "change; bench-core commits A B --rounds 6 measures them in turns"
    ]


def described(results: Results) -> str:
    """Return where a side's samples come from, in a few words."""
    return ", ".join(dict.fromkeys(_words(results)))


def threshold_for(files: Sequence[Path], floor: float, *sides: pd.DataFrame) -> Threshold:
    """Return the change that counts: from A/A files if there are some, else from the sides' twins.

    Raises:
        InputError: a file is wrong, or the files' runs differ.
    """
    if files:
        return threshold_of(aa_thresholds(_aa_samples(files), floor), floor)
    found: dict[str, float] = {}
    for samples in sides:
        for benchmark, threshold in twin_thresholds(samples, floor).items():
            found[benchmark] = max(threshold, found.get(benchmark, floor))
    return threshold_of(found, floor)


def _aa_samples(files: Sequence[Path]) -> pd.DataFrame:
    results = [load([path]) for path in files]
    for a, b in itertools.pairwise(results):
        require_comparable(a, b, allow_different=False)
    samples: pd.DataFrame = pd.concat([item.samples for item in results], ignore_index=True)
    return samples


def _words(results: Results) -> Iterable[str]:
    for run in results.runs:
        yield f"{run.commit_label or run.run} on {run.machine or 'an unknown machine'}"


def _setting_of(results: Results, label: str) -> dict[str, str]:
    run = next(run for run in results.runs if results.settings[run.run] == label)
    return dict(run.setting)
