"""Items that were preprocessed once and lie on the disk, a file of torch for each."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch

from bench_core.data.dataset import Dataset, Inputs, Labels
from bench_core.data.errors import DataError
from bench_core.data.identity import digest_of
from bench_core.data.in_memory import Indices, check_labels
from bench_core.errors import CorruptFileError

_UNREADABLE: Final = (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError)
"""What torch raises for a file that is none of its own, or a damaged one."""


class TensorFiles(Dataset):
    """Images as models take them, ``(3, height, width)`` float32, read whenever asked for.

    This is the "preprocessed" data of Strassenburg et al., "Alsatian", SIGMOD 2025, section 5:
    no image is decoded, and far more bytes are read.
    """

    kind = "image"

    def __init__(
        self, name: str, files: Sequence[Path], labels: Labels, classes: Sequence[str]
    ) -> None:
        """Keep one label for each file; the first file says what shape all have.

        Raises:
            DataError: there are no files, or not one label for each.
            CorruptFileError: the first file cannot be read.
        """
        if not files or len(files) != len(labels):
            raise DataError(
                f"{name}: {len(files)} files and {len(labels)} labels, expected one for each and "
                "at least one"
            )
        self.name, self.classes = name, tuple(classes)
        self.labels = check_labels(labels, len(self.classes), name)
        self._files = tuple(files)
        self.shape = tuple(read_tensor(self._files[0]).shape)

    @property
    def digest(self) -> str:
        """Over the files' names, sizes and times of change, and their labels."""
        status = [(file.name, file.stat()) for file in self._files]
        files = [(name, found.st_size, found.st_mtime_ns) for name, found in status]
        return digest_of({"files": files, "classes": self.classes}, [self.labels])

    @property
    def decoded_bytes(self) -> int:
        """Bytes of one item."""
        return int(np.prod(self.shape)) * torch.float32.itemsize

    def decoded(self, indices: Indices) -> Inputs:
        """Return the items, ``(n, 3, height, width)`` float32.

        Raises:
            CorruptFileError: a file cannot be read, or holds another shape than the first.
        """
        items = torch.empty((len(indices), *self.shape))
        for target, index in zip(items, indices, strict=True):
            file = self._files[int(index)]
            item = read_tensor(file)
            if item.shape != target.shape:
                raise CorruptFileError(
                    f"{file}: a tensor of {tuple(item.shape)}, expected {self.shape}; write the "
                    "item anew"
                )
            target.numpy()[:] = item.numpy()
        return items

    def finished(self, decoded: Inputs) -> Inputs:
        """Return the items as they are."""
        return decoded

    def select(self, indices: Indices) -> TensorFiles:
        """Return a data set of these items, in this order, with the same classes."""
        index = np.asarray(indices, dtype=np.int64)
        files = [self._files[i] for i in index.tolist()]
        return TensorFiles(self.name, files, self.labels[index], self.classes)


def read_tensor(path: Path) -> torch.Tensor:
    """Return the float32 tensor in a file of torch; nothing in the file is executed.

    Raises:
        CorruptFileError: something else stands there.
    """
    try:
        item = torch.load(path, weights_only=True)
    except _UNREADABLE as error:
        reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
        raise CorruptFileError(f"{path}: no tensor that can be read ({reason})") from error
    if not isinstance(item, torch.Tensor) or item.dtype != torch.float32:
        raise CorruptFileError(f"{path}: no tensor of float32; write the item anew")
    return item
