"""Reviews of films in the layout of aclImdb: ``train/pos/0_9.txt``, ``train/neg``, ``test/…``.

Maas et al., "Learning Word Vectors for Sentiment Analysis", ACL 2011.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from bench_core.data.cached import cached
from bench_core.data.dataset import SearchData
from bench_core.data.errors import DataError
from bench_core.data.identity import digest_of
from bench_core.data.in_memory import Tokens
from bench_core.data.subset import EVERYTHING, Subset
from bench_core.data.tokenizing import encode, given_tokenizer
from bench_core.errors import CorruptFileError

CLASSES: Final = ("neg", "pos")


@dataclass(frozen=True)
class TokenCache:
    """Token ids of text files, kept by files and tokenizer."""

    folder: Path | None
    tokenizer: Any
    identity: str
    """The tokenizer's, before it was first used: encoding changes its settings."""
    length: int

    def tokens(self, files: Sequence[Path]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ids and mask of the files, in their order.

        Raises:
            CorruptFileError: a file cannot be read.
            SaveError: the cache cannot be written.
        """
        identities = [_identity(path) for path in files]
        key = digest_of({"files": identities, "tokenizer": self.identity, "length": self.length})
        path = None if self.folder is None else self.folder / f"tokens-{key}.safetensors"
        tokens = cached(path, lambda: self._make(files), _read_tokens, save_file)
        return tokens["ids"], tokens["mask"]

    def _make(self, files: Sequence[Path]) -> dict[str, torch.Tensor]:
        ids, mask = encode(self.tokenizer, [_read(path) for path in files], self.length)
        return {"ids": ids, "mask": mask}


def load_imdb(
    folder: str | Path,
    *,
    tokenizer: str | Path | None = None,
    length: int = 256,
    cache: str | Path | None = None,
    subset: Subset = EVERYTHING,
) -> SearchData:
    """Return the reviews as token ids, negative or positive.

    Only the items of the subset are read and tokenised. By default they are shuffled with its seed
    and the classes take turns; the published code loses its shuffle, and its first rounds see
    positive reviews only.

    Args:
        folder: the one that has ``train`` and ``test``.
        tokenizer: the models' ``tokenizer.json`` or ``vocab.txt``, or a folder with it.
        length: tokens of an item, by truncation and padding.
        cache: folder where token ids are kept, by files and tokenizer; None: nowhere.
        subset: which of the items take part.

    Raises:
        DataError: no tokenizer is given, or there are no reviews.
        CorruptFileError: a review or the tokenizer cannot be read.
        SaveError: the cache cannot be written.
    """
    root = Path(folder)
    if tokenizer is None:
        raise DataError(
            f"{root}: reviews need the models' tokenizer: give tokenizer=, a tokenizer.json or "
            "vocab.txt"
        )
    encoder = given_tokenizer(Path(tokenizer))
    store = TokenCache(None if cache is None else Path(cache), encoder, encoder.to_str(), length)
    sides = []
    for side, chosen in (("train", subset.train), ("test", subset.test)):
        paths, labels = _reviews(root / side)
        indices = chosen(labels)
        files = [paths[index] for index in indices]
        ids, mask = store.tokens(files)
        sides.append(Tokens(root.name, ids, mask, labels[indices], CLASSES))
    return SearchData(*sides)


def _reviews(side: Path) -> tuple[list[Path], npt.NDArray[np.int64]]:
    """Return all reviews by class and name, and their labels."""
    found = [sorted((side / name).glob("*.txt")) for name in CLASSES]
    for name, paths in zip(CLASSES, found, strict=True):
        if not paths:
            raise DataError(f"{side / name}: no reviews; expected text files *.txt")
    labels = np.repeat(np.arange(len(CLASSES)), [len(paths) for paths in found])
    return [path for paths in found for path in paths], labels.astype(np.int64)


def _identity(path: Path) -> str:
    """Return what tells a review from another version of itself, without reading it."""
    status = path.stat()
    name = "/".join(path.parts[-3:])
    return f"{name} {status.st_size} {status.st_mtime_ns}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptFileError(
            f"{path}: no text in UTF-8 that can be read ({error}); replace or remove it"
        ) from error


def _read_tokens(path: Path) -> dict[str, torch.Tensor]:
    try:
        tokens: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CorruptFileError(f"{path}: no token ids that can be read ({error})") from error
    return tokens
