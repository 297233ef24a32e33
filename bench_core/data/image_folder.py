"""Images in a folder for each class: ``train/<class>/x.jpg`` and ``test/<class>/y.png``."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, Literal

import numpy as np
import torch
from torch.utils.data import get_worker_info

from bench_core.data.dataset import Dataset, Inputs, Labels, SearchData
from bench_core.data.errors import DataError
from bench_core.data.identity import digest_of
from bench_core.data.images import Crop, decode, decoder_version
from bench_core.data.in_memory import Indices
from bench_core.data.pixels import Pixels
from bench_core.data.subset import EVERYTHING, Subset
from bench_core.errors import CorruptFileError

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
_HIDDEN: Final = "."
"""Folders of tools, and what macOS leaves beside files (``._x.jpg``)."""
TEST_FOLDERS: Final = ("test", "val", "validation")
Identify = Literal["stat", "content"]
_PUBLISHED: Final = Crop()


@dataclass(frozen=True)
class ImageFile:
    """One image, with what tells it from another version of itself."""

    path: Path
    name: str
    """Relative to the data's folder, with ``/``."""
    identity: str


class ImageFolder(Dataset):
    """Image files that are read and decoded whenever they are asked for."""

    kind = "image"

    def __init__(
        self,
        name: str,
        files: Sequence[ImageFile],
        labels: Labels,
        classes: Sequence[str],
        crop: Crop,
        pixels: Pixels,
    ) -> None:
        """Keep one label for each file."""
        self.name, self.classes, self.labels = name, tuple(classes), labels
        self.shape = (3, crop.size, crop.size)
        self._files, self._crop, self._pixels = tuple(files), crop, pixels

    @property
    def digest(self) -> str:
        """Over the files' names and identities, their labels, and all of the preprocessing."""
        description = {
            "files": [(file.name, file.identity) for file in self._files],
            "classes": self.classes,
            "crop": asdict(self._crop),
            "decoder": decoder_version(),
            **self._pixels.as_json(),
        }
        return digest_of(description, [self.labels])

    @property
    def decoded_bytes(self) -> int:
        """Bytes of one decoded image."""
        return int(np.prod(self.shape))

    def decoded(self, indices: Indices) -> Inputs:
        """Return the images ``(n, 3, size, size)`` uint8; several are decoded at a time.

        Raises:
            CorruptFileError: an image cannot be decoded; the file is named.
        """
        images = torch.empty((len(indices), *self.shape), dtype=torch.uint8)
        targets = list(images.numpy())
        files = [self._files[int(index)] for index in indices]

        def fill(position: int) -> None:
            targets[position][:] = decode(files[position].path, self._crop)

        _for_each(fill, len(files))
        return images

    def finished(self, decoded: Inputs) -> Inputs:
        """Return the images normalised."""
        assert isinstance(decoded, torch.Tensor)
        return self._pixels.finished(decoded)

    def select(self, indices: Indices) -> ImageFolder:
        """Return a data set of these items, in this order, with the same classes."""
        index = np.asarray(indices, dtype=np.int64)
        files = [self._files[i] for i in index.tolist()]
        return ImageFolder(
            self.name, files, self.labels[index], self.classes, self._crop, self._pixels
        )

    def identified(self) -> ImageFolder:
        """Return the same, with the files told apart by their content, which is read for it.

        Raises:
            CorruptFileError: a file cannot be read.
        """
        files = [replace(file, identity=_content(file.path)) for file in self._files]
        return ImageFolder(self.name, files, self.labels, self.classes, self._crop, self._pixels)


