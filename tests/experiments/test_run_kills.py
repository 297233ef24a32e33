"""Kill -9 at random points, of the run and of what it started: nothing is lost, nothing twice."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from run_processes import (
    WAIT_SECONDS,
    command,
    descendants,
    identities,
    is_gone,
    records,
    start,
    wait_for,
)
from run_toys import make_package, section

SAMPLES = 2 * (2 * 20 + 1)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("kills"), "toys_of_kills")


@pytest.fixture
def toy(tmp_path: Path) -> None:
    text = section(contenders='["slow", "fine", "refused"]', rounds=20)
    (tmp_path / "toy.toml").write_text(text.replace("size = [1]", "size = [1, 2]"))


def unbroken(tmp_path: Path, package: Path) -> Path:
    out = tmp_path / "unbroken"
    done = start(command(tmp_path, package, out))
    assert done.wait(WAIT_SECONDS) == 0
    return out


def kill_while_running(
    arguments: list[str], out: Path, kills: int, chance: random.Random, *, of_runner: float
) -> None:
    """Run again and again; each time kill one process at a random moment, until all is taken."""
    for _ in range(kills):
        known = len(records(out))
        process = start(arguments)
        # From the first moments of the interpreter to the middle of the samples.
        goal = known + chance.randrange(0, 12)
        wait_for(
            lambda goal=goal, process=process: (  # type: ignore[misc]
                len(records(out)) >= goal or process.poll() is not None
            ),
            "the run takes no samples",
        )
        time.sleep(chance.random() * 0.08)
        below = descendants(process.pid)
        if below and chance.random() >= of_runner:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(below), signal.SIGKILL)
            process.wait(WAIT_SECONDS)
        else:
            process.kill()
            process.wait()
        for child in below:
            wait_for(lambda child=child: is_gone(child), "a child outlives the run")  # type: ignore[misc]
    last = start(arguments)
    _, said = last.communicate(timeout=WAIT_SECONDS)
    assert last.returncode == 0, said


def require_same(out: Path, whole: Path) -> None:
    found = identities(records(out))
    assert found == identities(records(whole))
    assert set(found.values()) == {1}
    assert found.total() == SAMPLES


@pytest.mark.usefixtures("toy")
def test_kills_of_the_run_and_of_its_worker_change_nothing(tmp_path: Path, package: Path) -> None:
    out = tmp_path / "killed"
    arguments = command(tmp_path, package, out)
    kill_while_running(arguments, out, 6, random.Random(1), of_runner=0.6)
    require_same(out, unbroken(tmp_path, package))


@pytest.mark.usefixtures("toy")
def test_kills_of_shares_that_run_side_by_side_change_nothing(
    tmp_path: Path, package: Path
) -> None:
    out = tmp_path / "killed"
    arguments = command(tmp_path, package, out, "-j", "2")
    kill_while_running(arguments, out, 3, random.Random(2), of_runner=0.4)
    require_same(out, unbroken(tmp_path, package))


@pytest.mark.slow
@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("seed", range(6))
def test_many_kills_change_nothing(tmp_path: Path, package: Path, seed: int) -> None:
    out = tmp_path / "killed"
    jobs = ("-j", "2") if seed % 2 else ()
    arguments = command(tmp_path, package, out, *jobs)
    kill_while_running(arguments, out, 10, random.Random(seed), of_runner=0.6)
    require_same(out, unbroken(tmp_path, package))


def test_an_interrupt_ends_the_run_in_the_middle_of_a_sample(tmp_path: Path, package: Path) -> None:
    text = section(contenders='["fine", "other", "sleeps"]', rounds=2)
    (tmp_path / "toy.toml").write_text(text)
    out, data = tmp_path / "run", tmp_path / "data"
    process = start(command(tmp_path, package, out))
    wait_for(lambda: (data / "left behind").exists(), "the sample does not begin")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "interrupted" in said
    found = records(out)
    assert len(found) == 2
    assert [path.name for path in data.iterdir()] == ["measuring.lock"]
    wait_for(lambda: is_gone(found[0].process), "the samples' process outlives its parent")
