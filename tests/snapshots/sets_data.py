"""Small labelled data sets in memory, for models that are trained within a test."""

from __future__ import annotations

import numpy as np
import torch

from bench_core.data import Dataset, Images, SearchData, Vectors


def clusters(
    shape: tuple[int, ...] = (64,), n_classes: int = 4, n_train: int = 160, n_test: int = 80
) -> SearchData:
    """Return a cluster for each class, vectors or images, far enough apart to be learnt at once."""
    random = np.random.default_rng(7)
    centres = random.normal(size=(n_classes, *shape))
    classes = [f"class-{index}" for index in range(n_classes)]

    def side(count: int) -> Dataset:
        labels = np.arange(count, dtype=np.int64) % n_classes
        items = centres[labels] + random.normal(size=(count, *shape))
        if len(shape) == 1:
            return Vectors("clusters", torch.from_numpy(items.astype(np.float32)), labels, classes)
        images = (items * 40 + 128).clip(0, 255).astype(np.uint8)
        return Images("clusters", torch.from_numpy(images), labels, classes)

    return SearchData(train=side(n_train), test=side(n_test))