def load_image_folder(
    folder: str | Path,
    *,
    size: int = _PUBLISHED.size,
    resize: int | None = None,
    mean: Sequence[float] = Pixels.mean,
    std: Sequence[float] = Pixels.std,
    identify: Identify = "stat",
    subset: Subset = EVERYTHING,
) -> SearchData:
    """Return the images below ``train`` and ``test`` (or ``val``), a class for each folder there.

    Args:
        folder: the one that has ``train``.
        size: height and width that are cut out.
        resize: what the shorter side is brought to before; by default in proportion, as 256 to 224.
        mean: of each colour, for the normalisation.
        std: of each colour.
        identify: what the digest knows a file by, beside its name. ``stat``: size and time of
            change: nothing is read, so that a search starts at once and caches stay cold; a copy
            with new times counts as other data, which costs work and is never wrong. ``content``:
            its bytes, which are all read for it; for copies on several machines.
        subset: which of the items take part.

    Raises:
        DataError: there are no such images, or no classes, or the sides disagree.
        CorruptFileError: a file cannot be read.
    """
    root = Path(folder)
    crop = Crop(resize or size * _PUBLISHED.resize // _PUBLISHED.size, size)
    pixels = Pixels.of(mean, std)
    test_folder = find_test_folder(root)
    classes = _classes(root / "train")
    if identify not in ("stat", "content"):
        raise DataError(f"identify={identify!r}, expected stat or content")
    sides = []
    for side in (root / "train", test_folder):
        files, labels = _scan(side, classes)
        sides.append(ImageFolder(root.name, files, labels, classes, crop, pixels))
    data = subset.of(*sides)
    if identify == "stat":
        return data
    chosen = [side for side in (data.train, data.test) if isinstance(side, ImageFolder)]
    return SearchData(*(side.identified() for side in chosen))


def find_test_folder(root: Path) -> Path:
    """Return the folder of the test items.

    Raises:
        DataError: there is none.
    """
    for name in TEST_FOLDERS:
        if (root / name).is_dir():
            return root / name
    raise DataError(f"{root}: no folder {' or '.join(TEST_FOLDERS)} beside train")


def _classes(train: Path) -> list[str]:
    """Return the names of the class folders, sorted."""
    if not train.is_dir():
        raise DataError(f"{train}: does not exist, expected a folder for each class in it")
    with os.scandir(train) as entries:
        found = [entry for entry in entries if not entry.name.startswith(_HIDDEN)]
    classes = sorted(entry.name for entry in found if entry.is_dir())
    if not classes:
        images = [entry for entry in found if entry.name.lower().endswith(SUFFIXES)]
        raise DataError(
            f"{train}: {len(images)} images and no folders in it, expected a folder for each class"
        )
    return classes


def _scan(side: Path, classes: Sequence[str]) -> tuple[list[ImageFile], Labels]:
    """Return the images of one side by class and name, and their labels."""
    unknown = sorted(set(_classes(side)) - set(classes))
    if unknown:
        raise DataError(
            f"{side}: class {unknown[0]} is not among the {len(classes)} of train; remove it, or "
            "add images to learn it from"
        )
    files: list[ImageFile] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = sorted(_images(side / name, side.parent), key=lambda file: file.name)
        if not found and side.name == "train":
            raise DataError(f"{side / name}: no images ({', '.join(SUFFIXES)}) of this class")
        files += found
        labels += [label] * len(found)
    if not files:
        raise DataError(f"{side}: no images ({', '.join(SUFFIXES)}) in its class folders")
    return files, np.array(labels, np.int64)


def _images(folder: Path, root: Path) -> Iterator[ImageFile]:
    """Yield the images in a folder and those below it."""
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.lower().endswith(SUFFIXES) and not name.startswith(_HIDDEN):
                path = Path(parent, name)
                yield ImageFile(path, path.relative_to(root).as_posix(), _status(path))


def _status(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        raise CorruptFileError(f"{path}: cannot be read ({error.strerror})") from error
    return f"{status.st_size} {status.st_mtime_ns}"


def _content(path: Path) -> str:
    try:
        return hashlib.blake2b(path.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise CorruptFileError(f"{path}: cannot be read ({error.strerror})") from error


def _for_each(function: Callable[[int], None], count: int) -> None:
    """Call for 0 to ``count - 1``, by a thread a core, but not in one of several processes."""
    if get_worker_info() is not None or count < 2:
        for index in range(count):
            function(index)
        return
    with ThreadPoolExecutor(min(count, os.cpu_count() or 1), "decode") as pool:
        # Errors come when results are asked for: the first in the order of the items.
        list(pool.map(function, range(count)))
