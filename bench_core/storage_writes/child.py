"""Fresh Python processes that answer requests, one JSON line each way: never forked, never left.

`multiprocessing` would import the parent's main module and this library before the first line of
ours runs, so that the phases of a start could not be told apart; and its barrier knows no worker
that died.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TextIO

import bench_core
from bench_core.errors import BenchCoreError, SaveError

# The first entry of the path would be the working directory, in which another copy of the library
# may lie: the child must run the one that its parent runs.
_START: Final = """
import importlib, sys, time
started_ns = time.perf_counter_ns()
sys.path[0] = sys.argv[2]
importlib.import_module(sys.argv[1]).main(started_ns)
"""


class Child:
    """A process that runs ``main(started_ns)`` of a module, for one thread to talk to.

    Args:
        module: its ``main`` opens a `Channel` and answers.
        timeout: seconds after which the process is killed.
        pass_fds: descriptors that it inherits.
    """

    def __init__(
        self, module: str, *, timeout: float | None = None, pass_fds: tuple[int, ...] = ()
    ) -> None:
        self.timeout = timeout
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, `close` closes it
        self.spawn_ns = time.perf_counter_ns()
        """When the process was asked for."""
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START, module, str(Path(bench_core.__file__).parents[1])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            pass_fds=pass_fds,
        )
        self._expired = False
        self._timer: threading.Timer | None = None
        if timeout is not None:
            self._timer = threading.Timer(timeout, self._expire)
            self._timer.daemon = True
            self._timer.start()

    def send(self, message: dict[str, Any]) -> None:
        """Send a request. A process that died is noticed by `receive`."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(message), file=self._process.stdin, flush=True)

    def receive(self) -> dict[str, Any]:
        """Wait for the answer.

        Raises:
            SaveError: the process failed, died, or ran out of time; the message says which.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SaveError(self._epitaph())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise SaveError(answer["error"])
        return answer

    def kill(self) -> None:
        """End the process at once; a thread that waits in `receive` gets the error."""
        self._process.kill()

    def close(self) -> None:
        """Let the process finish what it does and end, wait for it, and free what it held."""
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._process.wait()
        if self._timer is not None:
            self._timer.cancel()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.kill()
        self.close()

    def _expire(self) -> None:
        self._expired = True
        self.kill()

    def _epitaph(self) -> str:
        """Return why there is no answer, in one line."""
        code = self._process.wait()
        if self._expired:
            return f"the process was killed: it had not finished after {self.timeout:g} s"
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "no message")
        how = f"signal {-code}" if code < 0 else f"exit status {code}"
        return f"the process died ({how}): {last}"


class Channel:
    """The child's side: requests from stdin, answers to stdout.

    Whatever else is printed in the process goes to stderr, so that no library can disturb it.
    """

    def __init__(self) -> None:
        self._requests: TextIO = sys.stdin
        self._answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def receive(self) -> dict[str, Any] | None:
        """Return the next request, or None when the parent has no more, or is gone."""
        line = self._requests.readline()
        request: dict[str, Any] | None = json.loads(line) if line else None
        return request

    def send(self, answer: dict[str, Any]) -> None:
        """Answer a request."""
        print(json.dumps(answer), file=self._answers, flush=True)

    def fail(self, error: Exception) -> None:
        """Answer with an error, in one line."""
        self.send({"error": one_line(error)})


def one_line(error: BaseException) -> str:
    """Return an error's text in one line; one that is not ours begins with its type."""
    text = " ".join(str(error).split())
    return text if isinstance(error, BenchCoreError) else f"{type(error).__name__}: {text}"
