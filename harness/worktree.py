"""A git worktree of its own for measuring commits, removed whatever happens."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from harness.subprocesses import is_running, output_of

WORKTREES: Final = Path(".asv/worktrees")


def git(folder: Path, *arguments: str) -> str:
    """Return what a git command in ``folder`` prints; its complaint is an `InputError`."""
    return output_of(["git", "-C", str(folder), *arguments])


@contextmanager
def worktree(root: Path) -> Iterator[Path]:
    """Yield a detached worktree of its own, removed at the end whatever happens.

    One that a killed process left behind is removed first.
    """
    _remove_abandoned(root)
    folder = root / WORKTREES / f"{os.getpid()}-{secrets.token_hex(4)}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    git(root, "worktree", "add", "--detach", "--no-checkout", str(folder), "HEAD")
    try:
        yield folder
    finally:
        _remove_worktree(root, folder)


def check_out(folder: Path, commit: str) -> None:
    """Make a worktree hold the commit's files and nothing else.

    Compiled files must go: Python takes one for valid when the source's size and second of
    modification agree, and two commits checked out within a second may agree in both.
    """
    git(folder, "checkout", "--quiet", "--force", "--detach", commit)
    git(folder, "clean", "-ffdxq")


def _remove_abandoned(root: Path) -> None:
    """Remove worktrees of loops whose process no longer runs."""
    for folder in (root / WORKTREES).glob("*-*"):
        process = folder.name.partition("-")[0]
        if process.isdigit() and not is_running(int(process)):
            _remove_worktree(root, folder)


def _remove_worktree(root: Path, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    git(root, "worktree", "prune")
