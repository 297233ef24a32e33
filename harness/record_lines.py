"""One line of a file of records: a JSON object with its kind, its version and its checksum."""

from __future__ import annotations

import enum
import json
import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

# A file is one JSON object a line, each with "kind" (run, limits, cell or sample) and "schema". The
# first line of a run is its header. A field that readers may leave out needs no new version, and
# readers ignore fields that they do not know; whatever changes the meaning of a field needs one.
#
# 1  first version: run, limits and sample lines.
# 2  every line ends with "crc32", the checksum of the line's bytes before it; cell lines.
SCHEMA_VERSION: Final = 2

_CHECKSUM: Final = re.compile(rb', "crc32": "([0-9a-f]{8})"}$')
_CHECKED_SINCE: Final = 2


class DamagedLineError(ValueError):
    """A line that cannot be used; its text says why."""

    def __init__(self, reason: str, *, is_whole: bool) -> None:
        super().__init__(reason)
        self.is_whole = is_whole
        """Whether the line is JSON: then it was not torn, and more than its end is wrong."""


def encode(kind: str, value: Any) -> bytes:
    """Return a dataclass as a line; a field that is None is left out, as it then counts as None."""
    line: dict[str, Any] = {"kind": kind, "schema": SCHEMA_VERSION}
    for item in fields(value):
        content = _plain(getattr(value, item.name))
        if content is not None:
            line[item.name] = content
    return seal(line)


def seal(line: Mapping[str, Any]) -> bytes:
    """Return an object of JSON types as a line that ends with its checksum."""
    body = json.dumps(line, allow_nan=False).encode()[:-1]
    return b'%s, "crc32": "%08x"}\n' % (body, zlib.crc32(body))


def parse(text: bytes) -> dict[str, Any]:
    """Return the object in a line, without its end of line.

    Raises:
        DamagedLineError: it is no JSON object, of a newer version, or its checksum differs.
    """
    try:
        line = json.loads(text)
    except ValueError:
        line = None
    if not isinstance(line, dict):
        reason = "not a JSON object; the file is damaged there"
        raise DamagedLineError(reason, is_whole=line is not None)
    schema = line.get("schema")
    if not isinstance(schema, int) or schema < 1:
        reason = "no schema number; this is not a file of records"
        raise DamagedLineError(reason, is_whole=True)
    if schema > SCHEMA_VERSION:
        reason = (
            f"written with schema {schema}, but this version of bench-core reads up to "
            f"{SCHEMA_VERSION}; use a newer bench-core"
        )
        raise DamagedLineError(reason, is_whole=True)
    if schema >= _CHECKED_SINCE and not _is_intact(text.strip()):
        reason = "its checksum differs; the line was changed or damaged after it was written"
        raise DamagedLineError(reason, is_whole=True)
    return line


def _is_intact(text: bytes) -> bool:
    found = _CHECKSUM.search(text)
    return found is not None and zlib.crc32(text[: found.start()]) == int(found[1], 16)


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON types; infinities and NaN, which JSON lacks, become None."""
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return _plain(value.tolist())
    return str(value)
