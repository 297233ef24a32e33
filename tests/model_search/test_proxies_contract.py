"""What holds for every proxy score: independence of the other models, flaws, refusals."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from proxy_cases import features_of, random_task, task_of

from bench_core.errors import UnknownNameError
from bench_core.model_search.proxies import Features, ProxyError, Task, get, names

SHAPES = [(40, 20, 2), (33, 9, 5), (26, 600, 3), (150, 64, 10)]
COMPARING = ["logme", "hscore", "leep", "nce", "transrate"]


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(("n", "dim", "n_classes"), SHAPES)
def test_a_score_is_the_same_bits_alone_and_among_others(
    name: str, n: int, dim: int, n_classes: int
) -> None:
    task = random_task(n, 30, n_classes)
    models = [features_of(task, dim, apart, seed) for seed, apart in enumerate([0.1, 0.4, 1, 0.2])]
    proxy = get(name)
    together = proxy.score(models, task, 3)
    assert together == [proxy.score([one], task, 3)[0] for one in models]
    assert together == proxy.score(models[::-1], task, 3)[::-1]
    assert len(set(together)) > 1


@pytest.mark.parametrize("name", names())
def test_identical_features_tie_wherever_they_lie_in_memory(name: str) -> None:
    task = random_task(60, 30, 4)
    one = features_of(task, 37, 0.3)

    def moved(tensor: torch.Tensor, by: int) -> torch.Tensor:
        room = torch.empty(tensor.numel() + by)
        room[by:] = tensor.flatten()
        return room[by:].view(tensor.shape)

    copies = [
        Features(*(moved(getattr(one, f.name), by) for f in dataclasses.fields(one)))
        for by in (0, 1, 3, 8)
    ]
    turned = [Features(*(getattr(one, f.name).T.contiguous().T for f in dataclasses.fields(one)))]
    assert len(set(get(name).score([one, *copies, *turned], task, 0))) == 1


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("threads", [1, 2])
def test_threads_decide_nothing_and_stay_as_they_were(name: str, threads: int) -> None:
    task = random_task(300, 100, 10)
    models = [features_of(task, 96, 0.2, seed) for seed in range(2)]
    expected = get(name).score(models, task, 0)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert get(name).score(models, task, 0) == expected
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_model_with_nan_or_infinite_features_has_no_score(name: str, wrong: float) -> None:
    task = random_task(40, 20, 3)
    good, bad = features_of(task, 8, 1), features_of(task, 8, 1)
    bad.train[5, 3] = wrong
    scores = get(name).score([bad, good, bad], task, 0)
    assert scores[0] == scores[2]
    assert (scores[0].value, scores[0].loss, scores[0].steps) == (-math.inf, None, 0)
    assert "NaN or infinity" in scores[0].note
    assert scores[1] == get(name).score([good], task, 0)[0]
    assert math.isfinite(scores[1].value)


def test_features_beyond_float32_have_no_score_and_shorter_ones_do() -> None:
    task = random_task(40, 20, 3)
    good = features_of(task, 8, 1)
    short = Features(good.train.bfloat16(), good.test.bfloat16())
    wide = Features(good.train.double() * 1e200, good.test.double())
    first, second = get("ridge").score([short, wide], task, 0)
    assert (
        first == get("ridge").score([Features(short.train.float(), short.test.float())], task, 0)[0]
    )
    assert first.value > 0.5
    assert second.value == -math.inf


@pytest.mark.parametrize("name", names())
def test_items_that_are_all_alike_are_no_error(name: str) -> None:
    task = random_task(40, 20, 3)
    features = Features(torch.zeros(40, 6), torch.zeros(20, 6), torch.zeros(40, 4))
    score = get(name).score([features], task, 0)[0]
    assert not math.isnan(score.value)
    # A classifier gives all items the same label, so it is right for one class's share.
    shares = [count / 20 for count in task.test_labels.bincount().tolist()]
    assert score.value <= 0 or score.value in shares


@pytest.mark.parametrize("name", names())
def test_features_that_suit_score_higher_than_noise(name: str) -> None:
    task = random_task(120, 60, 4)
    models = [features_of(task, 24, apart, seed=5) for apart in (0.0, 0.3, 3.0)]
    values = [score.value for score in get(name).score(models, task, 0)]
    assert values == sorted(values)
    assert values[0] < values[2]


@pytest.mark.parametrize("name", names())
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_renaming_the_classes_changes_little(name: str, data: st.DataObject) -> None:
    task = random_task(60, 40, 4)
    order = torch.tensor(data.draw(st.permutations(range(4))))
    renamed = task_of(order[task.train_labels], order[task.test_labels], 4)
    features = features_of(task, 12, 1.0)
    options: dict[str, Any] = {"epochs": 3} if name == "linear" else {}
    first = get(name, **options).score([features], task, 0)[0].value
    second = get(name, **options).score([features], renamed, 0)[0].value
    # The linear head starts from another draw for each class; a vote's tie may fall otherwise.
    assert second == pytest.approx(first, abs=0.2 if name in ("linear", "knn") else 1e-9)


@pytest.mark.parametrize("name", [name for name in names() if name != "linear"])
@given(data=st.data())
@settings(max_examples=8, deadline=None)
def test_the_order_of_the_items_changes_nothing_but_rounding(
    name: str, data: st.DataObject
) -> None:
    task = random_task(40, 20, 3)
    features = features_of(task, 12, 0.5)
    order = torch.tensor(data.draw(st.permutations(range(40))))
    assert features.train_source is not None
    moved = Features(features.train[order], features.test, features.train_source[order])
    moved_task = task_of(task.train_labels[order], task.test_labels, 3)
    first, second = (
        get(name).score([f], t, 0)[0] for f, t in ((features, task), (moved, moved_task))
    )
    assert second.value == pytest.approx(first.value, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", COMPARING)
def test_fewer_items_than_classes_are_refused_by_what_compares_classes(name: str) -> None:
    task = random_task(6, 5, 8)
    with pytest.raises(ProxyError, match=r"as many training items as classes, 8, .* has 6"):
        get(name).score([features_of(task, 4, 1)], task, 0)


@pytest.mark.parametrize("name", [name for name in names() if name not in COMPARING])
def test_fewer_items_than_classes_are_enough_for_a_classifier(name: str) -> None:
    task = random_task(6, 5, 8)
    score = get(name).score([features_of(task, 4, 1)], task, 0)[0]
    assert 0 <= score.value <= 1


@pytest.mark.parametrize("name", COMPARING)
def test_classes_that_do_not_occur_change_nothing(name: str) -> None:
    task = random_task(40, 20, 3)
    wider = dataclasses.replace(task, n_classes=9)
    features = [features_of(task, 8, 1)]
    assert get(name).score(features, wider, 0) == get(name).score(features, task, 0)


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_a_missing_source_is_refused(name: str) -> None:
    task = random_task(20, 10, 3)
    features = features_of(task, 8, 1)
    with pytest.raises(ProxyError, match="needs the logits of the classifier"):
        get(name).score([Features(features.train, features.test)], task, 0)


def test_no_model_has_no_score() -> None:
    assert get("linear").score([], random_task(20, 10, 3), 0) == []


@pytest.mark.parametrize(
    ("train", "test", "text"),
    [
        (torch.ones(19, 4), torch.ones(10, 4), r"train features of shape \(19, 4\)"),
        (torch.ones(20, 4), torch.ones(10), r"test features of shape \(10,\)"),
        (torch.ones(20, 0), torch.ones(10, 0), r"\(20, 0\)"),
        (torch.ones(20, 4), torch.ones(10, 5), "4 numbers an item, but test features of 5"),
    ],
)
def test_features_that_do_not_fit_are_refused(
    train: torch.Tensor, test: torch.Tensor, text: str
) -> None:
    with pytest.raises(ProxyError, match=text):
        get("ridge").score([Features(train, test)], random_task(20, 10, 3), 0)


@pytest.mark.parametrize(
    ("train", "test", "text"),
    [
        ([1, 1, 1], [0], "all 3 training labels are of class 1"),
        ([], [0], r"training labels of shape \(0,\)"),
        ([0, 1], [], r"test labels of shape \(0,\)"),
        ([0, 3], [0], "from 0 to 3, but 0 to 2"),
        ([0, 1], [-1], "from -1 to -1"),
        ([0.0, 1.0], [0], "torch.float32"),
    ],
)
def test_labels_that_mean_nothing_are_refused(
    train: list[float], test: list[float], text: str
) -> None:
    def row(labels: list[float]) -> torch.Tensor:
        return torch.tensor(labels, dtype=None if labels else torch.int64)

    with pytest.raises(ProxyError, match=text):
        task_of(row(train), row(test), 3)


@pytest.mark.parametrize("batches", [(2,), (2, 2), (3, 0), ()])
def test_batches_that_do_not_add_up_are_refused(batches: tuple[int, ...]) -> None:
    with pytest.raises(ProxyError, match="do not add up to 3"):
        Task(torch.tensor([0, 1, 0]), torch.tensor([0]), 2, batches, (1,))


def test_an_unknown_name_or_setting_is_refused_with_what_there_is() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'ridge'"):
        get("rigde")
    with pytest.raises(ProxyError, match=r"no setting 'epoch'.*did you mean 'epochs'"):
        get("linear", epoch=3)
    with pytest.raises(ProxyError, match="it has none"):
        get("leep", epochs=3)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("linear", {"learning_rate": 0}),
        ("linear", {"epochs": 1.5}),
        ("linear", {"epochs": "9"}),
        ("ridge", {"penalty": -1}),
        ("logistic", {"inverse_penalty": math.nan}),
        ("logistic", {"max_iterations": 0}),
        ("knn", {"neighbours": 0}),
        ("knn", {"metric": "manhattan"}),
        ("logme", {"max_iterations": True}),
        ("transrate", {"distortion": math.inf}),
    ],
)
def test_a_setting_out_of_range_is_refused(name: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ProxyError, match=r"expected"):
        get(name, **wrong)
