"""Writes a section as TOML, so that what is inherited and set can be seen and copied."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from harness.experiments.sections import Section

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(name: str, section: Section) -> str:
    """Return a section as TOML; keys that have their default are left out."""
    content = section.model_dump(exclude_defaults=True)
    # They have been applied already.
    for key in ("set", "test"):
        content.pop(key, None)
    return "\n".join(_table(_key(name), content)) + "\n"


def _table(path: str, content: Mapping[str, Any]) -> Iterator[str]:
    tables = {key: value for key, value in content.items() if _is_table_list(value)}
    yield f"[{path}]"
    for key, value in content.items():
        if key not in tables:
            yield f"{_key(key)} = {_value(value)}"
    for key, items in tables.items():
        for item in items:
            yield ""
            yield f"[[{path}.{key}]]"
            yield from (f"{_key(name)} = {_value(value)}" for name, value in item.items())


def _is_table_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, dict) for v in value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        inner = ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    # TOML's strings, booleans and numbers are written as JSON's, but for one character.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
