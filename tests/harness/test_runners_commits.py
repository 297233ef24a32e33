"""The loop over commits: each one measured with its own code, resumed, interrupted, cleaned up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runners_project import (
    BENCH_CORE,
    asv,
    asv_results,
    commit_seconds,
    environment,
    git,
    make_project,
    run,
)

from harness.commits import Commit, resolve, spread
from harness.errors import InputError
from harness.worktree import WORKTREES, check_out, worktree

SLEEP = "small.Sleep.time_sleep"
ONE = r"Sleep\..*\('a', 1\)"

# Same length, and committed within a second: a compiled file left over would pass for the source.
SECONDS = ("0.020", "0.220", "0.120")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return make_project(tmp_path / "project")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A project whose commits differ in speed, and their hashes."""
    folder = make_project(tmp_path_factory.mktemp("history") / "project")
    return folder, [commit_seconds(folder, seconds) for seconds in SECONDS]


def test_each_commit_is_measured_with_its_own_code(history: tuple[Path, list[str]]) -> None:
    folder, commits = history
    # The working tree's own state must not matter: here it is broken.
    (folder / "bench_core" / "__init__.py").write_text("raise SystemError('the working tree')\n")
    try:
        done = run(folder, BENCH_CORE, "commits", "HEAD~3..HEAD", "--bench", ONE)
    finally:
        git(folder, "checkout", "--quiet", "--", "bench_core")
    assert done.returncode == 0, done.stdout + done.stderr
    measured = [asv_results(folder, commit) for commit in commits]
    assert [found["small.Sleep.track_seconds"]["result"][0] for found in measured] == [
        float(seconds) for seconds in SECONDS
    ]
    slept = [min(found[SLEEP]["samples"][0]) for found in measured]
    assert all(value >= float(seconds) for value, seconds in zip(slept, SECONDS, strict=True))
    assert slept[0] < slept[2] < slept[1]
    progress = [line for line in done.stdout.splitlines() if line.startswith("[")]
    assert [line[:5] for line in progress] == ["[1/3]", "[2/3]", "[3/3]"]
    assert [line.split()[1] for line in progress] == [commit[:8] for commit in commits]
    assert git(folder, "worktree", "list").count("\n") == 0

    again = run(folder, BENCH_CORE, "commits", "HEAD~3..HEAD", "--bench", ONE)
    assert again.returncode == 0
    assert again.stdout.count(" kept in ") == 3

    more = run(folder, BENCH_CORE, "commits", "HEAD", "--bench", r"track_sec.*\('a', [12]\)")
    assert "measured in" in more.stdout
    assert asv_results(folder, commits[-1])["small.Sleep.track_seconds"]["result"][:2] == [
        0.12, 0.24,
    ]  # fmt: skip

    published = asv(folder, "publish", "--no-pull")
    assert published.returncode == 0, published.stderr
    assert (folder / ".asv/html/graphs/summary" / f"{SLEEP}.json").is_file()


def test_failed_cases_are_named_and_make_the_exit_code_three(project: Path) -> None:
    done = run(project, BENCH_CORE, "commits", "HEAD", "--bench", "Wrong|Refused")
    assert done.returncode == 3
    assert "failed in" in done.stdout
    assert "    small.Wrong.time_wrong\n" in done.stdout
    assert "Refused" not in done.stdout


def test_a_commit_without_the_library_is_told_from_a_slow_one(project: Path) -> None:
    git(project, "rm", "--quiet", "-r", "bench_core")
    git(project, "commit", "--quiet", "--message", "no library")
    done = run(project, BENCH_CORE, "commits", "HEAD", "--bench", ONE)
    assert done.returncode == 3
    assert "RuntimeError: bench_core comes from" in done.stdout
    assert "(BENCH_CORE_EXPECT)" in done.stdout


