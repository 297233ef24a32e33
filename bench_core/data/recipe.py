"""Data by name or folder: what to open and how, as plain data that another process can follow."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench_core.data.arrays import load_npz
from bench_core.data.checks import checked
from bench_core.data.dataset import SearchData
from bench_core.data.digits import load_digit_vectors, load_digits
from bench_core.data.docstrings import load_docstrings
from bench_core.data.errors import DataError
from bench_core.data.image_folder import load_image_folder
from bench_core.data.imdb import CLASSES, load_imdb
from bench_core.data.subset import ALL, EVERYTHING, Order, Subset
from bench_core.data.vectors import load_vectors
from bench_core.errors import CorruptFileError, nearest

Setting = bool | int | float | str | None | tuple[str, ...] | tuple[float, ...]
Opener = Callable[..., SearchData]

EMBEDDED: Final[Mapping[str, Opener]] = {
    "digits": load_digits,
    "digit_vectors": load_digit_vectors,
    "docstrings": load_docstrings,
    "vectors": load_vectors,
}
"""Data that need no files of the user, by name."""
_OWN: Final = ("subset", "folder", "path")
_ENTRIES_SHOWN: Final = 5


@dataclass(frozen=True)
class DataRecipe:
    """What `load` is called with; picklable, and as JSON for workers on other machines."""

    source: str
    """A name of `EMBEDDED`, or a folder or file."""
    subset: Subset = EVERYTHING
    settings: tuple[tuple[str, Setting], ...] = ()
    """Of the source, by name, in the order of the names."""

    @classmethod
    def of(
        cls,
        source: str | Path,
        *,
        num_train_items: int = ALL,
        num_test_items: int = ALL,
        order: Order = "balanced",
        seed: int = 0,
        **settings: Any,
    ) -> DataRecipe:
        """Return the recipe; nothing is opened yet.

        Raises:
            DataError: numbers of items or an order that make no sense.
        """
        chosen = tuple(sorted((name, _frozen(value)) for name, value in settings.items()))
        return cls(str(source), Subset(num_train_items, num_test_items, order, seed), chosen)

    def load(self) -> SearchData:
        """Open the data: the same digests on every machine with the same files and libraries.

        Which image files are the same is said by their setting ``identify``.

        Raises:
            DataError: there is no such data, or it is not fit for a search.
            CorruptFileError: a file cannot be read.
            MissingExtraError: a library that reads it is not installed.
        """
        opener, place = _opener(self.source)
        known = inspect.signature(opener).parameters
        settings = dict(self.settings)
        for name in settings:
            if name not in known or name in _OWN:
                usable = [parameter for parameter in known if parameter not in _OWN]
                raise DataError(
                    f"{self.source} has no setting {name}{nearest(name, usable)}; it has "
                    f"{', '.join(usable)}"
                )
        if "seed" in known:
            settings["seed"] = self.subset.seed
        return checked(opener(*place, subset=self.subset, **settings))

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "source": self.source,
            "num_train_items": self.subset.num_train_items,
            "num_test_items": self.subset.num_test_items,
            "order": self.subset.order,
            "seed": self.subset.seed,
            **dict(self.settings),
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> DataRecipe:
        """Return the recipe that `as_json` described.

        Raises:
            CorruptFileError: something else stands there.
        """
        try:
            return cls.of(**content)
        except TypeError as error:
            raise CorruptFileError(f"no recipe for data: {content!r} ({error})") from error


def load(
    source: str | Path,
    *,
    num_train_items: int = ALL,
    num_test_items: int = ALL,
    order: Order = "balanced",
    seed: int = 0,
    **settings: Any,
) -> SearchData:
    """Open the data of a search.

    Args:
        source: ``digits``, ``digit_vectors``, ``docstrings`` or ``vectors``; or a folder of images
            (``train/<class>/…`` and ``test`` or ``val``) or of reviews (aclImdb), or an ``.npz``
            file of arrays.
        num_train_items: how many of the training items; -1: all.
        num_test_items: how many of the test items; -1: all.
        order: ``balanced``, ``shuffled`` or ``stored``: see `Subset`.
        seed: of the order, and of what is split or drawn.
        settings: of the source: see `load_digits`, `load_digit_vectors`, `load_docstrings`,
            `load_vectors`, `load_image_folder`, `load_imdb`, `load_npz`.

    Raises:
        DataError: there is no such data, or it is not fit for a search.
        CorruptFileError: a file cannot be read.
        MissingExtraError: a library that reads it is not installed.

    Example:
        >>> data = load("vectors", width=4, n_classes=2, num_train_items=10)
        >>> len(data.train), data.train.shape
        (10, (4,))
    """
    recipe = DataRecipe.of(
        source,
        num_train_items=num_train_items,
        num_test_items=num_test_items,
        order=order,
        seed=seed,
        **settings,
    )
    return recipe.load()


def _opener(source: str) -> tuple[Opener, tuple[Path, ...]]:
    """Return what opens the source, and the place it needs to be told."""
    path = Path(source).expanduser()
    if source in EMBEDDED:
        return EMBEDDED[source], ()
    if path.is_file() and path.suffix == ".npz":
        return load_npz, (path,)
    if not path.is_dir():
        found = "is a file that is not an .npz" if path.exists() else "does not exist"
        raise DataError(
            f"{source}: {found}{nearest(source, EMBEDDED)}; expected {', '.join(EMBEDDED)}, or "
            "a folder of images or reviews, or an .npz file"
        )
    if not (path / "train").is_dir():
        raise DataError(
            f"{source}: {_entries(path)}; expected train/<class>/ and test/<class>/ (or val) with "
            "images, or train/pos, train/neg, test/pos and test/neg with reviews"
        )
    is_reviews = all(any((path / "train" / name).glob("*.txt")) for name in CLASSES)
    return (load_imdb if is_reviews else load_image_folder), (path,)


def _entries(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    more = len(names) - _ENTRIES_SHOWN
    shown = ", ".join(names[:_ENTRIES_SHOWN])
    return f"found {shown or 'an empty folder'}" + (f" and {more} more" if more > 0 else "")


def _frozen(value: Any) -> Setting:
    if isinstance(value, Path):
        return str(value)
    return tuple(value) if isinstance(value, list) else value
