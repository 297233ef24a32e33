"""The answers before the tables: in each condition the fastest contender, and ours beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from harness import units
from harness.report.contenders import BEST_PEER, OURS, same_work
from harness.report.table import PARAM
from harness.report.work import Work


@dataclass(frozen=True)
class Highlight:
    """One condition of one benchmark."""

    benchmark: str
    condition: str
    """The parameters that the contenders share and that vary over the benchmark."""
    fastest: str
    speed: str
    efficiency: float
    """Of the fastest."""
    ours: str
    """Our fastest contender; empty if it was not measured."""
    best_peer: str
    against_best: str
    """Our time over the best peer's, with the interval."""
    verdict: str


def highlights(works: Sequence[Work]) -> Iterator[Highlight]:
    """Yield what each condition showed in which at least two contenders were measured."""
    for work in works:
        contender = work.contender
        if contender is None:
            continue
        for group in same_work(work.cases, contender):
            measured = group[group["n"] > 0].sort_values("median")
            if len(measured) > 1:
                yield _highlight(work, measured, contender)


def _highlight(work: Work, measured: pd.DataFrame, contender: str) -> Highlight:
    first = measured.iloc[0]
    shared = {name: first[PARAM + name] for name in work.varying(contender)}
    condition = {name: value for name, value in shared.items() if pd.notna(value)}
    own = measured[measured[PARAM + contender].isin(OURS)]
    compared = own[own["ratio"].notna() & (own["verdict"] != BEST_PEER)]
    return Highlight(
        benchmark=work.benchmark,
        condition=", ".join(_shown(name, value) for name, value in condition.items()),
        fastest=str(first[PARAM + contender]),
        speed=_speed(first),
        efficiency=float(first["efficiency"]),
        ours="" if own.empty else str(own[PARAM + contender].iloc[0]),
        best_peer="" if compared.empty else str(compared["best_peer"].iloc[0]),
        against_best="" if compared.empty else _ratio(compared.iloc[0]),
        verdict="" if compared.empty else str(compared["verdict"].iloc[0]),
    )


def _shown(name: str, value: object) -> str:
    """Return a parameter's value, with its name where the value does not speak for itself."""
    return value if isinstance(value, str) else f"{name}={value}"


def _speed(case: pd.Series) -> str:
    if pd.notna(case["gb_per_s"]):
        return units.quantity(float(case["gb_per_s"]) * 1e9, "B/s")
    return units.quantity(float(case["median"]), str(case["unit"]))


def _ratio(case: pd.Series) -> str:
    bounds = (float(case[name]) for name in ("ratio", "ratio_low", "ratio_high"))
    return units.interval(*bounds)
