"""LogME, H-score, LEEP, NCE and TransRate against their papers' formulas, written out slowly."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from proxy_cases import KINDS, case_of, features_of, random_task, task_of

from bench_core.model_search.proxies import Features, Task, get

Matrix = npt.NDArray[np.float64]
SIZES = [(60, 8, 3), (40, 39, 4), (30, 70, 3), (24, 5, 2)]


def arrays(features: Features, task: Task) -> tuple[Matrix, npt.NDArray[np.int64]]:
    return features.train.double().numpy(), task.train_labels.numpy()


def log_evidence(items: Matrix, target: Matrix, alpha: float, beta: float) -> float:
    """The log evidence of You et al. for given precisions."""
    n, dim = items.shape
    a = alpha * np.eye(dim) + beta * items.T @ items
    m = beta * np.linalg.solve(a, items.T @ target)
    return float(
        n / 2 * np.log(beta)
        + dim / 2 * np.log(alpha)
        - n / 2 * np.log(2 * np.pi)
        - beta / 2 * ((items @ m - target) ** 2).sum()
        - alpha / 2 * (m @ m)
        - np.linalg.slogdet(a)[1] / 2
    )


def logme_slowly(items: Matrix, labels: npt.NDArray[np.int64]) -> float:
    """Algorithm 1 of You et al., iterated until nothing changes."""
    n, dim = items.shape
    scores = []
    for label in np.unique(labels):
        target = (labels == label).astype(float)
        alpha = beta = 1.0
        for _ in range(1000):
            a = alpha * np.eye(dim) + beta * items.T @ items
            m = beta * np.linalg.solve(a, items.T @ target)
            gamma = beta * np.trace(np.linalg.solve(a, items.T @ items))
            alpha = gamma / (m @ m)
            beta = (n - gamma) / ((items @ m - target) ** 2).sum()
        scores.append(log_evidence(items, target, alpha, beta) / n)
    return float(np.mean(scores))


@pytest.mark.parametrize(
    ("n", "dim", "n_classes", "apart"),
    [(60, 8, 3, 1.0), (40, 39, 4, 0.3), (30, 70, 3, 0.3), (24, 5, 2, 1.0)],
)
@pytest.mark.parametrize("kind", KINDS)
def test_logme_is_the_evidence_at_the_fixed_point(
    kind: str, n: int, dim: int, n_classes: int, apart: float
) -> None:
    features, task = case_of(kind, n, dim, n_classes, apart)
    found = get("logme").score([features], task, 0)[0]
    assert found.value == pytest.approx(logme_slowly(*arrays(features, task)), rel=1e-6)
    assert found.steps > 1


def test_logme_is_a_maximum_of_the_evidence() -> None:
    task = random_task(60, 5, 2)
    features = features_of(task, 8, 0.3)
    items, labels = arrays(features, task)
    grid = [10**power for power in np.linspace(-1, 5, 49)]
    best = np.mean(
        [
            max(log_evidence(items, (labels == c).astype(float), a, b) for a in grid for b in grid)
            for c in (0, 1)
        ]
    )
    found = get("logme").score([features], task, 0)[0].value * 60
    assert best <= found + 1e-9
    assert best == pytest.approx(found, abs=0.1)


def test_logme_of_labels_that_features_explain_entirely_is_finite_and_high() -> None:
    task = random_task(40, 5, 3)
    exact = torch.eye(3)[task.train_labels]
    noise = features_of(task, 3, 0.0)
    found = get("logme").score(
        [Features(exact, exact[:5]), Features(noise.train, noise.test)], task, 0
    )
    assert math.isfinite(found[0].value)
    assert found[0].value > found[1].value + 5


def h_score_slowly(items: Matrix, labels: npt.NDArray[np.int64], weight: float) -> float:
    """The trace of Bao et al. with the covariance drawn to the identity."""
    n, dim = items.shape
    centred = items - items.mean(0)
    covariance = centred.T @ centred / n
    means = np.stack([centred[labels == label].mean(0) for label in labels])
    between = means.T @ means / n
    shrunk = (1 - weight) * covariance + weight * np.trace(covariance) / dim * np.eye(dim)
    return float((1 - weight) * np.trace(np.linalg.pinv(shrunk, rcond=1e-10) @ between))


@pytest.mark.parametrize(("n", "dim", "n_classes"), SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_h_score_is_the_trace_of_the_formula(kind: str, n: int, dim: int, n_classes: int) -> None:
    covariance = pytest.importorskip("sklearn.covariance")
    features, task = case_of(kind, n, dim, n_classes, 1.5)
    items, labels = arrays(features, task)
    weight = float(covariance.ledoit_wolf_shrinkage(items))
    assert 0 < weight < 1
    found = get("hscore").score([features], task, 0)[0].value
    assert found == pytest.approx(h_score_slowly(items, labels, weight), rel=1e-6)
    plain = get("hscore", shrink=False).score([features], task, 0)[0].value
    assert plain == pytest.approx(h_score_slowly(items, labels, 0.0), rel=1e-6)


def test_plain_h_score_is_classes_less_one_when_classes_are_points() -> None:
    task = random_task(60, 5, 4)
    points = features_of(task, 8, 1.0).train[:4][task.train_labels]
    features = Features(points, points[:5])
    assert get("hscore", shrink=False).score([features], task, 0)[0].value == pytest.approx(3)


def leep_slowly(logits: Matrix, labels: npt.NDArray[np.int64]) -> float:
    """The empirical prediction of Nguyen et al., summed up."""
    theta = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    n, n_source = theta.shape
    joint = np.zeros((labels.max() + 1, n_source))
    for i in range(n):
        for z in range(n_source):
            joint[labels[i], z] += theta[i, z] / n
    total = 0.0
    for i in range(n):
        given = [joint[labels[i], z] / joint[:, z].sum() for z in range(n_source)]
        total += math.log(sum(g * t for g, t in zip(given, theta[i], strict=True)))
    return total / n


def nce_slowly(logits: Matrix, labels: npt.NDArray[np.int64]) -> float:
    """The sum over pairs of classes of Tran et al."""
    source, n, total = logits.argmax(1), len(labels), 0.0
    for z in set(source.tolist()):
        for y in set(labels.tolist()):
            both = int(((source == z) & (labels == y)).sum())
            if both:
                total += both / n * math.log(both / int((source == z).sum()))
    return total


@pytest.mark.parametrize("seed", range(5))
def test_h_score_of_a_single_feature_needs_no_shrinking(seed: int) -> None:
    task = random_task(50, 5, 3)
    features = [features_of(task, 1, 2.0, seed)]
    shrunk, plain = (
        get("hscore", shrink=s).score(features, task, 0)[0].value for s in (True, False)
    )
    assert shrunk == plain > 0


@pytest.mark.parametrize(("n", "dim", "n_classes"), SIZES)
@pytest.mark.parametrize("kind", ["even", "uneven"])
def test_leep_and_nce_are_their_sums(kind: str, n: int, dim: int, n_classes: int) -> None:
    features, task = case_of(kind, n, dim, n_classes, 0.5)
    assert features.train_source is not None
    logits, labels = features.train_source.double().numpy(), task.train_labels.numpy()
    found = get("leep").score([features], task, 0)[0].value
    assert found == pytest.approx(leep_slowly(logits, labels), rel=1e-12)
    found = get("nce").score([features], task, 0)[0].value
    assert found == pytest.approx(nce_slowly(logits, labels), rel=1e-12)


@pytest.mark.parametrize("name", ["leep", "nce"])
def test_source_classes_that_decide_the_label_leave_nothing_open(name: str) -> None:
    task = random_task(60, 5, 3)
    sure = 1000.0 * torch.eye(6)[task.train_labels + 3 * (torch.arange(60) % 2)]
    unsure = torch.zeros(60, 6)
    features = [Features(torch.ones(60, 2), torch.ones(5, 2), part) for part in (sure, unsure)]
    best, worst = (score.value for score in get(name).score(features, task, 0))
    shares = (task.train_labels.bincount() / 60).double()
    assert best == pytest.approx(0)
    assert worst == pytest.approx(float((shares * shares.log()).sum()))


def rate_slowly(items: Matrix, distortion: float) -> float:
    """The rate distortion of Huang et al."""
    n, dim = items.shape
    return float(np.linalg.slogdet(np.eye(dim) + items.T @ items / (n * distortion))[1] / 2)


@pytest.mark.parametrize(("n", "dim", "n_classes"), SIZES)
@pytest.mark.parametrize("distortion", [1e-4, 0.5])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by_items", [True, False])
def test_transrate_is_the_difference_of_the_rates(
    n: int, dim: int, n_classes: int, distortion: float, kind: str, by_items: bool
) -> None:
    features, task = case_of(kind, n, dim, n_classes, 0.5)
    items, labels = arrays(features, task)
    items = items - items.mean(0)
    classes = np.unique(labels)
    within = sum(
        rate_slowly(items[labels == c], distortion)
        * ((labels == c).mean() if by_items else 1 / len(classes))
        for c in classes
    )
    proxy = get("transrate", distortion=distortion, by_items=by_items)
    found = proxy.score([features], task, 0)[0].value
    assert found == pytest.approx(rate_slowly(items, distortion) - within, rel=1e-7)


@pytest.mark.parametrize("name", ["logme", "hscore", "leep", "nce", "transrate"])
def test_only_the_train_items_count(name: str) -> None:
    task = random_task(40, 10, 3)
    features = features_of(task, 8, 0.5)
    other = Features(features.train, features.test + 3, features.train_source)
    others = task_of(task.train_labels, 2 - task.test_labels, 3)
    assert get(name).score([other], others, 0) == get(name).score([features], task, 0)


@pytest.mark.parametrize("name", ["hscore", "transrate"])
def test_a_shift_of_all_features_changes_nothing_but_rounding(name: str) -> None:
    task = random_task(40, 10, 3)
    features = features_of(task, 8, 0.5)
    moved = Features(features.train + 2, features.test + 2)
    first, second = (score.value for score in get(name).score([features, moved], task, 0))
    assert second == pytest.approx(first, rel=1e-5)


def test_h_score_does_not_depend_on_the_scale() -> None:
    task = random_task(40, 10, 3)
    features = features_of(task, 8, 0.5)
    scaled = Features(features.train * 64, features.test * 64)
    first, second = (score.value for score in get("hscore").score([features, scaled], task, 0))
    assert second == pytest.approx(first, rel=1e-12)
