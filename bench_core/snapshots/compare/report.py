"""A report over many models against one base: a line of JSON each, gone on with after a stop."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench_core.errors import BenchCoreError, CorruptFileError
from bench_core.snapshots.compare.comparison import compare_models
from bench_core.snapshots.compare.models import Model, model_at
from bench_core.snapshots.hub_folders import Found

_START: Final = b'{"deep": '
"""What each line begins with: the end of a file that begins otherwise is not ours to cut off."""


@dataclass(frozen=True)
class Failure:
    """A model that could not be compared."""

    model: str
    reason: str
    """One line, which names its folder."""


@dataclass(frozen=True)
class Report:
    """Compares models with a base, and keeps what was found in a file.

    Example:
        >>> report = Report(Path("compared.jsonl"), deep=False)
        >>> report.path.name
        'compared.jsonl'
    """

    path: Path | None
    """Where the lines are appended; None: nowhere."""
    deep: bool

    def rows(
        self,
        base: Model,
        models: Sequence[Found],
        progress: Callable[[int, int, str], None] | None = None,
    ) -> Iterator[dict[str, Any] | Failure]:
        """Yield for each model its line, in the models' order, or why there is none.

        What is yielded has no ``tensors``, of which many models have very many: they are in the
        file. A model that has a line in the file already, against a base of this name and as deep,
        is not compared again. Each line is in the file before it is yielded.

        Args:
            base: what all are compared with.
            models: as `models_under` finds them.
            progress: called with models done, models in all, and the name of the next one.

        Raises:
            CorruptFileError: the file holds something else than such lines.
        """
        done = self.done(base.name)
        for index, found in enumerate(models):
            if progress is not None:
                progress(index, len(models), found.name)
            if found.name in done:
                yield done[found.name]
                continue
            try:
                other = model_at(found.folder, found.name)
            except BenchCoreError as error:
                yield Failure(found.name, str(error))
                continue
            yield _summary(self.keep(compare_models(base, other, self.deep).as_json()))

    def keep(self, line: dict[str, Any]) -> dict[str, Any]:
        """Append a line to the file, and return it with what `done` looks for."""
        line = {"deep": self.deep, **line}
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        return line

    def done(self, base: str) -> dict[str, dict[str, Any]]:
        """Return the lines in the file by model, and cut off one that was not finished.

        Args:
            base: name of the base; lines against another one, or not as deep, are left out.

        Raises:
            CorruptFileError: the file holds something else than such lines.
        """
        if self.path is None or not self.path.exists():
            return {}
        done: dict[str, dict[str, Any]] = {}
        whole = 0
        with self.path.open("rb") as file:
            for text in file:
                if not text.startswith(_START[: len(text)]):
                    raise self._of_something_else()
                if not text.endswith(b"\n"):
                    break
                whole += len(text)
                line = self._parsed(text)
                if line["base"] == base and line["deep"] == self.deep:
                    done[line["model"]] = line
        if whole < self.path.stat().st_size:
            with self.path.open("r+b") as file:
                file.truncate(whole)
        return done

    def _parsed(self, text: bytes) -> dict[str, Any]:
        try:
            line = _summary(json.loads(text))
        except (ValueError, AttributeError) as error:
            raise self._of_something_else() from error
        if not {"base", "model", "identical", "total"} <= line.keys():
            raise self._of_something_else()
        return line

    def _of_something_else(self) -> CorruptFileError:
        return CorruptFileError(
            f"{self.path}: holds other lines than those of a comparison; name another file"
        )


def _summary(line: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in line.items() if name != "tensors"}
