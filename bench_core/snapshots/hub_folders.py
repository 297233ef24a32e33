"""Folders of models: Hugging Face's layout of one, folders of such, and the layout of its cache."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench_core.errors import CorruptFileError, UnsupportedError

CONFIG: Final = "config.json"
_CACHED: Final = "models--"


@dataclass(frozen=True)
class Found:
    """A folder with one model in it, or with what should be one."""

    name: str
    """``organisation--model``, or the folder's name; with ``@revision`` where there are several."""
    folder: Path


def find_models(folder: Path) -> list[Found]:
    """Return the models in a folder, in the order of their names.

    A folder in it is a model; or an organisation, if the models are in folders within it; or a
    repository in the cache's layout, ``models--organisation--model``: then the revision that
    ``main`` names, or all revisions if none is named so. Hidden folders are passed over.
    """
    found = [model for child in _folders(folder) for model in _models_in(child)]
    return sorted(found, key=lambda model: model.name)


def resolve(folder: Path) -> Path:
    """Return the folder with the model's files: the folder, or a cached repository's revision.

    Raises:
        UnsupportedError: a cached repository with several revisions, of which none is ``main``.
    """
    if (folder / CONFIG).exists() or not (folder / "snapshots").is_dir():
        return folder
    revisions = _revisions(folder)
    if len(revisions) != 1:
        raise UnsupportedError(
            f"{folder}: {len(revisions)} revisions and no refs/main that names one of them; give "
            "one of the folders in snapshots/"
        )
    return revisions[0]


def default_name(folder: Path) -> str:
    """Return the name of the model in a folder, also of a cached repository or its revision."""
    folder = folder.resolve()
    repository = folder.parent.parent if folder.parent.name == "snapshots" else folder
    if repository.name.startswith(_CACHED):
        return repository.name.removeprefix(_CACHED)
    return folder.name


def read_config(folder: Path) -> dict[str, Any]:
    """Return the content of a model's ``config.json``.

    Raises:
        UnsupportedError: there is none.
        CorruptFileError: it is no JSON, or says of no model type.
    """
    path = folder / CONFIG
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise UnsupportedError(
            f"{folder}: no {CONFIG}, so no model in Hugging Face layout"
        ) from None
    except ValueError as error:
        raise CorruptFileError(f"{path}: no JSON, {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise CorruptFileError(f"{path}: names no model_type")
    return content


def _models_in(folder: Path) -> Iterator[Found]:
    if folder.name.startswith(_CACHED) and (folder / "snapshots").is_dir():
        name, revisions = folder.name.removeprefix(_CACHED), _revisions(folder)
        for revision in revisions:
            is_only = len(revisions) == 1
            yield Found(name if is_only else f"{name}@{revision.name}", revision)
        return
    inner = [child for child in _folders(folder) if (child / CONFIG).exists()]
    if (folder / CONFIG).exists() or not inner:
        yield Found(folder.name, folder)
        return
    for child in inner:
        yield Found(f"{folder.name}--{child.name}", child)


def _revisions(repository: Path) -> list[Path]:
    """Return the revision that ``main`` names, or else all."""
    reference = repository / "refs" / "main"
    if reference.is_file():
        named = repository / "snapshots" / reference.read_text().strip()
        if named.is_dir() and named.parent.name == "snapshots":
            return [named]
    return _folders(repository / "snapshots")


def _folders(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
