"""Shares as processes of this machine; one that is lost is started again."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Final

from harness.errors import HarnessError, InputError
from harness.experiments.engines.base import POLL_SECONDS, EngineError, Waiting
from harness.experiments.share import Share, take_share
from harness.records import Param
from harness.subprocesses import end_with_parent

STARTS: Final = 3
"""How often a share is started whose process is lost."""
STOP_SECONDS: Final = 30.0


def run(shares: Sequence[Share], options: Mapping[str, Param], waiting: Waiting) -> list[str]:
    """Take each share in a process; see `harness.experiments.engines.base.Engine`."""
    if options:
        raise InputError(f"the engine 'processes' has no option {next(iter(options))!r}")
    going = [_Process(share) for share in shares]
    try:
        while running := [process for process in going if not process.has_ended]:
            wait([process.sentinel for process in running], POLL_SECONDS)
            for process in running:
                process.look()
            waiting()
    except BaseException:
        for process in going:
            process.stop()
        raise
    return [process.lost for process in going if process.lost]


class _Process:
    """The process of one share."""

    def __init__(self, share: Share) -> None:
        self.lost = ""
        """Why the share was given up."""
        self.has_ended = False
        self._share = share
        self._starts = 0
        self._start()

    @property
    def sentinel(self) -> int:
        """What `multiprocessing.connection.wait` waits for."""
        return self._process.sentinel

    def look(self) -> None:
        """Look whether the process has ended, and start another if it was lost.

        Raises:
            EngineError: it ended with an error.
        """
        if self._process.is_alive():
            return
        self._process.join()
        said = self._said()
        if said:
            raise EngineError(said)
        code = self._process.exitcode
        if code == 0:
            self.has_ended = True
        elif self._starts < STARTS:
            self._start()
        else:
            self.lost = (
                f"share {self._share.position} was lost {STARTS} times, with exit code {code}"
            )
            self.has_ended = True

    def stop(self) -> None:
        """Let the process end in good order."""
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe(duplex=False)
        # Not a daemon: it has a child of its own for each cell.
        self._process: BaseProcess = context.Process(
            target=_take, args=(self._share, theirs), name=f"share-{self._share.position}"
        )
        self._process.start()
        theirs.close()
        self._starts += 1

    def _said(self) -> str:
        with suppress(EOFError, OSError):
            if self._connection.poll():
                return str(self._connection.recv())
        return ""


def _take(share: Share, connection: Connection) -> None:
    """Take a share; the process's main function."""
    end_with_parent(signal.SIGTERM)
    try:
        take_share(share)
    except KeyboardInterrupt:
        sys.exit(0)
    except HarnessError as error:
        connection.send(str(error))
        sys.exit(1)
