"""From all samples and a figure's description to the samples that it draws, or a refusal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from harness.errors import InputError, nearest
from harness.figure_spec import FigureSpec
from harness.report.charts.comparable import require_comparable
from harness.report.charts.quantity import Quantity, lists_of, numbers_of, quantity_of
from harness.report.table import PARAM, Results, RunFacts, param_columns, usable
from harness.report.work import CACHE_STATES
from harness.units import count

ROLES: Final = ("panel", "x", "series", "y")
"""What a parameter can decide about in a figure; each is a column of `Selection.rows`."""

_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    "lines": ("x",),
    "heat_map": ("x", "y"),
    "scatter": ("x",),
    "timeline": ("x",),
}
_OF_LISTS: Final = frozenset({"timeline", "histogram"})
"""Kinds that draw lists which were noted, an array a sample, in place of a number a sample."""


@dataclass(frozen=True)
class Selection:
    """The samples of one figure, which may be compared, and how it names what they are of."""

    spec: FigureSpec
    rows: pd.DataFrame
    """Usable samples: the table's columns, one for each of `ROLES` (empty text where the figure
    has no such parameter), ``number`` (the drawn quantity), and of a scatter ``across``; of a
    timeline both are arrays, of a histogram ``number`` is one."""
    quantity: Quantity
    across: Quantity | None
    """Of a scatter or a timeline, the quantity on the horizontal axis."""
    orders: Mapping[str, tuple[Any, ...]]
    """The values of each role in the order they are drawn."""
    gaps: pd.DataFrame
    """Roles and ``status`` of what was tried and gave no usable sample."""
    left_out: Mapping[str, int]
    """Number of samples that are not drawn, by status."""
    fixed: Mapping[str, Any]
    """Parameters that all of the figure shares."""
    runs: tuple[RunFacts, ...]
    differences: tuple[str, ...] = ()
    """What differs among the runs, where mixing them was asked for."""

    def parameter(self, role: str) -> str | None:
        """Return the parameter that has a role."""
        return roles(self.spec)[role]

    def label(self, role: str, value: Any) -> str:
        """Return what the figure calls a value of the parameter with this role."""
        parameter = self.parameter(role)
        if str(value) in self.spec.labels:
            return self.spec.labels[str(value)]
        if parameter == "cache":
            return CACHE_STATES.get(str(value), str(value))
        if role in ("panel", "series") and parameter and not isinstance(value, str):
            return f"{self.name(parameter)} {value}"
        return str(value)

    def name(self, word: str) -> str:
        """Return what the figure calls a parameter, or a phase."""
        return self.spec.labels.get(word, word.replace("_", " "))


def roles(spec: FigureSpec) -> dict[str, str | None]:
    """Return the parameter of each role; an ``x`` that is a quantity is none."""
    x = None if spec.x_is_quantity else spec.x
    return {"panel": spec.panel, "x": x, "series": spec.series, "y": spec.y}


def select(spec: FigureSpec, results: Results) -> Selection:
    """Return the samples of a figure.

    Raises:
        InputError: the figure needs what the samples lack, or there are none.
        IncomparableError: the figure would mix samples that may not be compared.
    """
    try:
        return _selected(spec, results)
    except InputError as error:
        error.args = (f"figure {spec.name}: {error}",)
        raise


def _selected(spec: FigureSpec, results: Results) -> Selection:
    _require_axes(spec)
    named = {role: name for role, name in roles(spec).items() if name is not None}
    tried = _of_benchmark(spec, results.samples[~results.samples["is_twin"]])
    tried = _chosen(spec, tried)
    for role, name in named.items():
        _require_parameter(f"{role} =", name, tried)
    _require_base(spec, tried)
    tried = tried.assign(**{role: _column(tried, named.get(role)) for role in ROLES})
    good = usable(tried)
    if good.empty:
        raise InputError(f"there is no usable sample{_statuses(tried)}")
    runs = tuple(run for run in results.runs if run.run in set(good["run"]))
    require_comparable(good, runs, named, is_case_by_case=spec.kind == "scatter")
    return _with_numbers(spec, tried, good, results, runs)


def _with_numbers(
    spec: FigureSpec,
    tried: pd.DataFrame,
    good: pd.DataFrame,
    results: Results,
    runs: tuple[RunFacts, ...],
) -> Selection:
    find = lists_of if spec.kind in _OF_LISTS else numbers_of
    across = None
    if spec.x_is_quantity and spec.x is not None:
        across = quantity_of(spec.x, good, spec.labels)
        good = good.assign(across=find(spec.x, good))
    quantity = quantity_of(spec.value, good, spec.labels)
    good = good.assign(number=find(spec.value, good))
    settings = set(good["setting"])
    differing = (line for name in settings for line in results.differences.get(name, ()))
    return Selection(
        spec=spec,
        rows=good[good["number"].notna()],
        quantity=quantity,
        across=across,
        orders={role: _ordered(tried[role], spec, roles(spec)[role]) for role in ROLES},
        gaps=_gaps(tried, good),
        left_out=_left_out(tried),
        fixed=_fixed(good, roles(spec).values()),
        runs=runs,
        differences=tuple(dict.fromkeys(differing)),
    )


def _require_axes(spec: FigureSpec) -> None:
    for axis in _NEEDED.get(spec.kind, ()):
        if getattr(spec, axis) is None:
            raise InputError(f"{spec.kind} needs {axis} = the name of a parameter or quantity")
    if spec.kind == "histogram" and spec.x is not None:
        raise InputError(f"histogram has no x: its bars stand over the numbers of {spec.value}")
    if spec.thresholds and spec.kind != "timeline":
        raise InputError(f"thresholds are for kind = timeline, and this one is {spec.kind}")
    if spec.base is not None and spec.series is None:
        raise InputError("base names a value of series, and there is no series")


def _of_benchmark(spec: FigureSpec, samples: pd.DataFrame) -> pd.DataFrame:
    """Return the samples of the figure's benchmark, or of the only one."""
    known = list(dict.fromkeys(samples["benchmark"]))
    if spec.benchmark is None:
        if len(known) > 1:
            raise InputError(
                f"the samples are of several benchmarks ({', '.join(known[:4])}): "
                "set benchmark to one of them"
            )
        return samples
    if spec.benchmark not in known:
        hint = nearest(spec.benchmark, known)
        raise InputError(f"there is no sample of benchmark {spec.benchmark}{hint}")
    found: pd.DataFrame = samples[samples["benchmark"] == spec.benchmark]
    return found


