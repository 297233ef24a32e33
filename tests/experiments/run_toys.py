"""A package of benchmarks for the tests of runs: each contender behaves as it is called."""

from __future__ import annotations

from pathlib import Path

SOURCE = '''
"""Contenders that behave as they are called."""

import atexit
import os
import signal
import time

from harness.benchmark import Benchmark, data_dir
from harness.errors import InputError, RefusedError, WrongResultError


def is_first(what):
    """Whether this is asked for the first time in the data folder."""
    marker = data_dir() / what
    found = marker.exists()
    marker.touch()
    return not found


class Toy(Benchmark):
    """Inside the clock: next to nothing."""

    params = (("fine", "other"), (1, 2))
    param_names = ("contender", "size")
    open_params = ("contender",)
    timeout = 2.5

    @classmethod
    def check_param(cls, name, value):
        if value == "impossible":
            raise InputError("that is impossible")

    def prepare(self, contender, size):
        self.contender, self.size = contender, size
        self.samples = getattr(self, "samples", 0) + 1
        if contender == "refused":
            raise RefusedError("no such device")
        if contender == "sleeps":
            path = data_dir() / "left behind"
            path.touch()
            atexit.register(path.unlink)

    def time_work(self, contender, size):
        if contender == "slow":
            time.sleep(0.05)
        if contender == "once" and is_first("once"):
            os.kill(os.getpid(), signal.SIGKILL)
        if contender == "first" and is_first("first"):
            raise ValueError("the first time")
        if contender == "greedy":
            return bytearray(1 << 30)
        if contender == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if contender == "leaves":
            os._exit(7)
        if contender in ("hangs", "sleeps"):
            time.sleep(60)
        if contender == "raises":
            raise ValueError("not today")

    def needed_bytes(self):
        return self.size

    def ideal_seconds(self, limits):
        return limits.seconds("sequential_read", self.size)

    def verify(self):
        self.note(samples=self.samples, data=os.environ["BENCH_CORE_DATA"], seed=self.seed)
        if self.contender == "wrong":
            raise WrongResultError("one tensor differs")


class Closed(Benchmark):
    """Inside the clock: nothing; the names of its parameter are all there are."""

    params = (("thread", "process"),)
    param_names = ("way",)

    def time_nothing(self, way):
        pass


class Plain(Benchmark):
    """Inside the clock: nothing."""

    def time_nothing(self):
        pass
'''


def make_package(folder: Path, name: str = "toys") -> Path:
    """Write the package into a folder and return its own; a process can import one of a name."""
    package = folder / name
    package.mkdir()
    (package / "__init__.py").write_text('"""Toys."""\n')
    (package / "work.py").write_text(SOURCE)
    return package


def section(name: str = "toy", *, contenders: str = '["fine", "other"]', rounds: int = 3) -> str:
    """Return TOML of a section with one comparison, without probes."""
    return f"""
[{name}]
title = "Toys"
rounds = {rounds}
probe = false

[[{name}.comparisons]]
name = "toys"
benchmark = "work.Toy.time_work"
params = {{ contender = {contenders}, size = [1] }}
"""
