"""The options by which several commands say which experiment they mean."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

_OPTIONS: Final = (
    click.argument("name", metavar="NAME"),
    click.option(
        "--set",
        "words",
        multiple=True,
        metavar="KEY=VALUE[,VALUE]",
        help="Change a key of the section (rounds, repetitions, seeds, jobs, …) or a parameter, of "
        "all comparisons or of one: durable_write.model=resnet18.",
    ),
    click.option(
        "--only",
        multiple=True,
        metavar="COMPARISON",
        help="Only this comparison of the section; repeatable.",
    ),
    click.option("--test", "is_test", is_flag=True, help="At the size of the section's test."),
    click.option(
        "--file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="A TOML file of your own with the section.",
    ),
    click.option(
        "--benchmarks",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="FOLDER",
        help="A package of benchmarks of your own.",
    ),
    click.option(
        "--dir",
        "directory",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder on the disk to measure. Default: $BENCH_CORE_DATA, or bench-core in your "
        "cache.",
    ),
)


def experiment_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose an experiment; it gets them as its ``call``."""

    @functools.wraps(command)
    def with_call(
        name: str,
        words: tuple[str, ...],
        only: tuple[str, ...],
        is_test: bool,
        file: Path | None,
        benchmarks: Path | None,
        directory: Path | None,
        **others: Any,
    ) -> Any:
        from harness.experiments.experiment import BENCHMARKS, call_for

        call = call_for(
            name,
            directory=directory,
            words=words,
            only=only,
            file=file,
            package=benchmarks or BENCHMARKS,
            is_test=is_test,
        )
        return command(call=call, **others)

    for option in reversed(_OPTIONS):
        with_call = option(with_call)
    return with_call