def _chosen(spec: FigureSpec, samples: pd.DataFrame) -> pd.DataFrame:
    for name, values in spec.select.items():
        _require_parameter("select", name, samples)
        column = samples[PARAM + name]
        if not column.isin(values).any():
            known = list(dict.fromkeys(column.dropna().map(str)))
            wanted = ", ".join(map(str, values))
            raise InputError(
                f"select.{name} = {wanted}: no sample has it; there are {', '.join(known[:6])}"
                f"{nearest(wanted, known)}"
            )
        samples = samples[column.isin(values)]
    return samples


def _require_parameter(key: str, name: str, samples: pd.DataFrame) -> None:
    known = param_columns(samples)
    if name not in known:
        raise InputError(
            f"{key} {name}: the benchmark has no such parameter; it has {', '.join(known)}"
            f"{nearest(name, known)}"
        )


def _require_base(spec: FigureSpec, samples: pd.DataFrame) -> None:
    if spec.base is None:
        return
    known = list(dict.fromkeys(samples[f"{PARAM}{spec.series}"].dropna()))
    if spec.base not in known:
        names = [str(value) for value in known]
        raise InputError(
            f"base = {spec.base}: not among the values of {spec.series}: {', '.join(names)}"
            f"{nearest(str(spec.base), names)}"
        )


def _column(samples: pd.DataFrame, name: str | None) -> Any:
    return "" if name is None else samples[PARAM + name]


def _ordered(column: pd.Series[Any], spec: FigureSpec, name: str | None) -> tuple[Any, ...]:
    """Return the values in the order in which the figure's description has them.

    As it selects them, or as it labels them where it labels all; else as numbers go, from cold to
    warm, or as they appear, behind the base.
    """
    found = list(dict.fromkeys(column.dropna()))
    selected = [str(value) for value in spec.select.get(name or "", [])]
    are_labelled = {str(value) for value in found} <= set(spec.labels)
    stated = selected or (list(spec.labels) if are_labelled else [])
    states = list(CACHE_STATES)
    are_numbers = all(isinstance(value, int | float) for value in found)

    def key(value: Any) -> tuple[float, ...]:
        text = str(value)
        place = stated.index(text) if text in stated else len(stated)
        state = states.index(text) if name == "cache" and text in states else len(states)
        is_base = name == spec.series and spec.base is not None and value == spec.base
        return (place, not is_base, state, value if are_numbers else 0)

    return tuple(sorted(found, key=key))


def as_labelled(names: Sequence[str], spec: FigureSpec) -> list[str]:
    """Return names in the order of the figure's labels, or as they are if one has no label."""
    labels = list(spec.labels)
    return sorted(names, key=labels.index) if set(names) <= set(labels) else list(names)


def _gaps(tried: pd.DataFrame, good: pd.DataFrame) -> pd.DataFrame:
    """Return the points of the figure that have no usable sample, with the first status of each."""
    names = list(ROLES)
    measured = pd.MultiIndex.from_frame(good[names])
    others = tried[~pd.MultiIndex.from_frame(tried[names]).isin(measured)]
    gaps: pd.DataFrame = others[[*names, "status"]].drop_duplicates(subset=names)
    return gaps


def _left_out(tried: pd.DataFrame) -> dict[str, int]:
    counts = tried["status"].value_counts()
    return {str(name): int(n) for name, n in counts.items() if name != "ok"}


def _fixed(samples: pd.DataFrame, shown: Iterable[str | None]) -> dict[str, Any]:
    drawn = set(shown)
    columns = {name: samples[PARAM + name].dropna() for name in param_columns(samples)}
    return {
        name: values.iloc[0]
        for name, values in columns.items()
        if name not in drawn and values.nunique() == 1
    }


def _statuses(tried: pd.DataFrame) -> str:
    """Return what there is in place of usable samples."""
    if tried.empty:
        return ""
    counts = tried["status"].value_counts()
    return ": " + ", ".join(f"{count(int(n), 'sample')} {name}" for name, n in counts.items())
