"""What may stand in one figure: samples of one machine, software, code, unit and cache state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from harness.errors import InputError
from harness.report.settings import differences
from harness.report.table import PARAM, RunFacts, param_columns

_AXIS: Final = "put it on an axis, or select one"
_MOST_VALUES: Final = 4


class IncomparableError(InputError):
    """A figure would mix samples that differ in more than what it shows."""

    def __init__(self, text: str, field: str) -> None:
        super().__init__(text)
        self.field = field
        """In what they differ."""


def require_comparable(
    samples: pd.DataFrame,
    runs: Sequence[RunFacts],
    named: Mapping[str, str],
    *,
    is_case_by_case: bool,
) -> None:
    """Refuse samples that may not be drawn together.

    Args:
        samples: usable ones, with a column for each role.
        runs: those that the samples come from.
        named: the parameter of each role that the figure has.
        is_case_by_case: whether each case is a dot of its own, so that parameters may vary.

    Raises:
        IncomparableError: the text names the field that differs, its values, and what to do.
    """
    _require_one_setting(samples, runs)
    _require_one_code(samples, runs)
    _require_one(samples["runner"], "runner", "report the files of one")
    _require_one(samples["unit"], "unit", "set benchmark or select so that one is left")
    if not is_case_by_case:
        for name in param_columns(samples):
            if name not in named.values():
                _require_one(samples[PARAM + name].dropna(), name, _AXIS)
    _require_one_cache_state(samples, named, is_case_by_case=is_case_by_case)


def _require_one_setting(samples: pd.DataFrame, runs: Sequence[RunFacts]) -> None:
    """Refuse runs of different machines or software, naming the first fact that differs."""
    settings = samples.groupby("setting", sort=False)["run"].first()
    if len(settings) < 2:
        return
    first, second, *_ = (_run(runs, name) for name in settings)
    found = differences(first.setting, second.setting)
    fact, _, values = found[0].partition(": ") if found else ("setting", "", "unknown")
    others = ", ".join(line.partition(": ")[0] for line in found[1:])
    more = f" and in {others}" if others else ""
    raise IncomparableError(
        f"the samples differ in {fact} ({values.replace(' against ', ', ')}){more}: report the "
        "runs one by one, or mix them by --allow-different",
        fact,
    )


def _require_one_code(samples: pd.DataFrame, runs: Sequence[RunFacts]) -> None:
    codes = samples.groupby("code", sort=False)["run"].first()
    if len(codes) > 1:
        shown = [_run(runs, name).code or "unknown" for name in codes]
        advice = "report the runs one by one, or hold them against each other by bench-core compare"
        raise _differ("commit", shown, advice)


def _require_one(values: pd.Series[Any], field: str, advice: str) -> None:
    found = list(dict.fromkeys(values))
    if len(found) > 1:
        raise _differ(field, found, advice)


def _require_one_cache_state(
    samples: pd.DataFrame, named: Mapping[str, str], *, is_case_by_case: bool
) -> None:
    """Refuse a point of several cache states; different points may have different ones."""
    keys = ["case"] if is_case_by_case else list(named)
    known = samples[samples["cache_state"] != ""]
    points = [part for _, part in known.groupby(keys, sort=False)] if keys else [known]
    for point in points:
        _require_one(point["cache_state"], "cache state", _AXIS)


def _differ(field: str, values: Sequence[Any], advice: str) -> IncomparableError:
    more = ", …" if len(values) > _MOST_VALUES else ""
    shown = ", ".join(map(str, values[:_MOST_VALUES]))
    return IncomparableError(f"the samples differ in {field} ({shown}{more}): {advice}", field)


def _run(runs: Sequence[RunFacts], name: str) -> RunFacts:
    return next(run for run in runs if run.run == name)
