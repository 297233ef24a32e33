"""Tensor names as names in a file system, archive or tree: escaped, so that any name works."""

from __future__ import annotations

import re
from typing import Final

# A separator, the mark that npz puts before a type, control characters, and the escape itself.
_UNSAFE: Final = re.compile(r"[/@%\x00-\x1f\x7f]|^\.")
_ESCAPED: Final = re.compile(r"%([0-9A-F]{2})")
_EMPTY: Final = "%"


def escape(name: str) -> str:
    """Return ``name`` as one path component: not empty, no slash, ``@`` or leading dot.

    The usual names, ``encoder.0.weight``, stay as they are.
    """
    return _UNSAFE.sub(lambda match: escape_character(match[0]), name) or _EMPTY


def escape_character(character: str) -> str:
    """Return the escape of one ASCII character."""
    return f"%{ord(character):02X}"


def unescape(escaped: str) -> str:
    """Return the name that `escape` was given."""
    if escaped == _EMPTY:
        return ""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 16)), escaped)
