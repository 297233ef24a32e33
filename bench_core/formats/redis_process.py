"""A Redis server of one's own, for measurements and tests: started, waited for, stopped."""

from __future__ import annotations

import ctypes
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench_core.errors import UnsupportedError
from bench_core.optional import require

_PR_SET_PDEATHSIG: Final = 1
_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 10.0


@contextmanager
def redis_server(*options: str, port: int | None = None) -> Iterator[str]:
    """Run ``redis-server`` without persistence in a temporary folder; yield its address.

    It listens on a Unix socket there or, given a ``port``, on that port of the loopback, and goes
    with its folder at the end of the block, or with this process if that is killed (Linux).

    Args:
        options: further arguments of ``redis-server``, such as ``"--appendonly", "yes"``.
        port: a free TCP port, or None.

    Raises:
        UnsupportedError: there is no ``redis-server``, or it does not start.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise UnsupportedError("redis-server is not installed (Debian: apt install redis-server)")
    with tempfile.TemporaryDirectory(prefix="redis-") as name:
        folder = Path(name)
        socket = folder / "socket"
        address = f"unix://{socket}" if port is None else f"redis://127.0.0.1:{port}"
        command = [program, "--dir", str(folder), "--save", "", "--appendonly", "no"]
        command += ["--bind", "127.0.0.1", "--port", str(port or 0), "--unixsocket", str(socket)]
        with (folder / "log").open("wb") as log, _running([*command, *options], log) as process:
            _wait_until_it_answers(process, address, folder / "log")
            yield address


@contextmanager
def _running(command: Sequence[str], log: Any) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent()
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _die_with_parent() -> Callable[[], None] | None:
    """Return what the child calls so that the kernel kills it with its parent."""
    if sys.platform != "linux":
        return None
    # Looked up before the fork: after it, little is safe to call.
    prctl = ctypes.CDLL(None).prctl
    return lambda: prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


def _wait_until_it_answers(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    redis: Any = require("redis", "storage")
    client = redis.Redis.from_url(address)
    deadline = time.monotonic() + _START_SECONDS
    try:
        while process.poll() is None and time.monotonic() < deadline:
            try:
                client.ping()
                return
            except redis.RedisError:
                time.sleep(0.02)
    finally:
        client.close()
    lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
    raise UnsupportedError(f"redis-server does not answer at {address}: {lines[-1]}")
