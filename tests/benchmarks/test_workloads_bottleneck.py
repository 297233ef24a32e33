"""Scoring one model as a workload: processes that decode or read change no feature."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.model_bottleneck import ScoreOneModel


@pytest.mark.parametrize("split", ["none", "last_3"])
@pytest.mark.parametrize("architecture", ["resnet_tiny", "bert_tiny"])
def test_workers_read_what_the_process_itself_reads(
    architecture: str, split: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path))
    scored = []
    for num_workers in (0, 2):
        values = (architecture, split, 40, 16, num_workers)
        record = ScoreOneModel().sample("time_score", *values)
        # That the features are the whole model's is checked by the benchmark.
        assert (record.status, record.reason) == ("ok", None)
        assert set(record.extra["phases"]) == {
            "prepare_model",
            "prepare_data",
            "inference",
            "proxy_score",
        }
        scored.append(record.extra["accuracy"])
    assert scored[0] == scored[1]
