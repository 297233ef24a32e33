"""Benchmark classes that go through everything a runner has to deal with."""

import time

from harness.benchmark import Benchmark, data_dir
from harness.errors import RefusedError, WrongResultError


class Sleep(Benchmark):
    """In the clock: one sleep as long as the measured commit's library says."""

    repeat = 3
    rounds = 1
    params = (("a", "b"), (1, 2))
    param_names = ("kind", "times")
    quick = {"times": (2,)}

    def prepare(self, kind: str, times: int) -> None:
        from bench_core import SECONDS

        self.seconds = SECONDS * times
        (data_dir() / "sleeping").touch()

    def time_sleep(self, kind: str, times: int) -> float:
        time.sleep(self.seconds)
        return self.seconds

    def track_seconds(self, kind: str, times: int) -> float:
        """Return what the commit's library says, exactly."""
        return self.seconds

    def verify(self) -> None:
        if self.result != self.seconds:
            raise WrongResultError(f"slept {self.result} s, expected {self.seconds}")
        self.note(kind="sleep", return_seconds=0.001)


class Cached(Benchmark):
    """In the clock: reading one file, warm and cold."""

    repeat = 2
    rounds = 1
    params = ("cold_file", "warm")
    param_names = ("cache",)
    quick = {"cache": ("cold_file", "warm")}

    def prepare(self, cache: str) -> None:
        self.path = data_dir() / "cached.bin"
        self.path.write_bytes(bytes(range(256)) * 4096)

    def files(self) -> list:
        return [self.path]

    def needed_bytes(self) -> int:
        return self.path.stat().st_size

    def time_read(self, cache: str) -> bytes:
        return self.path.read_bytes()

    def clean(self) -> None:
        self.path.unlink(missing_ok=True)


class Plain(Benchmark):
    """Without parameters: a track_ method beside a time_ method."""

    repeat = 2
    rounds = 1
    unit = "bytes"

    def time_nothing(self) -> None:
        pass

    def track_size(self) -> int:
        return 4096


class Refused(Benchmark):
    """Means nothing anywhere."""

    rounds = 1
    repeat = 2

    def prepare(self) -> None:
        raise RefusedError("no such device")

    def time_never(self) -> None:
        raise AssertionError("a refused case ran")

    def time_never_either(self) -> None:
        raise AssertionError("a refused case ran")


class Missing(Benchmark):
    """Needs a library that the measured commit does not have."""

    rounds = 1
    repeat = 2

    def prepare(self) -> None:
        from bench_core import not_there_yet  # noqa: F401

    def time_never(self) -> None:
        raise AssertionError("a refused case ran")


class Wrong(Benchmark):
    """Fast, and wrong."""

    rounds = 1
    repeat = 2

    def time_wrong(self) -> int:
        return 41

    def verify(self) -> None:
        if self.result != 42:
            raise WrongResultError(f"the answer is {self.result}, expected 42")


class Raises(Benchmark):
    """The operation itself fails."""

    rounds = 1
    repeat = 2

    def time_raises(self) -> None:
        raise OSError(28, "No space left on device")
