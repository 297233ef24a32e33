"""Sends a run's values, while it goes on, to TensorBoard or to Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from harness.errors import InputError
from harness.experiments.plan import Cell, case_id
from harness.experiments.standing import Standing
from harness.experiments.taken import Line
from harness.experiments.watcher import Watcher
from harness.records import Record


class Sink(Protocol):
    """Where scalars go."""

    def send(self, name: str, value: float, step: int) -> None:
        """Send one value."""

    def close(self) -> None:
        """Send what has not been sent yet."""


class Scalars(Watcher, AbstractContextManager["Scalars"]):
    """A watcher that sends each sample's value, throughput and efficiency, and the run's progress.

    The step of a sample is its number among those of its case; a sample that is not ``ok`` is
    counted under ``status/…`` and has no value.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._standing = Standing(())
        self._steps: dict[str, int] = {}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._sink.close()

    def planned(self, cells: Sequence[Cell], before: Sequence[Line]) -> None:
        """Begin to count."""
        self._standing = Standing(cells)
        for line in before:
            self._standing.heard(line)

    def heard(self, line: Line) -> None:
        """Send a sample."""
        self._standing.heard(line)
        if not isinstance(line, Record):
            return
        if line.status == "ok":
            self._send_values(line)
        tally = self._standing.tally()
        step = tally.samples - tally.samples_left
        self._sink.send("progress/cells_done", tally.done, step)
        for status, count in tally.statuses.items():
            self._sink.send(f"status/{status}", count, step)

    def _send_values(self, record: Record) -> None:
        case = case_id(record)
        step = self._steps[case] = self._steps.get(case, -1) + 1
        for quantity, value in values(record).items():
            self._sink.send(f"{quantity}/{case}", value, step)


def values(record: Record) -> dict[str, float]:
    """Return what is worth a curve of a sample: its value, and GB/s and efficiency of a time."""
    found = {} if record.value is None else {record.unit: record.value}
    if record.value and record.unit == "seconds":
        if record.bytes:
            found["gb_per_s"] = record.bytes / record.value / 1e9
        if record.ideal_seconds:
            found["efficiency"] = record.ideal_seconds / record.value
    return found


class TensorBoardSink:
    """Event files for TensorBoard below a run's folder."""

    def __init__(self, folder: Path) -> None:
        """Open a file of events.

        Raises:
            InputError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InputError(_missing("tensorboard", error)) from error
        self._writer: Any = SummaryWriter(str(folder / "tensorboard"))

    def send(self, name: str, value: float, step: int) -> None:
        """Write one value."""
        self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the file."""
        self._writer.close()


class WandbSink:
    """A run of Weights & Biases: online, or offline as ``WANDB_MODE`` says."""

    def __init__(self, folder: Path, project: str, described: Mapping[str, Any]) -> None:
        """Begin a run.

        Raises:
            InputError: wandb is not installed, or cannot begin.
        """
        try:
            import wandb
        except ImportError as error:
            raise InputError(_missing("wandb", error)) from error
        try:
            self._run: Any = wandb.init(project=project, dir=str(folder), config=dict(described))
        except Exception as error:
            raise InputError(f"Weights & Biases: {' '.join(str(error).split())}") from error

    def send(self, name: str, value: float, step: int) -> None:
        """Log one value; the curve's own step stands beside it, as W&B has one step for all."""
        self._run.log({name: value, f"{name}/step": step})

    def close(self) -> None:
        """End the run."""
        self._run.finish()


def _missing(library: str, error: ImportError) -> str:
    return f"{library} is missing ({error}); install it with: pip install 'bench-core[watch]'"
