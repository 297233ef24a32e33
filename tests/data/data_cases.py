"""Small folders of images and reviews, and the bits of batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench_core.data import Inputs

CLASSES = ("ant", "bee", "cat")


def write_images(root: Path, n_train: int = 6, n_test: int = 3, *, suffix: str = ".png") -> Path:
    """Write random images of differing sizes, ``n_train`` and ``n_test`` of each class."""
    random = np.random.default_rng(3)
    for side, count in (("train", n_train), ("test", n_test)):
        for name in CLASSES:
            folder = root / side / name
            folder.mkdir(parents=True)
            for index in range(count):
                height, width = random.integers(20, 60, 2)
                pixels = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}{suffix}")
    return root


def write_reviews(root: Path, n_train: int = 8, n_test: int = 4) -> Path:
    """Write short reviews, ``n_train`` and ``n_test`` of each class."""
    words = {"pos": "a fine film of rare beauty", "neg": "dull and far too long for me"}
    for side, count in (("train", n_train), ("test", n_test)):
        for name, text in words.items():
            folder = root / side / name
            folder.mkdir(parents=True)
            for index in range(count):
                (folder / f"{index}_7.txt").write_text(f"{text} number {index}")
    return root


def equal(a: Inputs, b: Inputs) -> bool:
    """Whether two batches agree in every bit, dtype and shape."""
    if isinstance(a, tuple) or isinstance(b, tuple):
        return (
            isinstance(a, tuple)
            and isinstance(b, tuple)
            and len(a) == len(b)
            and all(map(equal, a, b))
        )
    return (
        a.dtype == b.dtype
        and a.shape == b.shape
        and torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8))
    )
