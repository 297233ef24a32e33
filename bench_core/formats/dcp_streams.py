"""The files of one checkpoint while `torch.distributed.checkpoint` writes them in its threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.distributed.checkpoint.filesystem import FileSystem


class Streams(FileSystem):
    """The file system of one save: knows its threads, and what went wrong in them.

    `save` itself notices neither a thread that died nor, when it fails, one that writes on (torch
    2.13). What happens in the caller's own thread it raises, so that is not kept here.

    Attributes:
        errors: what went wrong in other threads, in the order of time.
    """

    def __init__(self) -> None:
        self.errors: list[BaseException] = []
        self._caller = threading.current_thread()
        self._threads: set[threading.Thread] = set()
        self._has_ended = False

    @contextmanager
    def create_stream(self, path: str | os.PathLike[str], mode: str) -> Iterator[Any]:
        """Open a file; in another thread than the caller's an error is kept, not raised.

        A file that could not be opened is replaced by one that keeps nothing.
        """
        thread = threading.current_thread()
        if thread is self._caller:
            with super().create_stream(path, mode) as stream:
                yield stream
            return
        # In this order: either `end` sees the thread, or the thread sees that all has ended.
        self._threads.add(thread)
        is_open = False
        if not self._has_ended:
            try:
                with super().create_stream(path, mode) as stream:
                    is_open = True
                    yield stream
            except BaseException as error:
                self.errors.append(error)
        if not is_open:
            with Path(os.devnull).open(mode) as nowhere:
                yield nowhere

    def end(self) -> None:
        """Wait until no thread writes any more; from then on none begins to."""
        self._has_ended = True
        for thread in list(self._threads):
            thread.join()
