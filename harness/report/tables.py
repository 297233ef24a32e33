"""Writes tables for the terminal, for Markdown and for LaTeX."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.report.display import DisplayRow, DisplayTable

_LATEX: Final = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "[": "{[}",  # after a line's end it would begin an argument
        "]": "{]}",
        "µ": r"\textmu{}",
        "–": "--",
        "∞": r"$\infty$",
    }
)
_MARKDOWN: Final = str.maketrans({"|": r"\|", "*": r"\*", "_": r"\_", "<": "&lt;", "\n": " "})


DISPENSABLE: Final = (
    "min",
    "quartiles",
    "returned",
    "read / needed",
    "limit",
    "verdict",
    "n",
    "of limit",
)
"""Columns that a narrow terminal goes without, in this order; the page has them all."""


WIDE: Final = 200
"""Columns of a table that goes into a file or a pipe, so that nothing is cut off."""


def console() -> Console:
    """Return where tables are printed: as wide as the terminal, or wide if it is none."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=WIDE)


def print_terminal(table: DisplayTable, console: Console) -> None:
    """Print a table; our own contenders are bold, what was not measured is dim."""
    shown = Table(
        title=Text(table.title, style="bold"),
        caption=Text(table.subtitle),
        title_justify="left",
        caption_justify="left",
        box=None,
        pad_edge=False,
        header_style="underline",
    )
    columns = _fitting(table, console.width)
    for column in columns:
        is_word = column < table.words
        justify: Literal["left", "right"] = "left" if is_word else "right"
        name = table.columns[column]
        shown.add_column(name, justify=justify, no_wrap=not is_word, overflow="fold")
    for row in table.rows:
        if row.begins:
            shown.add_row()
        style = "bold" if row.is_ours else "" if row.is_measured else "dim"
        shown.add_row(*(Text(row.cells[column].text) for column in columns), style=style)
    console.print(shown)
    console.print()


def markdown(table: DisplayTable) -> str:
    """Return a table with its heading in Markdown."""
    rule = ["---" if number < table.words else "---:" for number in range(len(table.columns))]
    lines = [
        f"### {table.title.translate(_MARKDOWN)}",
        "",
        table.subtitle.translate(_MARKDOWN),
        "",
        _markdown_line(name.translate(_MARKDOWN) for name in table.columns),
        _markdown_line(rule),
        *(_markdown_line(_markdown_cells(row)) for row in table.rows),
    ]
    return "\n".join(lines) + "\n"


def latex(table: DisplayTable) -> str:
    r"""Return a table as a ``tabular`` of the booktabs package, to be ``\input`` in a float."""
    columns = "l" * table.words + "r" * (len(table.columns) - table.words)
    lines = [
        f"% {table.title}: {table.subtitle}",
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        _latex_line(name.translate(_LATEX) for name in table.columns),
        r"\midrule",
        *(rf"{_space(row)}{_latex_line(_latex_cells(row))}" for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _markdown_cells(row: DisplayRow) -> list[str]:
    texts = [cell.text.translate(_MARKDOWN) for cell in row.cells]
    return [f"**{text}**" if row.is_ours and text else text for text in texts]


def _markdown_line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _fitting(table: DisplayTable, width: int) -> list[int]:
    """Return the columns that fit into a terminal; the least telling ones go first."""
    widths = [
        max(len(name), *(len(row.cells[column].text) for row in table.rows)) + 2
        for column, name in enumerate(table.columns)
    ]
    kept = list(range(len(widths)))
    for name in DISPENSABLE:
        if sum(widths[column] for column in kept) > width and name in table.columns:
            kept.remove(table.columns.index(name))
    return kept


def _space(row: DisplayRow) -> str:
    return "\\addlinespace\n" if row.begins else ""


def _latex_cells(row: DisplayRow) -> list[str]:
    texts = [cell.text.translate(_LATEX) for cell in row.cells]
    return [rf"\textbf{{{text}}}" if row.is_ours else text for text in texts]


def _latex_line(cells: Iterable[str]) -> str:
    return rf"{' & '.join(cells)} \\"
