"""Makespan, mean, throughput and decomposition from literal stamps."""

from __future__ import annotations

import pytest

from bench_core.errors import SaveError
from bench_core.storage_writes import TaskTimes, decompose, summarise
from bench_core.storage_writes.task_times import STAMPS


def row(*seconds: float, task: int = 0, setup: str = "excluded", nbytes: int = 100) -> TaskTimes:
    stamps = {name: int(s * 1e9) for name, s in zip(STAMPS[: len(seconds)], seconds, strict=True)}
    failed = len(seconds) < len(STAMPS)
    status, reason = ("failed", "it broke") if failed else ("ok", None)
    return TaskTimes(task, setup, status, reason, "cpu", stamps, nbytes, nbytes)


#         spawn started imported context built begin return durable
EARLY = (0, 0.25, 1, 1, 2, 4, 5, 6)
LATE = (1, 1.5, 2, 2, 3, 4.5, 6, 8)


def test_phases_are_the_times_between_neighbouring_stamps() -> None:
    assert row(*EARLY).phases == {
        "spawn": 0.25,
        "import": 0.75,
        "context": 0.0,
        "build": 1.0,
        "barrier": 2.0,
        "write": 1.0,
        "flush": 1.0,
    }


def test_a_failed_task_has_the_phases_it_came_through() -> None:
    assert row(0, 0.25, 1).phases == {"spawn": 0.25, "import": 0.75}


def test_makespan_and_mean_are_kept_apart() -> None:
    summary = summarise([row(*EARLY), row(*LATE, task=1)])
    assert summary.makespan_seconds == 4.0  # the first begin at 4, the last durable at 8
    assert summary.mean_task_seconds == (2.0 + 3.5) / 2
    assert summary.bytes_per_second == 200 / 4.0


def test_with_setup_the_makespan_starts_at_the_first_spawn() -> None:
    rows = [row(*EARLY, setup="included"), row(*LATE, setup="included")]
    assert summarise(rows).makespan_seconds == 8.0
    assert summarise(rows).mean_task_seconds == (2.0 + 3.5) / 2


def test_failed_tasks_are_counted_and_their_bytes_are_not() -> None:
    summary = summarise([row(*EARLY), row(0, 1, task=1)])
    assert (summary.n_ok, summary.n_failed, summary.bytes_logical) == (1, 1, 100)


def test_no_task_left_is_an_error_with_the_reasons() -> None:
    with pytest.raises(SaveError, match=r"none of 1 tasks succeeded \(task 3: it broke\)"):
        summarise([row(0, 1, task=3)])


def test_the_parts_of_a_write() -> None:
    included = [row(0, 1, 2, 2, 5, 5, 8, 9, setup="included")]
    excluded = [row(0, 1, 2, 2, 5, 6, 8, 10)]
    memory = [row(0, 1, 2, 2, 5, 6, 7, 7)]
    parts = decompose(included, excluded, memory)
    assert parts.total_seconds == 9
    assert parts.setup_seconds == 5
    assert parts.storage_seconds == 3
    assert parts.host_copy_seconds == 1
    assert parts.stamped_setup_seconds == 5
    assert parts.explained_share == 1


def test_runs_that_do_not_repeat_show_in_the_explained_share() -> None:
    included = [row(0, 1, 2, 2, 5, 5, 8, 9, setup="included")]
    slower = [row(0, 1, 2, 2, 5, 6, 8, 12)]
    memory = [row(0, 1, 2, 2, 5, 6, 7, 7)]
    assert decompose(included, slower, memory).explained_share > 1.05


def test_a_failed_task_cannot_be_decomposed() -> None:
    with pytest.raises(SaveError, match="it broke"):
        decompose([row(*EARLY)], [row(0)], [row(*EARLY)])
