"""Several processes open one new journal at once: each waits for the others, none is refused."""

from __future__ import annotations

import multiprocessing
import sqlite3
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from bench_core.model_search.journal import Journal
from bench_core.write_ahead import begin_write_ahead

PROCESSES, TIMES = 4, 8


def open_together(folder: Path, barrier: Barrier) -> None:
    for index in range(TIMES):
        barrier.wait(60)
        Journal(folder / f"{index}.sqlite", "here", {"train": "a", "test": "b"}).close()


def test_a_new_journal_may_be_opened_by_several_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    processes = [
        context.Process(target=open_together, args=(tmp_path, barrier)) for _ in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * PROCESSES


def test_who_holds_the_file_for_too_long_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "held.sqlite"
    holder, other = sqlite3.connect(path), sqlite3.connect(path, timeout=0.01)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        begin_write_ahead(other, 0.05)
    holder.rollback()
    begin_write_ahead(other, 0.05)
    holder.close()
    other.close()
