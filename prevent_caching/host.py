"""``python -m prevent_caching.host --dir D``: drop this host's caches for requesters in containers.

Run it as root on the host and mount D into the container. It writes one control file and reads
and writes small files in D, nothing else; nothing in D is ever executed. The standard library has
no inotify, so it looks into D twenty times a second: about 0.5 % of one core.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from prevent_caching.drop import DROP_CACHES, LEVELS, drop, may_drop
from prevent_caching.errors import PreventCachingError, require_linux
from prevent_caching.trusted_directory import open_trusted
from prevent_caching.watcher import Watcher

log = logging.getLogger("prevent_caching")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a directory until SIGTERM or SIGINT; return the exit status."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s")
    try:
        require_linux("dropping caches")
        directory = open_trusted(options.dir)
    except PreventCachingError as error:
        print(f"prevent_caching.host: {error}", file=sys.stderr)
        return 2
    # Not closed before the process ends: a drop still under way answers through it.
    return _serve(directory, options)


def _serve(directory: int, options: argparse.Namespace) -> int:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if not may_drop(options.control):
        log.warning("user %d may not write %s: requests are refused", os.geteuid(), options.control)
    watcher = Watcher(
        directory,
        partial(drop, options.level, options.control),
        level=options.level,
        minimum_interval=options.min_interval,
    )
    log.info("process %d watches %s", os.getpid(), options.dir)
    watcher.serve(stop, options.poll)
    if stop.is_set():
        return 0
    log.error("%s was removed", options.dir)
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m prevent_caching.host",
        description="Drop this host's page cache for each request in a directory.",
    )
    parser.add_argument("--dir", type=Path, required=True, help="directory shared with requesters")
    parser.add_argument(
        "--level",
        type=int,
        choices=sorted(LEVELS),
        default=3,
        help="1: page cache; 3: also dentries and inodes (default 3)",
    )
    parser.add_argument(
        "--min-interval",
        type=_seconds,
        default=1.0,
        metavar="SECONDS",
        help="least time between two drops; requests meanwhile share the next (default 1)",
    )
    parser.add_argument(
        "--poll",
        type=_seconds,
        default=0.05,
        metavar="SECONDS",
        help="time between two looks into the directory (default 0.05)",
    )
    parser.add_argument(
        "--control",
        type=Path,
        default=DROP_CACHES,
        metavar="FILE",
        help=f"the host kernel's control file (default {DROP_CACHES})",
    )
    return parser


def _seconds(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 3600:
        raise argparse.ArgumentTypeError(f"{text} is not between 0.01 and 3600 seconds")
    return value


if __name__ == "__main__":
    sys.exit(main())
