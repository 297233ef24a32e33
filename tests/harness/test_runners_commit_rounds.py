"""Commits in turns: their order, the borders between rounds, going on, comparing by round."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runners_project import (
    BENCH_CORE,
    asv,
    asv_results,
    commit_seconds,
    git,
    make_project,
    run,
)

from harness.asv_rounds import SUFFIX, Round, read_rounds, rounds_of, write_rounds
from harness.commits import Commit, turns
from harness.errors import InputError

SLEEP = "small.Sleep.time_sleep"
CASE = f"{SLEEP}('a', 1)"
ONE = r"time_sleep\('a', 1\)"
REPEAT = 3
"""Samples of the case in one process."""


def result_of(folder: Path, commit: str) -> Path:
    (path,) = (folder / "results" / "asv").glob(f"*/{commit[:8]}-*.json")
    return path


def rounds_at(folder: Path, commit: str, case: str = CASE) -> list[tuple[int, int]]:
    """Return number and samples of each round of a case."""
    return [(item.number, item.samples) for item in read_rounds(result_of(folder, commit))[case]]


def samples_at(folder: Path, commit: str) -> list[float]:
    samples: list[float] = asv_results(folder, commit)[SLEEP]["samples"][0]
    return samples


def test_the_direction_alternates() -> None:
    commits = [Commit(name, "") for name in "abc"]

    found = [(number, item.hash) for number, item in turns(commits, 3)]

    assert found == [*((0, name) for name in "abc"), *((1, name) for name in "cba"),
                     *((2, name) for name in "abc")]  # fmt: skip


@given(
    st.lists(st.tuples(st.sampled_from(["", "x", "y"]), st.integers(1, 9)), max_size=6),
    st.integers(0, 60),
)
def test_rounds_add_up_to_the_samples_there_are(known: list[tuple[str, int]], samples: int) -> None:
    rounds = [Round(loop, number, size) for number, (loop, size) in enumerate(known)]

    found = rounds_of(rounds, samples)

    assert sum(item.samples for item in found) == samples
    fits = sum(item.samples for item in rounds) <= samples
    assert not fits or list(found[: len(rounds)]) == rounds
    assert all(not item.is_interleaved for item in found[len(rounds) if fits else 0 :])


def test_rounds_are_kept_beside_the_result(tmp_path: Path) -> None:
    result = tmp_path / "abcdef01-existing-py3.11.json"
    rounds = {CASE: (Round("loop", 0, 3), Round("loop", 1, 3)), "m.time_x": ()}

    write_rounds(result, rounds)

    assert read_rounds(result) == rounds
    assert [path.name for path in tmp_path.iterdir()] == ["abcdef01-existing-py3.11.rounds"]
    assert read_rounds(tmp_path / "absent.json") == {}


@pytest.mark.parametrize(
    "content", ["{", '{"version": 2, "cases": {}}', '{"version": 1, "cases": {"x": [[1]]}}', "[]"]
)
def test_a_damaged_file_is_one_line_that_says_what_to_do(tmp_path: Path, content: str) -> None:
    (tmp_path / f"a{SUFFIX}").write_text(content)

    with pytest.raises(InputError, match=r"a\.rounds: .*; remove it to compare without rounds"):
        read_rounds(tmp_path / "a.json")


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A project with two commits, the second ten times slower, measured in two rounds."""
    folder = make_project(tmp_path_factory.mktemp("rounds") / "project")
    commits = [commit_seconds(folder, seconds) for seconds in ("0.010", "0.100")]
    done = run(folder, BENCH_CORE, "commits", *commits, "--bench", ONE, "--rounds", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    turns_taken = [line.split(" … ")[0] for line in done.stdout.splitlines() if line[0] == "["]
    a, b = (f"{commit[:8]} sleep" for commit in commits)
    assert turns_taken == [
        f"[round 1/2, 1/2] {a} 0.010",
        f"[round 1/2, 2/2] {b} 0.100",
        f"[round 2/2, 1/2] {b} 0.100",
        f"[round 2/2, 2/2] {a} 0.010",
    ]
    return folder, commits


def test_samples_of_all_rounds_are_kept_and_told_apart(history: tuple[Path, list[str]]) -> None:
    folder, commits = history
    for item, seconds in zip(commits, (0.01, 0.1), strict=True):
        assert rounds_at(folder, item)[:2] == [(0, REPEAT), (1, REPEAT)]
        assert all(value >= seconds for value in samples_at(folder, item))
    published = asv(folder, "publish", "--no-pull")
    assert published.returncode == 0, published.stderr
    loops = {item.loop for name in commits for item in read_rounds(result_of(folder, name))[CASE]}
    assert "" not in loops


def test_missing_rounds_are_added_and_nothing_else(history: tuple[Path, list[str]]) -> None:
    folder, commits = history
    before = {item: samples_at(folder, item) for item in commits}

    again = run(folder, BENCH_CORE, "commits", *commits, "--bench", ONE, "--rounds", "2")
    assert again.stdout.count(" kept in ") == 4

    more = run(folder, BENCH_CORE, "commits", *commits, "--bench", ONE, "--rounds", "3")
    assert (more.stdout.count(" kept in "), more.stdout.count("measured in")) == (4, 2)
    for item in commits:
        assert samples_at(folder, item)[: 2 * REPEAT] == before[item]
        assert rounds_at(folder, item) == [(number, REPEAT) for number in range(3)]


def test_what_asv_adds_by_itself_is_no_round_of_the_loop(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")
    head = commit_seconds(folder, "0.001")
    single = run(folder, BENCH_CORE, "commits", head, "--bench", ONE)
    assert single.returncode == 0, single.stderr
    assert not result_of(folder, head).with_suffix(SUFFIX).exists()

    run(folder, BENCH_CORE, "commits", head, "--bench", ONE, "--rounds", "2")

    rounds = read_rounds(result_of(folder, head))[CASE]
    assert [(bool(item.loop), item.samples) for item in rounds] == [
        (False, REPEAT), (True, REPEAT), (True, REPEAT),
    ]  # fmt: skip
    run(folder, BENCH_CORE, "commits", head, "--bench", ONE, "--rounds", "2", "--force")
    assert rounds_at(folder, head) == [(0, REPEAT), (1, REPEAT)]
    assert len(samples_at(folder, head)) == 2 * REPEAT


def test_what_fails_is_tried_once_and_named_once(tmp_path: Path) -> None:
    folder = make_project(tmp_path / "project")

    done = run(folder, BENCH_CORE, "commits", "HEAD", "--bench", "Wrong|Plain", "--rounds", "2")

    assert done.returncode == 3
    assert done.stdout.count("    small.Wrong.time_wrong\n") == 1
    head = git(folder, "rev-parse", "HEAD")
    assert rounds_at(folder, head, "small.Plain.time_nothing") == [(0, 2), (1, 2)]
    assert "small.Wrong.time_wrong" not in read_rounds(result_of(folder, head))
    assert asv_results(folder, head)["small.Plain.track_size"]["result"] == [4096]


def test_a_pull_request_s_job_gets_comment_annotation_and_exit_code(
    history: tuple[Path, list[str]],
) -> None:
    folder, (base, head) = history
    page = folder / "summary.md"
    compare = [BENCH_CORE, "compare", "--select", ONE, "--github", "comment.md"]

    slower = run(folder, *compare, base, head, GITHUB_STEP_SUMMARY=str(page))

    assert slower.returncode == 1, slower.stdout + slower.stderr
    assert "::error title=bench-core, slower::1 case: 1 slower" in slower.stdout
    text = (folder / "comment.md").read_text()
    assert text.startswith("<!-- bench-core compare -->\n**1 case: 1 slower**")
    assert f"A: {base[:10]}" in text
    assert page.read_text() == text

    unknown = run(folder, *compare, base, base)
    assert unknown.returncode == 0
    assert "::warning title=bench-core, cannot tell::1 case: 1 cannot tell" in unknown.stdout
