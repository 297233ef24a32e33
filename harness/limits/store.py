"""Limits in a JSON file, to be set against results by other processes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Final

from harness.errors import InputError
from harness.limits.model import Limits

# 1  first version: schema, limits, and whatever the writer puts beside them.
SCHEMA_VERSION: Final = 1


def save(path: Path, limits: Limits, **beside: Any) -> None:
    """Write limits, and JSON values to keep beside them; the file appears whole or not at all."""
    content = {"schema": SCHEMA_VERSION, **beside, "limits": limits.as_dict()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(json.dumps(content, indent=1, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: Path) -> Limits:
    """Read the limits that `save` (or ``bench-core limits --json``) wrote.

    Raises:
        InputError: the file is missing, is no file of limits, or was written by a newer version.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("limits"), dict):
        raise InputError(f"{path} holds no limits; write it with: bench-core limits --json")
    if content.get("schema") != SCHEMA_VERSION:
        raise InputError(
            f"{path} was written with schema {content.get('schema')}, this version of bench-core "
            f"reads {SCHEMA_VERSION}; probe again with: bench-core limits --json"
        )
    return Limits.from_dict(content["limits"])
