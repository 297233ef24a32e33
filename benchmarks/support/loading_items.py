"""Items on the disk for the workloads that load data, and the loaders that are compared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness.benchmark import data_dir

if TYPE_CHECKING:
    import torch

    from bench_core.data import Dataset
    from bench_core.data.images import Crop

KINDS: Final = {"jpeg": ".jpg", "png": ".png", "preprocessed": ".pt"}
"""How an item lies on the disk, and how its file's name ends."""
WIDTH, HEIGHT = 500, 375
"""Of the image files in pixels: about what those of ImageNet have."""
START: Final = "fork"
"""How workers are started. Left open, it would depend on the runner: a process that was spawned
spawns its own, which takes a second and more."""
SIZE: Final = 224
"""Height and width of what a model takes, where it takes any."""
CLASSES: Final = tuple("0123456789")
GRAIN: Final = 10
"""Random levels added to each colour of a pixel: without them an enlarged digit is decoded far
faster than a photograph."""


class Items:
    """Items as a user's own data set gives them to torch's ``DataLoader``: one at a time.

    An image is decoded, resized and cropped by Pillow, scaled and normalised by torch, as by
    torchvision's Resize, CenterCrop, ToTensor and Normalize; a preprocessed item is read.
    """

    def __init__(self, kind: str, files: Sequence[Path], size: int = SIZE) -> None:
        from bench_core.data.images import decode
        from bench_core.data.tensor_files import read_tensor

        self._files, self._is_image = files, kind != "preprocessed"
        self._crop, self._decode, self._read = crop_to(size), decode, read_tensor

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self._files[index], index % len(CLASSES)
        if not self._is_image:
            return self._read(path), label
        return normalised(self._decode(path, self._crop)), label


def normalised(pixels: Any) -> torch.Tensor:
    """Return an image's ``(3, height, width)`` bytes as models take them."""
    import torch

    from bench_core.data.pixels import IMAGENET_MEAN, IMAGENET_STD

    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return torch.tensor(pixels).to(torch.float32).div_(255).sub_(mean).div_(std)


def crop_to(size: int) -> Crop:
    """Return what is cut out of an image: in proportion to 224 of 256, as published."""
    from bench_core.data.images import Crop

    return Crop(size * 256 // 224, size)


def torch_batches(items: Items, batch_size: int, workers: int) -> Iterator[torch.Tensor]:
    """Yield the batches of torch's own loader, in order."""
    from torch.utils.data import DataLoader

    loader: DataLoader[Any] = DataLoader(
        items,  # type: ignore[arg-type]
        batch_size,
        num_workers=workers,
        multiprocessing_context=START if workers else None,
    )
    for batch, _labels in loader:
        yield batch


def data_set(kind: str, files: Sequence[Path], size: int = SIZE) -> Dataset:
    """Return the files as a data set of this library."""
    import numpy as np

    from bench_core.data import ImageFolder, Pixels
    from bench_core.data.image_folder import ImageFile
    from bench_core.data.tensor_files import TensorFiles

    labels = np.arange(len(files)) % len(CLASSES)
    if kind == "preprocessed":
        return TensorFiles("items", files, labels, CLASSES)
    named = [ImageFile(path, path.name, "") for path in files]
    return ImageFolder("items", named, labels, CLASSES, crop_to(size), Pixels())


def item_files(kind: str, count: int, seed: int, size: int = SIZE) -> list[Path]:
    """Return the files of so many items; those that are not there yet are made.

    Args:
        kind: one of `KINDS`.
        count: how many items; fewer are always the first of more.
        seed: of the values.
        size: of preprocessed items in pixels; images can be cropped to any.
    """
    part = f"-{size}" if kind == "preprocessed" else ""
    folder = data_dir() / "loading_items" / f"{kind}{part}-seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{index:06}{KINDS[kind]}" for index in range(count)]
    missing = [index for index, path in enumerate(files) if not path.exists()]
    write = _writer(kind, seed, size) if missing else None
    for index in missing:
        temporary = folder / f".{os.getpid()}-{files[index].name}"
        assert write is not None
        write(index, temporary)
        temporary.replace(files[index])
    return files


def expected_item(kind: str, path: Path, index: int, seed: int, size: int = SIZE) -> torch.Tensor:
    """Return what any loader must give for an item: from its file, or as it was made."""
    import torch

    from bench_core.data.images import decode
    from bench_core.data.pixels import Pixels

    if kind == "preprocessed":
        return random_item(index, seed, size)
    return Pixels().finished(torch.tensor(decode(path, crop_to(size)))[None])[0]


def random_item(index: int, seed: int, size: int) -> torch.Tensor:
    """Return the values of a preprocessed item, ``(3, size, size)``."""
    import torch

    generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
    return torch.randn((3, size, size), generator=generator)


def _writer(kind: str, seed: int, size: int) -> Callable[[int, Path], None]:
    """Return what writes an item into a new file."""
    import torch

    if kind == "preprocessed":
        return lambda index, path: torch.save(random_item(index, seed, size), path)
    digits = _digits()
    return lambda index, path: _write_image(digits[index % len(digits)], index, seed, path)


def _digits() -> Any:
    """Return the embedded digits, ``(1797, 8, 8)`` bytes of grey."""
    import numpy as np

    from bench_core.optional import require

    grey = require("sklearn.datasets", "search").load_digits().images
    return (grey * 15).astype(np.uint8)


def _write_image(digit: Any, index: int, seed: int, path: Path) -> None:
    """Write a digit, enlarged and with grain, as an image in colour."""
    import numpy as np

    from bench_core.optional import require

    image = require("PIL.Image", "search")
    large = image.fromarray(digit).resize((WIDTH, HEIGHT), image.Resampling.BICUBIC)
    random = np.random.default_rng((seed, index))
    grain = random.integers(-GRAIN, GRAIN + 1, (HEIGHT, WIDTH, 3), dtype=np.int16)
    pixels = (np.asarray(large)[..., None] + grain).clip(0, 255).astype(np.uint8)
    image.fromarray(pixels).save(path, quality=90)
