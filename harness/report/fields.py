"""Takes fields out of parsed JSON; an error names file and field, what was found and expected."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness.errors import InputError

_NAMES: Final = {
    dict: "an object",
    list: "a list",
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    type(None): "null",
}


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        InputError: the file cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}") from error


def wrong(where: str, found: object, expected: str) -> InputError:
    """Return the error for a field that holds something else than expected."""
    shown = _NAMES.get(type(found), type(found).__name__)
    if isinstance(found, str | int | float):
        shown = f"{shown} ({str(found)[:40]!r})" if isinstance(found, str) else f"{found!r}"
    return InputError(f"{where}: found {shown}, expected {expected}")


def mapping(content: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    """Return the object in field ``name``; a missing or null one is an empty mapping."""
    value = content.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise wrong(f"{where}: {name}", value, _NAMES[dict])
    return value


def sequence(content: Mapping[str, Any], name: str, where: str) -> list[Any]:
    """Return the list in field ``name``, which must be there."""
    value = content.get(name)
    if not isinstance(value, list):
        raise wrong(f"{where}: {name}", value, _NAMES[list])
    return value


def text(content: Mapping[str, Any], name: str, where: str) -> str:
    """Return the string in field ``name``, which must be there."""
    value = content.get(name)
    if not isinstance(value, str):
        raise wrong(f"{where}: {name}", value, _NAMES[str])
    return value


def number(content: Mapping[str, Any], name: str, where: str) -> float:
    """Return the number in field ``name``, which must be there."""
    return as_number(content.get(name), f"{where}: {name}")


def as_number(value: Any, where: str) -> float:
    """Return ``value`` as a float if it is a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(where, value, _NAMES[float])
    return float(value)


def as_mapping(value: Any, where: str) -> Mapping[str, Any]:
    """Return ``value`` if it is an object."""
    if not isinstance(value, dict):
        raise wrong(where, value, _NAMES[dict])
    return value
