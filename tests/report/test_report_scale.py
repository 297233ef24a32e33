from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from chart_builders import spec
from report_builders import SIZE, combinations, header, write_run

from harness.records import Record
from harness.report.analysis import analyse
from harness.report.build import MOST_FIGURES, build
from harness.report.load import load

RECORDS = 10_000
FORMATS = [*(f"peer{number}" for number in range(8)), "direct", "auto"]
WORK = "layer_loading.Work0.time_load"
FRESH = {"destination": ["fresh"]}
ONE = {**FRESH, "model": ["bert"], "cache": ["warm"]}
FIGURES = (
    spec("grouped_bars", x="model", series="format", panel="cache", base="peer0", select=FRESH),
    spec("stacked_bars", x="model", series="format", select={**FRESH, "cache": ["warm"]}),
    spec("lines", x="model", series="format", select={**FRESH, "cache": ["warm"]}),
    spec("heat_map", x="model", y="format", panel="cache", select=FRESH),
    spec("scatter", x="extra.score_seconds", series="format", panel="cache"),
    spec("ecdf", series="format", panel="cache", select={**FRESH, "model": ["bert"]}),
    spec("anytime", series="format", select=ONE),
    spec(
        "timeline",
        x="extra.seconds",
        value="extra.best",
        series="format",
        select=ONE,
        thresholds=[0.6],
    ),
    spec("histogram", value="extra.layers", series="format", select=ONE),
)


def many_records() -> list[Record]:
    """Return samples of ten benchmarks or so, of ten contenders each under 16 conditions."""
    random = np.random.default_rng(0)
    cases = combinations(
        format=FORMATS,
        cache=["warm", "cold_file"],
        destination=["fresh", "existing"],
        model=["resnet18", "bert", "vit_l_32", "stack_32x8MiB"],
    )
    return [
        _record(number, cases[number % len(cases)], len(cases), float(random.normal(0, 0.05)))
        for number in range(RECORDS)
    ]


def _record(number: int, params: dict[str, str], cases: int, noise: float) -> Record:
    value = 0.05 * (1 + FORMATS.index(params["format"])) * math.exp(noise)
    return Record(
        benchmark=f"layer_loading.Work{number // (6 * cases)}.time_load",
        params=params,
        value=value,
        bytes=SIZE,
        ideal_seconds=0.04,
        cache={"state": params["cache"], "proved": True},
        round=number // cases % 6,
        process=number % 2,
        started_at="2026-11-21T08:15:01.000+00:00",
        extra={
            "phases": {"open": 0.1 * value, "read": 0.6 * value, "copy": 0.3 * value},
            "score_seconds": value / 3,
            "curve": [[value / 2, 0.5], [value, 0.6]],
            "seconds": [value / 2, value],
            "best": [0.5, 0.6],
            "layers": [0, number % 7],
        },
    )


@pytest.mark.slow
def test_ten_thousand_records_give_every_figure(tmp_path: Path) -> None:
    figures = [
        item.model_copy(update={"name": item.kind, "benchmark": WORK}).model_dump()
        for item in FIGURES
    ]
    folder = tmp_path / "big" / "box-1"
    folder.mkdir(parents=True)
    (folder / "experiment.json").write_text("{}")
    records = many_records()
    for shard in range(4):
        head = header(f"r{shard}", section="big", settings={"figures": figures, "code": "c" * 64})
        write_run(folder / f"{shard}.jsonl", records[shard::4], head)

    analysis = analyse(load([folder]))
    report = build(analysis, tmp_path / "out", processes=2)

    assert len(analysis.results.samples) == RECORDS
    assert report.notes == ()
    names = {path.name for path in report.files if path.suffix == ".pdf"}
    assert {f"big_{item.kind}.pdf" for item in FIGURES} <= names
    assert len(names) == len(FIGURES) + MOST_FIGURES
    page = report.page.read_text(encoding="utf-8")
    assert page.count("<img ") == len(names)
