"""What has been taken: the samples in a run's folder, read as the files grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.record_lines import DamagedLineError, parse
from harness.records import CellLine, Record, cell_line_from, record_from

Line = Record | CellLine


@dataclass
class _Shard:
    """A file of samples, and how far it has been read."""

    offset: int = 0
    lines: int = 0


@dataclass
class Taken:
    """The samples of a run, by cell; `update` reads what has come since the last call."""

    folder: Path
    by_cell: dict[str, list[Record]] = field(default_factory=dict)
    _shards: dict[Path, _Shard] = field(default_factory=dict)

    def update(self) -> list[Line]:
        """Read the lines that were appended since the last call, and return them.

        A line that is not whole yet, or that a crash tore, is left for later.

        Raises:
            InputError: a line is damaged; the text names the file and the line.
        """
        new: list[Line] = []
        for path in sorted(self.folder.glob("*.jsonl")):
            new.extend(self._read(path))
        for line in new:
            if isinstance(line, Record):
                self.by_cell.setdefault(line.cell, []).append(line)
        return new

    def of(self, cell: str) -> list[Record]:
        """Return the samples of a cell."""
        return self.by_cell.get(cell, [])

    @property
    def records(self) -> Iterator[Record]:
        """All samples."""
        for records in self.by_cell.values():
            yield from records

    def _read(self, path: Path) -> Iterator[Line]:
        shard = self._shards.setdefault(path, _Shard())
        with path.open("rb") as file:
            file.seek(shard.offset)
            data = file.read()
        whole = data.rfind(b"\n") + 1
        for text in data[:whole].splitlines():
            shard.lines += 1
            yield from _useful(text, f"{path}:{shard.lines}")
        shard.offset += whole


def _useful(text: bytes, where: str) -> Iterator[Line]:
    try:
        line: dict[str, Any] = parse(text)
    except DamagedLineError as error:
        raise InputError(f"{where}: {error}") from None
    if line.get("kind") == "sample":
        yield record_from(line, where)
    elif line.get("kind") == "cell":
        yield cell_line_from(line, where)
