"""The same readings by fio, so that the harness's own probe can be checked against another's.

fio reads and writes the probe's own scratch file, through the open descriptor's name in /proc, with
the same block size, depth and duration: https://fio.readthedocs.io.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

from harness.errors import HarnessError, RefusedError
from harness.limits import disk
from harness.limits.limit_probe import LimitProbe
from harness.limits.model import Limits, Reading
from harness.limits.scratch import Point, ScratchFile

AGREE_WITHIN: Final = 0.20
ENGINES: Final = ("libaio", "io_uring")
"""Those that keep several requests in flight, in order of preference."""
TIME_LIMIT: Final = 60.0
MOST_ROUNDS: Final = 3
"""A pair that differs is measured again: on a shared machine one reading says little."""

HUGE_PAGE: Final = 2 << 20
HUGE_PAGES_IN_MALLOC: Final = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""Gives fio's buffers the kind of pages that the probe's have; without it fio is half as fast."""
FILLS_PAGES: Final = 4 * HUGE_PAGE
ABOUT_AS_GOOD: Final = 0.9

Pattern = Literal["read", "write", "randread"]

PATTERNS: Final[dict[str, Pattern]] = {
    "sequential_read": "read",
    "sequential_write": "write",
    "random_read_4k": "randread",
    "random_read_4k_deep": "randread",
}


class FioError(HarnessError):
    """fio failed, or said something that cannot be read."""


@dataclass(frozen=True)
class Comparison:
    """One limit as the harness's probe and as fio measured it in turn, at the same point."""

    name: str
    """The limit's."""
    point: Point
    own_readings: tuple[float, ...]
    fio_readings: tuple[float, ...]

    @property
    def own(self) -> float:
        """The best that the harness's probe reached."""
        return max(self.own_readings)

    @property
    def fio(self) -> float:
        """The best that fio reached."""
        return max(self.fio_readings)

    @property
    def difference(self) -> float:
        """Own / fio - 1."""
        return self.own / self.fio - 1

    @property
    def agrees(self) -> bool:
        """Whether the probe's figure is within 20 % of fio's."""
        return abs(self.difference) <= AGREE_WITHIN


def find() -> Path:
    """Return the fio program.

    Raises:
        RefusedError: it is not installed.
    """
    found = shutil.which("fio")
    if found is None:
        raise RefusedError("fio is not installed, so the probe is not compared with it")
    return Path(found)


def measure(file: ScratchFile, pattern: Pattern, point: Point, seconds: float) -> float:
    """Return what fio reaches on the scratch file: bytes per second, or IOPS for ``randread``.

    Raises:
        RefusedError: fio is not installed.
        FioError: fio failed; its first line of complaint is in the text.
    """
    command = [
        str(find()),
        "--name=limit",
        f"--filename={file.path}",
        f"--rw={pattern}",
        f"--bs={point.block}",
        f"--iodepth={point.depth}",
        f"--ioengine={_engine()}",
        "--direct=1",
        f"--size={file.size}",
        "--time_based",
        f"--runtime={max(1, round(seconds * 1000))}ms",
        "--end_fsync=1",
        "--allow_file_create=0",
        f"--iomem_align={HUGE_PAGE}",
        # The probe does not touch its buffers between requests either.
        "--scramble_buffers=0",
        "--output-format=json",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIME_LIMIT,
        env={**os.environ, **HUGE_PAGES_IN_MALLOC},
    )
    if done.returncode != 0:
        complaint = (done.stderr or done.stdout).strip().partition("\n")[0]
        raise FioError(f"fio failed with exit code {done.returncode}: {complaint}")
    return parse(done.stdout, pattern)


def parse(output: str, pattern: Pattern) -> float:
    """Return bytes per second, or IOPS for ``randread``, from fio's JSON output.

    Raises:
        FioError: it is not fio's JSON, or has no figure for this pattern.
    """
    # fio prints warnings before the JSON.
    text = output[output.find("{") :] if "{" in output else output
    try:
        side = json.loads(text)["jobs"][0]["write" if pattern == "write" else "read"]
        value = float(side["iops"] if pattern == "randread" else side["bw_bytes"])
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise FioError(f"fio's output has no {pattern} figure: {error!r}") from error
    if value <= 0:
        raise FioError(f"fio reports {value} for {pattern}: it moved nothing")
    return value


def compare(
    limit_probe: LimitProbe,
    limits: Limits,
    seconds: float,
    on_step: Callable[[str], None] | None = None,
) -> list[Comparison]:
    """Measure the disk's limits by the harness's probe and by fio, in turn, where they are best.

    Limits that could not be probed are left out.

    Raises:
        RefusedError: fio is not installed.
        FioError: fio failed.
    """
    find()
    comparisons = []
    for name, pattern in PATTERNS.items():
        point = _best_point(limits, name)
        if point is not None:
            if on_step is not None:
                on_step(name)
            comparisons.append(_compare_one(limit_probe, name, pattern, point, seconds))
    return comparisons


def as_limits(comparisons: Iterable[Comparison]) -> Limits:
    """Return the readings of both sides as limits: what fio reached, the machine can do."""
    readings: dict[str, tuple[Reading, ...]] = {}
    for item in comparisons:
        where: Reading = {"block": item.point.block, "depth": item.point.depth}
        own: list[Reading] = [{**where, "value": value} for value in item.own_readings]
        other: list[Reading] = [
            {**where, "value": value, "from": "fio"} for value in item.fio_readings
        ]
        readings[item.name] = (*own, *other)
    return Limits.from_readings(readings, {})


def _best_point(limits: Limits, name: str) -> Point | None:
    """Return the point with the smallest buffers among those about as good as the best.

    Very large buffers take fio so long to make that it shows in a short reading; small ones do not
    fill huge pages in fio, which has its own for each job.
    """
    readings = [
        item
        for item in limits.readings.get(name, ())
        if item["block"] == disk.SECTOR or _buffer_bytes(item) >= FILLS_PAGES
    ]
    most = max((float(item["value"]) for item in readings), default=0.0)
    good = [item for item in readings if float(item["value"]) >= ABOUT_AS_GOOD * most]
    if not good:
        return None
    chosen = min(good, key=_buffer_bytes)
    return Point(int(chosen["block"]), int(chosen["depth"]))


def _buffer_bytes(reading: Reading) -> int:
    return int(reading["block"]) * int(reading["depth"])


def _compare_one(
    limit_probe: LimitProbe, name: str, pattern: Pattern, point: Point, seconds: float
) -> Comparison:
    result = Comparison(name, point, (), ())
    for turn in range(MOST_ROUNDS):
        if pattern == "randread":
            reading = disk.random_read(limit_probe.file, point.depth, seconds, seed=turn)
        else:
            reading = limit_probe.sequential(name, point, seconds)
        other = measure(limit_probe.file, pattern, point, seconds)
        result = Comparison(
            name,
            point,
            (*result.own_readings, float(reading["value"])),
            (*result.fio_readings, other),
        )
        if result.agrees:
            break
    return result


@cache
def _engine() -> str:
    """Return an asynchronous engine that this fio was built with."""
    listed = subprocess.run(
        [str(find()), "--enghelp"], capture_output=True, text=True, check=False, timeout=TIME_LIMIT
    ).stdout.split()
    for engine in ENGINES:
        if engine in listed:
            return engine
    raise RefusedError(f"this fio has none of the engines {', '.join(ENGINES)}")
