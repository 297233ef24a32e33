"""Runs other programs so that they end with this one, and their mistakes are one line."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import IO, Final

from harness.errors import InputError

GRACE_SECONDS: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1


def output_of(command: Sequence[str], folder: Path | None = None) -> str:
    """Run a command in ``folder`` and return what it printed.

    Raises:
        InputError: it cannot be run, or it failed; the text is the first line it complained with.
    """
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
        raise InputError(f"{' '.join(command[:4])} ended with {done.returncode}: {said[0]}")
    return done.stdout


def run_group(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], output: IO[str]
) -> int:
    """Run a command in a process group of its own, which does not outlive this call."""
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=_interruptible(),
    )
    try:
        return process.wait()
    except BaseException:
        # At an interrupt asv ends its own children, which are in groups of their own.
        for ending in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, ending)
            with suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
        raise


def _interruptible() -> Callable[[], None]:
    """Return what a child calls before it becomes another program, so that SIGINT ends it.

    A shell starts background jobs with SIGINT ignored, and children inherit that. On Linux the
    child is also interrupted when its parent dies, even by SIGKILL (prctl(2), PR_SET_PDEATHSIG).
    """
    # Looked up before the fork, after which loading a library is not safe.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def before_exec() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if prctl is not None:
            prctl(_PR_SET_PDEATHSIG, signal.SIGINT)

    return before_exec


def end_with_parent(ending: signal.Signals) -> None:
    """Let this process be sent a signal when its parent dies, even by SIGKILL; on Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ending)


def is_running(process: int) -> bool:
    """Tell whether a process of this id exists on this host."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """Let SIGTERM end the loop like Ctrl-C does, so that its worktree is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
