"""Small pieces of HTML: every text that goes in is escaped here."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Final

from harness.report.display import Cell, DisplayRow, DisplayTable

_BARS: Final = "of limit"
SCREEN_SCALE: Final = 0.62
"""CSS pixels a pixel of a figure: 7 points then look like 13 pixels."""


def element(tag: str, text: str, **named: str) -> str:
    """Return an element that holds a text; ``class_`` stands for ``class``."""
    return f"<{tag}{attributes(named)}>{escape(text)}</{tag}>"


def table(display: DisplayTable) -> str:
    """Return a table whose columns can be sorted."""
    heads = [(name, number >= display.words) for number, name in enumerate(display.columns)]
    rows = [_row(row, display) for row in display.rows]
    return _table(heads, rows, sortable=True)


def plain_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Sequence[int] = ()
) -> str:
    """Return a table of texts; ``numbers`` are the columns that are set to the right.

    A cell that is already HTML is a `Markup`.
    """
    heads = [(name, number in numbers) for number, name in enumerate(columns)]
    body = []
    for row in rows:
        cells = [
            f"<td{_number(number in numbers)}>{_inner(cell)}</td>"
            for number, cell in enumerate(row)
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    return _table(heads, body, sortable=False)


class Markup(str):
    """A text that is HTML already."""

    __slots__ = ()


def facts(items: Mapping[str, str]) -> str:
    """Return names with their values as a list of definitions."""
    pairs = (element("dt", name) + element("dd", value) for name, value in items.items())
    return f"<dl>{''.join(f'<div>{pair}</div>' for pair in pairs)}</dl>"


def items(texts: Iterable[str], kind: str) -> str:
    """Return a list of texts."""
    return f'<ul class="{kind}">{"".join(element("li", text) for text in texts)}</ul>'


def share(value: float, text: str) -> str:
    """Return a share as a small bar with its text; above 1 the bar is full."""
    if math.isnan(value):
        return escape(text)
    width = round(100 * min(max(value, 0.0), 1.0))
    return f'<span class="share"><i style="width:{width}%"></i></span>{escape(text)}'


def image(png: Path, alt: str) -> str:
    """Return an image that carries its own bytes, in a size at which its text reads well."""
    content = png.read_bytes()
    pixels = int.from_bytes(content[16:20], "big")  # the width in a PNG's header
    named = {
        "src": f"data:image/png;base64,{base64.b64encode(content).decode()}",
        "alt": alt,
        "width": str(round(pixels * SCREEN_SCALE)),
    }
    return f"<img{attributes(named)}>"


def verdict(text: str) -> Markup:
    """Return a verdict or a status in its colour."""
    word = escape(text.replace(" ", "-"))
    return Markup(f'<span class="verdict-{word} status-{word}">{escape(text)}</span>')


def _inner(cell: str) -> str:
    return cell if isinstance(cell, Markup) else escape(cell)


def _table(heads: Sequence[tuple[str, bool]], rows: Sequence[str], *, sortable: bool) -> str:
    cells = []
    for name, is_number in heads:
        inner = f'<button type="button">{escape(name)}</button>' if sortable else escape(name)
        cells.append(f'<th{_number(is_number)} scope="col">{inner}</th>')
    return (
        f'<div class="scroll"><table><thead><tr>{"".join(cells)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(row: DisplayRow, display: DisplayTable) -> str:
    kinds = {"ours": row.is_ours, "unmeasured": not row.is_measured, "begins": row.begins}
    kind = " ".join(name for name, holds in kinds.items() if holds)
    cells = [
        _cell(cell, name, is_number=number >= display.words)
        for number, (cell, name) in enumerate(zip(row.cells, display.columns, strict=True))
    ]
    return f"<tr{attributes({'class_': kind} if kind else {})}>{''.join(cells)}</tr>"


def _cell(cell: Cell, column: str, *, is_number: bool) -> str:
    named = {"class_": "number"} if is_number else {}
    if cell.key is not None and math.isfinite(cell.key):
        named["data-key"] = repr(cell.key)
    inner = escape(cell.text)
    if column == _BARS and cell.key is not None:
        inner = share(cell.key, cell.text)
    elif column == "verdict":
        inner = verdict(cell.text)
    return f"<td{attributes(named)}>{inner}</td>"


def _number(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def attributes(named: Mapping[str, str]) -> str:
    """Return attributes as they stand in a tag; ``class_`` stands for ``class``."""
    return "".join(f' {name.rstrip("_")}="{escape(value)}"' for name, value in named.items())
