"""Samples of a small model search, and figures of them, for the tests of charts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from report_builders import combinations, header, write_run

from harness.figure_spec import FigureSpec
from harness.records import Record
from harness.report.load import load
from harness.report.table import Results

SEARCH = "model_search.Search.time_search"
BASE = {"resnet18": 8.0, "vit_l_32": 12.0}
"""Median seconds of the base engine on 1000 items; more items take as much longer."""
SPEED_UPS = {"base": 1.0, "shift": 1.25, "alsatian": 6.72}
NOISE = (-0.2, -0.1, 0.0, 0.0, 0.1, 0.2)
"""Seconds beside the median, so that medians are exact and the quartiles are 0.075 away."""


def sample(value: float | None, params: Mapping[str, Any], **changed: Any) -> Record:
    """Return one sample of a search."""
    fields: dict[str, Any] = {
        "benchmark": SEARCH,
        "bytes": 4_000_000_000,
        "cache": {"state": "cold_file", "proved": True},
        "process": 7,
        "started_at": "2026-11-21T08:15:01.000+00:00",
    }
    return Record(params=dict(params), value=value, **{**fields, **changed})


def median_of(params: Mapping[str, Any]) -> float:
    """Return the median seconds of a case."""
    return BASE[params["model"]] * params["items"] / 1000 / SPEED_UPS[params["engine"]]


def searches(**changed: Any) -> list[Record]:
    """Return six samples of each engine, model and number of items, with phases and notes."""
    axes = {"engine": list(SPEED_UPS), "model": list(BASE), "items": [1000, 2000, 8000], **changed}
    return [
        sample(
            value := median_of(params) + noise,
            params,
            round=number,
            extra={
                "phases": {"prepare": 0.25 * value, "inference": 0.75 * value},
                "top1": 0.5 + params["items"] / 100_000,
                "curve": [[value / 4, 0.5], [value / 2, 0.7], [value, 0.8 + noise / 10]],
                "seconds": [value / 4, value / 2, value],
                "best_accuracy": [0.5, 0.7, 0.8 + noise / 10],
                "transferred_layers": [0, 0, 3, params["items"] // 1000, number],
            },
        )
        for number, noise in enumerate(NOISE)
        for params in combinations(**axes)
    ]


def results_of(folder: Path, records: Iterable[Record], **head: Any) -> Results:
    """Write a run's file and load it."""
    return load([write_run(folder / "run.jsonl", records, header(**head))])


def spec(kind: str, **fields: Any) -> FigureSpec:
    """Return a figure of one of the kinds."""
    return FigureSpec.model_validate({"name": "fig", "kind": kind, **fields})


BARS = spec(
    "grouped_bars",
    x="model",
    series="engine",
    panel="items",
    base="base",
    labels={"shift": "SHiFT", "items": "Items"},
)
ONE_CASE = {"model": ["resnet18"], "items": [1000]}
KINDS = {
    "grouped_bars": BARS,
    "stacked_bars": spec("stacked_bars", x="model", series="engine", panel="items"),
    "lines": spec("lines", x="items", series="engine", panel="model", log=["x", "y"]),
    "heat_map": spec("heat_map", x="items", y="model", panel="engine"),
    "scatter": spec("scatter", x="value", value="extra.top1", series="engine", panel="model"),
    "ecdf": spec("ecdf", series="engine", panel="model", select={"items": [1000]}, log=["x"]),
    "anytime": spec("anytime", series="engine", select=ONE_CASE, labels={"value": "Accuracy"}),
    "timeline": spec(
        "timeline",
        x="extra.seconds",
        value="extra.best_accuracy",
        series="engine",
        panel="model",
        select={"items": [1000]},
        thresholds=[0.7, 0.95],
    ),
    "histogram": spec(
        "histogram",
        value="extra.transferred_layers",
        series="engine",
        panel="items",
        select={"model": ["resnet18"]},
    ),
}
"""One figure of each kind."""
