"""A text set that every Python brings along: the standard library's docstrings, by package."""

from __future__ import annotations

import ast
import sysconfig
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from bench_core.data.dataset import SearchData
from bench_core.data.errors import DataError
from bench_core.data.in_memory import Tokens
from bench_core.data.subset import EVERYTHING, Subset, stratified_split
from bench_core.data.tokenizing import encode, trained_tokenizer
from bench_core.errors import CorruptFileError

PACKAGES: Final = (
    "asyncio",
    "email",
    "http",
    "importlib",
    "logging",
    "multiprocessing",
    "unittest",
    "xml",
)
"""Those of Python 3.10 and later that have most docstrings, but for those that some builds lack."""

_FEWEST_WORDS: Final = 4
_FEWEST_ITEMS: Final = 40
_TEST_FOLDERS: Final = ("test", "tests")
_Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def load_docstrings(
    *,
    length: int = 64,
    vocabulary: int = 2000,
    packages: Sequence[str] = PACKAGES,
    test_fraction: float = 0.2,
    cache: str | Path | None = None,
    library: str | Path | None = None,
    seed: int = 0,
    subset: Subset = EVERYTHING,
) -> SearchData:
    """Return docstrings as token ids, to be told apart by the package that they are from.

    The texts, and so the digest, depend on Python's version: they are what its sources say. The
    sources are parsed, never imported. The tokenizer is trained on all training items.

    Args:
        length: tokens of an item, by truncation and padding.
        vocabulary: tokens of the tokenizer.
        packages: top-level packages, the classes.
        test_fraction: of each class.
        cache: folder where the tokenizer is kept; by default it is trained anew, in a second.
        library: folder of the sources; by default that of this Python's standard library.
        seed: of the split.
        subset: which of the items take part.

    Raises:
        DataError: the sources are not there, or a package has too few docstrings.
        CorruptFileError: a source cannot be parsed.
        MissingExtraError: `tokenizers` is not installed.
    """
    root = Path(library or sysconfig.get_path("stdlib"))
    texts, labels = _texts(root, sorted(packages))
    train, test = stratified_split(labels, test_fraction, seed)
    folder = None if cache is None else Path(cache)
    tokenizer = trained_tokenizer([texts[index] for index in train], vocabulary, folder)
    ids, mask = encode(tokenizer, texts, length)
    whole = Tokens("docstrings", ids, mask, labels, sorted(packages))
    return subset.of(whole.select(train), whole.select(test))


def _texts(
    root: Path, packages: Sequence[str]
) -> tuple[list[str], np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """Return all texts by package, each once and in one package only, and their labels."""
    found = [list(dict.fromkeys(_of_package(root, package))) for package in packages]
    packages_having = Counter(text for texts in found for text in texts)
    unique = [[text for text in texts if packages_having[text] == 1] for texts in found]
    for package, texts in zip(packages, unique, strict=True):
        if len(texts) < _FEWEST_ITEMS:
            raise DataError(
                f"{root / package}: {len(texts)} docstrings, expected {_FEWEST_ITEMS} or more; "
                "leave the package out, or use a Python whose standard library has its sources"
            )
    labels = np.repeat(np.arange(len(packages)), [len(texts) for texts in unique])
    return [text for texts in unique for text in texts], labels.astype(np.int64)


def _of_package(root: Path, package: str) -> Iterator[str]:
    """Yield the docstrings of a package's modules, in the order of their names."""
    for path in sorted((root / package).rglob("*.py")):
        if not set(_TEST_FOLDERS) & set(path.relative_to(root).parts):
            yield from _of_module(path)


def _of_module(path: Path) -> Iterator[str]:
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError) as error:
        raise CorruptFileError(f"{path}: no Python source that can be parsed ({error})") from error
    for node in ast.walk(tree):
        if isinstance(node, _Documented):
            text = ast.get_docstring(node)
            if text and len(text.split()) >= _FEWEST_WORDS:
                yield text
