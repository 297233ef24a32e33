"""A bar on stderr for work that goes from model to model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def model_progress(what: str) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar, and give what moves it: models done, models in all, the next one's name."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[at]}"))
    console = Console(stderr=True)
    shown = console.is_terminal  # into a file it would write an empty line
    with Progress(*columns, console=console, transient=True, disable=not shown) as bar:
        task = bar.add_task(what, total=None, at="")
        yield lambda done, total, name: bar.update(
            task, completed=done, total=total, at=escape(name)
        )