def started_loop(project: Path) -> subprocess.Popen[str]:
    """Start measuring a commit that takes a minute, and wait until its benchmark sleeps."""
    commit_seconds(project, "60.0")
    process = subprocess.Popen(
        [BENCH_CORE, "commits", "HEAD", "--bench", ONE],
        cwd=project,
        env=environment(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not project.with_name("data").joinpath("sleeping").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    return process


def benchmark_processes(project: Path) -> list[int]:
    """Return the ids of asv's benchmark processes that work for this project."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"run" in words and str(project / "benchmarks").encode() in words:
            found.append(int(folder.name))
    return found


def gone(project: Path, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while benchmark_processes(project) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not benchmark_processes(project)


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_benchmark_and_removes_the_worktree(
    project: Path, ending: signal.Signals
) -> None:
    process = started_loop(project)
    process.send_signal(ending)
    _, complaint = process.communicate(timeout=60)
    assert process.returncode == 130
    assert complaint.split() == ["bench-core:", "interrupted"]
    assert gone(project)
    assert git(project, "worktree", "list").count("\n") == 0
    assert not any((project / WORKTREES).iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl(PR_SET_PDEATHSIG)")
def test_what_a_killed_loop_leaves_behind_is_ended_or_removed_next_time(project: Path) -> None:
    process = started_loop(project)
    process.kill()
    process.communicate(timeout=60)
    assert gone(project)
    assert any((project / WORKTREES).iterdir())
    with worktree(project) as folder:
        assert list((project / WORKTREES).iterdir()) == [folder]
    assert git(project, "worktree", "list").count("\n") == 0


def test_a_worktree_of_a_running_process_is_left_alone(project: Path) -> None:
    with worktree(project) as first, worktree(project) as second:
        assert first.name.startswith(f"{os.getpid()}-")
        assert first.is_dir()
        assert second.is_dir()
    assert not first.exists()


def test_a_check_out_leaves_nothing_of_the_commit_before(project: Path) -> None:
    first = git(project, "rev-parse", "HEAD")
    (project / "bench_core" / "only_later.py").write_text("")
    second = commit_seconds(project, "0.5")
    with worktree(project) as folder:
        check_out(folder, second)
        compiled = folder / "bench_core" / "__pycache__" / "left.pyc"
        compiled.parent.mkdir()
        compiled.write_bytes(b"stale")
        check_out(folder, first)
        assert not compiled.exists()
        assert not (folder / "bench_core" / "only_later.py").exists()


def test_ranges_are_git_s_oldest_first_and_one_commit_is_one(
    history: tuple[Path, list[str]],
) -> None:
    folder, commits = history
    assert [found.hash for found in resolve(folder, "HEAD~3..HEAD")] == commits
    assert [found.hash for found in resolve(folder, "HEAD~1")] == [commits[1]]
    assert [found.subject for found in resolve(folder, "main")] == ["sleep 0.120"]
    assert [found.hash for found in resolve(folder, "HEAD~3..HEAD", steps=2)] == [
        commits[0], commits[2],
    ]  # fmt: skip


def test_steps_are_spread_over_the_range_and_hold_its_newest() -> None:
    commits = [Commit(str(number), "") for number in range(10)]

    def chosen(steps: int) -> list[int]:
        return [int(found.hash) for found in spread(commits, steps)]

    assert chosen(1) == [9]
    assert chosen(2) == [0, 9]
    assert chosen(4) == [0, 3, 6, 9]
    assert chosen(10) == chosen(99) == list(range(10))


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("nope..HEAD", "commit range 'nope..HEAD' is unknown"),
        ("HEAD..HEAD", "commit range 'HEAD..HEAD' holds no commit"),
        ("--exec=x", "commit range '--exec=x' is unknown"),
    ],
)
def test_a_bad_range_is_one_line(
    history: tuple[Path, list[str]], spec: str, complaint: str
) -> None:
    with pytest.raises(InputError, match="^" + complaint) as raised:
        resolve(history[0], spec)
    assert "\n" not in str(raised.value)


def test_bad_input_on_the_command_line_is_one_line(project: Path, tmp_path: Path) -> None:
    range_ = run(project, BENCH_CORE, "commits", "nope..HEAD")
    assert (range_.returncode, range_.stderr.count("\n")) == (2, 1)
    nothing = run(project, BENCH_CORE, "commits", "HEAD", "--bench", "no_such_case")
    assert nothing.returncode == 2
    assert nothing.stderr == "bench-core: no benchmark matches 'no_such_case'\n"
    (tmp_path / "empty").mkdir()
    elsewhere = run(tmp_path / "empty", BENCH_CORE, "commits", "HEAD")
    assert elsewhere.returncode == 2
    assert "asv.conf.json not found; run this where asv.conf.json lies" in elsewhere.stderr
