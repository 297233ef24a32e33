"""A directory with its watcher, a disk, and a way to be an unprivileged user."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from prevent_caching.block_device import block_device
from prevent_caching.errors import PreventCachingError
from prevent_caching.file_system import kind
from prevent_caching.io_limit import limited

NOBODY = 65534


@pytest.fixture(autouse=True)
def linux() -> None:
    """Skip elsewhere: all that is tested here needs this kernel's interfaces."""
    if sys.platform != "linux":
        pytest.skip("needs Linux")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Return an empty directory that only its owner may write."""
    made = tmp_path / "exchange"
    made.mkdir(mode=0o700)
    return made


@pytest.fixture
def descriptor(directory: Path) -> Iterator[int]:
    """Yield a descriptor of `directory`."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    yield opened
    os.close(opened)


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """Return a directory whose files can be evicted."""
    found = kind(tmp_path)
    if not found.has_page_cache_drop:
        pytest.skip(found.reason)
    return tmp_path


@pytest.fixture
def device_path(disk: Path) -> Path:
    """Return a directory whose block device is visible."""
    try:
        block_device(disk)
    except PreventCachingError as error:
        pytest.skip(str(error))
    return disk


@pytest.fixture
def limitable(device_path: Path) -> Path:
    """Return a directory whose device this process may limit for itself."""
    try:
        with limited(device_path, 2**40):
            pass
    except PreventCachingError as error:
        pytest.skip(str(error))
    return device_path


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """Yield an empty directory that every user can reach, unlike tmp_path."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def as_nobody() -> Callable[[Callable[[], object]], str]:
    """Return a function that calls another as an unprivileged user; the outcome as a text."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")

    def call(function: Callable[[], object]) -> str:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                outcome = repr(function())
            except BaseException as error:
                outcome = f"{type(error).__name__}: {error}"
            os.write(writer, outcome.encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as stream:
            outcome = stream.read()
        os.waitpid(child, 0)
        return outcome

    return call
