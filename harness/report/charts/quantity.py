"""The quantities that figures draw: where the table has them, in which unit, under which name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.errors import InputError, nearest
from harness.units import scale_of

NOTED: Final = "extra."
"""Prefix of a number, or a list of them, that a benchmark noted beside its sample."""

_COLUMNS: Final = {
    "gb_per_s": ("Throughput", "GB/s"),
    "efficiency": ("Share of the limit", ""),
    "return_seconds": ("Time until the call returned", "seconds"),
    "ideal_seconds": ("Ideal time", "seconds"),
    "bytes": ("Bytes to move", "bytes"),
    "read_bytes": ("Bytes read from the device", "bytes"),
}
_MORE_IS_BETTER: Final = frozenset({"gb_per_s", "efficiency"})


@dataclass(frozen=True)
class Quantity:
    """A number of every sample."""

    name: str
    """As a `FigureSpec` names it."""
    label: str
    unit: str
    """``seconds``, ``bytes``, ``GB/s``, …; empty for a plain number."""

    @property
    def more_is_better(self) -> bool:
        """Whether a speed-up is own over base; of times and other amounts it is base over own."""
        return self.name in _MORE_IS_BETTER

    @property
    def is_speed(self) -> bool:
        """Whether a ratio of two is a speed-up: of times or of throughputs."""
        return self.more_is_better or self.unit == "seconds"

    @property
    def better(self) -> str:
        """Return ``; less is better``, or more, or nothing of a number that is neither."""
        if self.more_is_better:
            return "; more is better"
        return "; less is better" if self.unit == "seconds" else ""

    def axis(self, largest: float) -> tuple[float, str]:
        """Return what to divide by on an axis that reaches ``largest``, and the axis' title."""
        scale, unit = scale_of(largest, self.unit)
        return scale, f"{self.label}, {unit}" if unit else self.label

    @property
    def column(self) -> str:
        """Return the title of a column that holds the number as it is."""
        return f"{self.label}, {self.unit}" if self.unit else self.label


def quantity_of(name: str, rows: pd.DataFrame, labels: Mapping[str, str]) -> Quantity:
    """Return what ``name`` means over these samples, which agree in their unit.

    Raises:
        InputError: there is no such quantity; the text names the nearest.
    """
    if name == "value":
        unit = str(rows["unit"].iloc[0])
        label = "Time" if unit == "seconds" else unit[:1].upper() + unit[1:] or "Value"
        label, unit = (label, unit) if unit == "seconds" else (label, "")
    elif name in _COLUMNS:
        label, unit = _COLUMNS[name]
    elif name.startswith(NOTED):
        label, unit = _noted(name.removeprefix(NOTED))
    else:
        known = ["value", *_COLUMNS, *_noted_names(rows["extra"])]
        raise InputError(f"there is no quantity {name!r}{nearest(name, known)}")
    return Quantity(name, labels.get(name, label), unit)


def numbers_of(name: str, rows: pd.DataFrame) -> pd.Series[float]:
    """Return the quantity of each sample, NaN where it has none.

    Raises:
        InputError: no sample has it; the text names what they have.
    """
    if name.startswith(NOTED):
        key = name.removeprefix(NOTED)
        found = rows["extra"].map(lambda noted: _number(noted, key)).astype(float)
    else:
        found = rows[name].astype(float)
    if found.isna().all():
        names = _noted_names(rows["extra"])
        hint = f"; the samples have {', '.join(names)}" if name.startswith(NOTED) and names else ""
        raise InputError(f"no sample has {name}{nearest(name, names) or hint}")
    return found


def lists_of(name: str, rows: pd.DataFrame) -> pd.Series[Any]:
    """Return the list of numbers that each sample noted, as an array; None where it has none.

    Raises:
        InputError: no sample has it, or one has something else there; the text names the case.
    """
    if not name.startswith(NOTED):
        raise InputError(f"{name} is one number a sample: expected a list of them, {NOTED}<name>")
    key = name.removeprefix(NOTED)
    noted = [item.get(key) if isinstance(item, Mapping) else None for item in rows["extra"]]
    found = [
        None if item is None else _array(item, f"{case}: {name}")
        for item, case in zip(noted, rows["case"], strict=True)
    ]
    if all(item is None for item in found):
        names = _noted_lists(rows["extra"])
        hint = f"; the samples have {', '.join(names)}" if names else ""
        raise InputError(f"no sample has the list {name}{nearest(name, names) or hint}")
    return pd.Series(found, index=rows.index, dtype=object)


def _array(noted: Any, where: str) -> npt.NDArray[np.float64]:
    """Return a noted list of numbers; one of none would be no line and no bar."""
    if not isinstance(noted, Sequence) or isinstance(noted, str):
        raise InputError(f"{where}: found {noted!r:.40}, expected a list of numbers")
    if not noted:
        raise InputError(f"{where}: found an empty list, expected a list of numbers")
    for place, item in enumerate(noted):
        is_number = isinstance(item, int | float) and not isinstance(item, bool)
        if not is_number or not math.isfinite(item):
            raise InputError(f"{where}[{place}]: found {item!r:.40}, expected a number")
    return np.asarray(noted, dtype=np.float64)


def _noted_lists(column: Iterable[Any]) -> list[str]:
    """Return the lists that any of the samples notes, as figures name them."""
    names = {
        str(name)
        for noted in column
        if isinstance(noted, Mapping)
        for name, item in noted.items()
        if isinstance(item, list)
    }
    return [NOTED + name for name in sorted(names)]


def _noted(key: str) -> tuple[str, str]:
    """Return label and unit of a noted number, whose name may be or end in its unit."""
    if key == "seconds":
        return "Time", key
    if key == "bytes":
        return "Bytes", key
    for unit in ("seconds", "bytes"):
        if key.endswith(f"_{unit}"):
            return _words(key.removesuffix(f"_{unit}")), unit
    return _words(key), ""


def _words(name: str) -> str:
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def _noted_names(column: Iterable[Any]) -> list[str]:
    """Return the numbers that any of the samples notes, as figures name them."""
    names = {
        str(name)
        for noted in column
        if isinstance(noted, Mapping)
        for name in noted
        if not np.isnan(_number(noted, name))
    }
    return [NOTED + name for name in sorted(names)]


def _number(noted: Any, key: str) -> float:
    value = noted.get(key) if isinstance(noted, Mapping) else None
    is_number = isinstance(value, int | float)
    return float(value) if is_number and value is not None else float("nan")
