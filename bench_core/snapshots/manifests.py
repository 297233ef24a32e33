"""The manifests of a store's models: a small JSON file each, whole or not there."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from bench_core.errors import CorruptFileError, UnknownNameError, UnsupportedError, nearest
from bench_core.formats import Durability
from bench_core.formats.atomic import write_atomically
from bench_core.models.chains import InputSpec
from bench_core.models.digests import DIGEST_BYTES
from bench_core.snapshots.errors import ModelExistsError, ModelNameError
from bench_core.snapshots.folders import make_folder, sync_folders
from bench_core.snapshots.manifest import MANIFEST_VERSION, BlockRef, Snapshot

LONGEST_NAME: Final = 128
"""Bytes of a model's name: a file's name has room for 255, and some belong to temporaries."""

_SUFFIX: Final = ".json"
_DIGEST: Final = re.compile(f"[0-9a-f]{{{2 * DIGEST_BYTES}}}")


def check_name(name: str) -> None:
    """See that a model can have this name.

    Raises:
        ModelNameError: it is no plain name of a file; the text says what to do.
    """
    if "/" in name:
        advice = name.strip("/").replace("/", "--")
        raise ModelNameError(f"{name!r} has a slash, a model's name has none; write {advice!r}")
    if not name or name.startswith(".") or "\\" in name or not name.isprintable():
        raise ModelNameError(
            f"{name!r} cannot be a model's name: it must not be empty, begin with a dot, or hold "
            "slashes or unprintable characters; choose another"
        )
    if len(name.encode()) > LONGEST_NAME:
        raise ModelNameError(
            f"{name!r} is {len(name.encode())} bytes long, a model's name has at most "
            f"{LONGEST_NAME}; choose a shorter one"
        )


class Manifests:
    """All manifests of one store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return the file of a model's manifest, whether it is there or not.

        Raises:
            ModelNameError: no model can have this name.
        """
        check_name(name)
        return self.folder / f"{name}{_SUFFIX}"

    def names(self) -> list[str]:
        """Return the names of all models, in order."""
        return sorted(
            path.name.removesuffix(_SUFFIX)
            for path in self.folder.glob(f"*{_SUFFIX}")
            if not path.name.startswith(".")
        )

    def read(self, name: str) -> Snapshot:
        """Return the model of this name.

        Raises:
            UnknownNameError: there is none.
            CorruptFileError: its manifest is damaged.
            UnsupportedError: its manifest is of a later version.
        """
        path = self.path(name)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            raise self._unknown(name) from None
        return _parse(text, name, path)

    def existing(self, snapshot: Snapshot, *, replace: bool) -> Snapshot | None:
        """Return the stored model if it is this very one; None if it is to be written.

        Raises:
            ModelExistsError: there is another of this name, and it is not to be replaced.
        """
        path = self.path(snapshot.name)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        difference = _difference(text, snapshot)
        if difference is None:
            return _parse(text, snapshot.name, path)
        if replace:
            return None
        raise ModelExistsError(
            f"{path}: another model of this name is there ({difference}); "
            "remove it, choose another name, or replace it"
        )

    def write(self, snapshot: Snapshot) -> Snapshot:
        """Write a model's manifest, durable when this returns; return what `read` will.

        Raises:
            SaveError: it could not be written, and nothing has changed; or it was written and is
                not known to be durable, as the text says then.
            UnsupportedError: its origin is no JSON.
        """
        make_folder(self.folder)
        text, path = _text(snapshot), self.path(snapshot.name)
        write_atomically(
            path,
            Durability.FSYNC_DIR,
            lambda temporary: _write_bytes(temporary, text),
            bytes_logical=len(text),
        )
        return _parse(text, snapshot.name, path)

    def remove(self, name: str) -> None:
        """Remove a model's manifest, damaged or not.

        Raises:
            UnknownNameError: there is none.
        """
        try:
            self.path(name).unlink()
        except FileNotFoundError:
            raise self._unknown(name) from None
        sync_folders([self.folder])

    def require(self, name: str) -> None:
        """See that there is a model of this name.

        Raises:
            UnknownNameError: there is none; the nearest name is suggested.
        """
        if not self.path(name).is_file():
            raise self._unknown(name)

    def temporaries(self) -> list[Path]:
        """Return what writers left behind that died, and what those at work are writing."""
        return sorted(self.folder.glob(".*.tmp"))

    def _unknown(self, name: str) -> UnknownNameError:
        names = self.names()
        return UnknownNameError(
            f"{self.folder.parent}: no model {name!r} among {len(names)}{nearest(name, names)}"
        )


def _write_bytes(path: Path, text: bytes) -> None:
    path.write_bytes(text)


def _text(snapshot: Snapshot) -> bytes:
    """Return a manifest's content, the same for equal models."""
    content = {
        "version": MANIFEST_VERSION,
        "name": snapshot.name,
        "architecture": snapshot.architecture,
        "blocks": [ref.as_json() for ref in snapshot.blocks],
        "input": {"kind": snapshot.input.kind, "shape": snapshot.input.shape},
        "feature_dim": snapshot.feature_dim,
        "head": snapshot.head.as_json() if snapshot.head else None,
        "origin": dict(snapshot.origin),
    }
    try:
        return json.dumps(content, sort_keys=True, indent=1).encode()
    except (TypeError, ValueError) as error:
        raise UnsupportedError(
            f"{snapshot.name}: the origin cannot be kept as JSON, {error}; give it plain numbers, "
            "texts, lists and dictionaries"
        ) from error


def _parse(text: bytes, name: str, path: Path) -> Snapshot:
    try:
        content = json.loads(text)
        version = content["version"]
        if version != MANIFEST_VERSION:
            raise UnsupportedError(
                f"{path}: a manifest of version {version!r}, this release reads {MANIFEST_VERSION}"
            )
        snapshot = Snapshot(
            name=content["name"],
            architecture=content["architecture"],
            blocks=tuple(_block(item) for item in content["blocks"]),
            input=InputSpec(content["input"]["kind"], tuple(content["input"]["shape"])),
            feature_dim=int(content["feature_dim"]),
            head=None if content["head"] is None else _block(content["head"]),
            origin=dict(content["origin"]),
        )
        if snapshot.name != name:
            raise CorruptFileError(f"it is the manifest of {snapshot.name!r}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(
            f"{path}: no manifest of a model, {type(error).__name__}: {error}; store the model "
            "anew, or remove it"
        ) from error
    return snapshot


def _block(content: Mapping[str, Any]) -> BlockRef:
    ref = BlockRef.from_json(content)
    # It becomes a part of a file's name.
    if not _DIGEST.fullmatch(ref.parameters):
        raise CorruptFileError(f"{ref.parameters!r} is no digest")
    return ref


def _difference(text: bytes, snapshot: Snapshot) -> str | None:
    """Say in a few words in what a stored manifest differs from a model; None: in nothing."""
    try:
        stored, wanted = _values(text), _values(_text(snapshot))
    except (ValueError, AttributeError):
        return "its manifest is damaged"
    differing = [key for key in wanted if stored.get(key) != wanted[key]]
    return f"with another {', another '.join(differing)}" if differing else None


def _values(text: bytes) -> dict[str, str]:
    """Return each value of a manifest as text, in which even NaN equals itself."""
    return {key: json.dumps(value, sort_keys=True) for key, value in json.loads(text).items()}
