"""Searches by evolution as workloads: what they note, and that wrong answers fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bench_core.weight_transfer import applications, evolution
from bench_core.weight_transfer.evolution import Evolution, MethodRecipe, Setup, search
from bench_core.weight_transfer.methods.store_method import StoreMethod
from benchmarks.evolution import VARIANTS, Search
from benchmarks.evolution_engines import SearchEngine
from harness.errors import InputError
from harness.records import Record


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CORE_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def sample(method: str, application: str = "digits", workers: int = 1) -> Record:
    return Search().sample("time_search", method, application, 8, 3, 2, 1, 1, workers)


@pytest.mark.parametrize("method", [name for name in VARIANTS if "redis" not in name])
def test_a_search_leaves_its_course(method: str, data: Path) -> None:
    record = sample(method)
    assert (record.status, record.reason) == ("ok", None)
    extra = record.extra
    for name in ("seconds", "best_accuracy", "mean_accuracy", "stored_bytes", "logical_bytes"):
        assert len(extra[name]) == 8, name
    assert extra["best_accuracy"] == sorted(extra["best_accuracy"])
    assert extra["best"] == extra["best_accuracy"][-1]
    assert extra["seconds"][-1] <= record.value
    assert len(extra["transferred_layers"]) == 5
    assert sum(extra["phases"].values()) == pytest.approx(extra["seconds"][-1], rel=0.01)
    assert any(extra["transferred_layers"]) == (method != "no_transfer")
    assert not list(data.rglob("*.safetensors"))


def test_contenders_begin_alike() -> None:
    one, two = sample("no_transfer"), sample("store")
    assert one.extra["accuracy"][:3] == two.extra["accuracy"][:3]


def test_other_processes_train_the_candidates() -> None:
    record = sample("store", workers=2)
    assert (record.status, record.reason) == ("ok", None)


def test_an_engine_that_finds_something_else_is_a_failed_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = SearchEngine().sample("time_search", "processes", 6, 2)
    assert (record.status, record.reason) == ("ok", None)
    about = applications.get("toy_regression")
    method = MethodRecipe("store", servers=("memory:",))
    settings = Evolution(
        candidates=6, population=4, sample=2, seed=5, in_flight=2, is_synchronous=True
    )
    other = search(Setup(about.space, about.task, method, about.plan), settings)
    monkeypatch.setattr(
        evolution, "search", lambda *given, **engine: other if engine else search(*given)
    )
    record = SearchEngine().sample("time_search", "processes", 6, 2)
    assert record.status == "failed"
    assert record.reason is not None and "on the serial engine" in record.reason


def test_a_model_that_came_back_otherwise_is_a_failed_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    get = StoreMethod.get

    def worse(self: StoreMethod, model: int) -> dict[str, torch.Tensor]:
        return {name: torch.zeros_like(value) for name, value in get(self, model).items()}

    monkeypatch.setattr(StoreMethod, "get", worse)
    record = sample("store")
    assert record.status == "failed"
    assert record.reason is not None and "a kept model scores" in record.reason


def test_bytes_that_nobody_has_any_more_are_a_failed_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def leaky(self: StoreMethod, model: int) -> int:
        return 0

    monkeypatch.setattr(StoreMethod, "retire", leaky)
    record = sample("store")
    assert record.status == "failed"
    assert record.reason is not None and "bytes are left" in record.reason


@pytest.mark.parametrize(
    ("name", "value"), [("method", "storr"), ("application", "digit"), ("method", 3)]
)
def test_a_name_that_does_not_exist_is_refused_when_planned(name: str, value: Any) -> None:
    with pytest.raises(InputError, match="expected one of"):
        Search.check_param(name, value)


@pytest.mark.parametrize("name", applications.names())
def test_the_architectures_of_an_application_fit_its_task(name: str) -> None:
    import numpy as np

    from bench_core.weight_transfer.layers import out_shape

    about = applications.get(name)
    graph = about.space.build(about.space.random(1, np.random.default_rng(0))[0])
    first = [
        out_shape(layer)
        for layer, before in zip(graph.layers, graph.predecessors, strict=True)
        if not before
    ]
    settings = dict(about.task.settings)
    few = {} if name.startswith("digits") else {"n_train": 4, "n_validation": 4}
    task = type(about.task).of(about.task.name, **{**settings, **few}).open()
    assert tuple(first) == task.shapes
    assert out_shape(graph.layers[-1]) == (task.outputs,)
