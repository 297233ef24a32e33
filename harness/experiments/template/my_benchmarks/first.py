"""Which checksum is the fastest, and from which size on? Put your own function in its place."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Callable
from typing import Any

from harness.benchmark import Benchmark
from harness.errors import WrongResultError

ALGORITHMS: dict[str, Callable[[Any], object]] = {
    "crc32": zlib.crc32,
    "adler32": zlib.adler32,
    "blake2b": lambda data: hashlib.blake2b(data).digest(),
}


class Checksum(Benchmark):
    """Inside the clock: one checksum over bytes in memory. Making the bytes is outside."""

    # The first parameter names the contenders; each sample is one value of each parameter.
    params = (("crc32", "adler32", "blake2b"), (64, 1024, 16384))
    param_names = ("algorithm", "kibibytes")

    def prepare(self, algorithm: str, kibibytes: int) -> None:
        """Build what the function needs; not timed."""
        self.data = random.Random(self.seed).randbytes(kibibytes << 10)
        self.checksum = ALGORITHMS[algorithm]

    def time_checksum(self, algorithm: str, kibibytes: int) -> object:
        """What is timed; what it returns is checked by `verify`."""
        return self.checksum(self.data)

    def needed_bytes(self) -> int:
        """Bytes that the function has to look at: gives GB/s in tables and figures."""
        return len(self.data)

    def verify(self) -> None:
        """Check the answer after the clock: a wrong one is a failed sample, never a fast one."""
        if self.result != self.checksum(bytearray(self.data)):
            raise WrongResultError("the checksum of a copy differs")
