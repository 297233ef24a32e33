"""Features and labels for the tests of proxy scores."""

from __future__ import annotations

import torch
from torch import Tensor

from bench_core.model_search.proxies import Features, Task


def cut(n: int, size: int) -> tuple[int, ...]:
    """Return batches of ``size``, the last one smaller."""
    return tuple(min(size, n - start) for start in range(0, n, size))


def task_of(train: Tensor, test: Tensor, n_classes: int, batch: int = 32) -> Task:
    """Return a task of these labels."""
    return Task(train, test, n_classes, cut(len(train), batch), cut(len(test), batch))


def random_task(n_train: int, n_test: int, n_classes: int, seed: int = 0, batch: int = 32) -> Task:
    """Return random labels, of which the first two train labels differ."""
    generator = torch.Generator().manual_seed(seed)
    train = torch.randint(0, n_classes, (n_train,), generator=generator)
    train[:2] = torch.tensor([0, 1])
    test = torch.randint(0, n_classes, (n_test,), generator=generator)
    return task_of(train, test, n_classes, batch)


def uneven_task(n_train: int, n_test: int, n_classes: int, seed: int = 0) -> Task:
    """Return labels of which each class has half of the items that are left, the last ones one."""
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(n_train, generator=generator)
    train = (-torch.log2(1 - order / n_train)).floor().long().clamp_max(n_classes - 1)
    test = train[torch.randint(0, n_train, (n_test,), generator=generator)]
    return task_of(train, test, n_classes)


def features_of(task: Task, dim: int, apart: float, seed: int = 0, source: int = 7) -> Features:
    """Return features whose classes lie ``apart`` times their spread from each other."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(task.n_classes, dim, generator=generator)
    logits = torch.randn(task.n_classes, source, generator=generator)

    def around(points: Tensor, labels: Tensor) -> Tensor:
        noise = torch.randn(len(labels), points.shape[1], generator=generator)
        return apart * points[labels] + noise

    labels = (task.train_labels, task.test_labels)
    return Features(
        *(around(centres, part) for part in labels), *(around(logits, part) for part in labels)
    )


def case_of(
    kind: str, n: int, dim: int, n_classes: int, apart: float, seed: int = 0
) -> tuple[Features, Task]:
    """Return features and labels of a kind.

    ``even``; ``uneven``: classes of unequal size; ``deficient``: every feature twice, among unequal
    classes; ``constant``: one feature is always 0.1, which no float can be.
    """
    task = random_task(n, 40, n_classes, seed) if kind == "even" else uneven_task(n, 40, n_classes)
    found = features_of(task, dim, apart, seed)
    if kind == "deficient":
        return Features(found.train.repeat(1, 2), found.test.repeat(1, 2), found.train_source), task
    if kind == "constant":
        found.train[:, 0], found.test[:, 0] = 0.1, 0.1
    return found, task


KINDS = ("even", "uneven", "deficient", "constant")
