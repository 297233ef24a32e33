"""Evolution: who is born, who lives, who gives; the same for every engine and after a kill."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from evolution_cases import SETTINGS, history, setup

from bench_core.errors import CorruptFileError, SaveError, UnknownNameError
from bench_core.torch_threads import torch_threads
from bench_core.weight_transfer import (
    ModelExistsError,
    SpaceError,
    applications,
    lineage,
    open_store,
    spaces,
)
from bench_core.weight_transfer.errors import EvolutionError, TaskError
from bench_core.weight_transfer.evolution import (
    AgingEvolution,
    Arrival,
    Evolution,
    MethodRecipe,
    SearchResult,
    search,
)
from bench_core.weight_transfer.evolution.journal import Journal
from bench_core.weight_transfer.methods import StoreMethod
from bench_core.weight_transfer.training import TrainingPlan


def test_the_oldest_dies_however_good_and_the_best_of_a_sample_has_the_child() -> None:
    space = spaces.get("feed-forward", layers=4)
    evolution = AgingEvolution(space, Evolution(population=3, sample=3))
    dead = [evolution.tell(evolution.ask(), accuracy) for accuracy in (0.9, 0.2, 0.5)]
    assert dead == [None, None, None]
    child = evolution.ask()
    assert child.parent == 0
    oldest = evolution.tell(child, 0.1)
    assert oldest is not None and oldest.candidate.birth == 0
    assert evolution.ask().parent == 2
    assert [one.candidate.birth for one in evolution.population] == [1, 2, 3]


def test_a_child_differs_from_its_parent_in_one_choice() -> None:
    result = search(setup(), SETTINGS)
    archs = {one.candidate.birth: one.candidate.arch for one in result.arrivals}
    children = [one.candidate for one in result.arrivals if one.candidate.parent is not None]
    assert len(children) == SETTINGS.candidates - SETTINGS.population
    for child in children:
        assert child.parent is not None
        pairs = zip(child.arch, archs[child.parent], strict=True)
        assert sum(a != b for a, b in pairs) == 1


def test_children_take_weights_and_what_is_kept_is_bounded_by_the_population() -> None:
    result = search(setup(), SETTINGS)
    matched = [one for one in result.arrivals if one.candidate.match is not None]
    assert matched and all(one.candidate.parent is not None for one in matched)
    assert all(one.outcome.transferred == len(one.candidate.match.positions) for one in matched)  # type: ignore[union-attr]
    assert 0 < result.bytes_physical < result.bytes_logical
    kept = search(setup(), replace(SETTINGS, retires=False))
    assert kept.arrivals[-1].stored_bytes == kept.bytes_physical
    assert result.arrivals[-1].stored_bytes < kept.arrivals[-1].stored_bytes


def test_a_seed_decides_the_whole_search() -> None:
    one, two = (search(setup(), SETTINGS) for _ in range(2))
    assert history(one) == history(two)
    other = search(setup(), replace(SETTINGS, seed=4))
    assert history(other) != history(one)


def test_where_the_ids_begin_decides_nothing_not_even_whether_the_first_born_is_a_donor() -> None:
    settings = replace(SETTINGS, candidates=8, seed=7)
    found = [history(search(setup(), replace(settings, first_model=id))) for id in (0, 5)]
    assert found[0] == found[1]
    assert 0 in [donor for _, _, _, donor, *_ in found[0]]


def test_a_search_has_the_same_bits_however_many_threads_its_caller_has() -> None:
    """Or engines would differ: other processes have the search's number of threads alone."""
    about = applications.get("toy_regression")
    described = setup(space=about.space, task=about.task, plan=about.plan)
    found = []
    for count in (1, 2):
        with torch_threads(count):
            found.append(history(search(described, replace(SETTINGS, candidates=3))))
            assert torch.get_num_threads() == count
    assert found[0] == found[1]


def test_controls() -> None:
    alone = search(setup(), replace(SETTINGS, donors="none"))
    assert all(one.candidate.match is None for one in alone.arrivals)
    assert alone.bytes_physical == alone.bytes_logical
    parents = search(setup(), replace(SETTINGS, donors="parent"))
    births = {one.candidate.model: one.candidate.birth for one in parents.arrivals}
    for one in parents.arrivals:
        if one.candidate.match is not None:
            assert births[one.candidate.match.donor] == one.candidate.parent
    drawn = search(setup(), replace(SETTINGS, donors="random", candidates=25))
    births = {one.candidate.model: one.candidate.birth for one in drawn.arrivals}
    donors = [
        (births[one.candidate.match.donor], one.candidate.parent)
        for one in drawn.arrivals
        if one.candidate.match is not None
    ]
    assert any(donor != parent for donor, parent in donors)
    melted = search(setup(plan=TrainingPlan(frozen_epochs=0)), SETTINGS)
    assert melted.bytes_physical == melted.bytes_logical
    assert any(one.outcome.transferred for one in melted.arrivals)


def test_noop_searches_without_keeping_anything() -> None:
    result = search(setup(method=MethodRecipe("noop")), SETTINGS)
    assert all(one.stored_bytes == 0 for one in result.arrivals)


def test_measures_of_a_search() -> None:
    result = search(setup(), SETTINGS)
    accuracies = [one.outcome.accuracy for one in result.arrivals]
    assert result.best_accuracies()[-1] == max(accuracies) == result.best.outcome.accuracy
    seconds = [one.seconds for one in result.arrivals]
    assert seconds == sorted(seconds) and result.seconds == seconds[-1]
    first = next(one for one in result.arrivals if one.outcome.accuracy >= accuracies[0])
    assert result.time_to(accuracies[0]) == first.seconds
    assert result.time_to(2.0) is None
    assert {"graph", "train", "store_data"} <= result.phase_seconds().keys()
    popular = result.donor_popularity()
    taken = sum(one.candidate.match is not None for one in result.arrivals)
    assert sum(count for _, count in popular) == taken
    last = result.arrivals[-1].candidate.match
    assert result.donor_popularity(1) == (() if last is None else ((last.donor, 1),))
    assert result.donor_popularity(0) == ()


def test_donors_are_as_popular_in_the_result_as_in_the_store(tmp_path: Path) -> None:
    result = search(setup(tmp_path), replace(SETTINGS, retires=False))
    with open_store([f"files:{tmp_path / 'models'}"]) as store:
        for window in (None, 0, 3, 100):
            assert lineage.popularity(store, window) == result.donor_popularity(window)
    assert result.donor_popularity()


def test_a_candidate_that_diverges_is_no_donor_and_no_end_of_the_search() -> None:
    result = search(setup(plan=TrainingPlan(learning_rate=1e30, optimizer="sgd")), SETTINGS)
    assert len(result.arrivals) == SETTINGS.candidates
    lost = [one for one in result.arrivals if one.outcome.problem]
    assert lost and all(not one.outcome.is_finite for one in lost)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_a_synchronous_search_is_the_same_in_other_processes(
    tmp_path: Path, in_flight: int
) -> None:
    settings = replace(SETTINGS, in_flight=in_flight, is_synchronous=True)
    expected = history(search(setup(tmp_path / "one"), settings))
    found = search(setup(tmp_path / "two"), settings, engine="processes", workers=2)
    assert history(found) == expected


def test_an_asynchronous_search_is_repeated_by_its_order(tmp_path: Path) -> None:
    settings = replace(SETTINGS, in_flight=3)
    first = search(setup(tmp_path / "one"), settings, engine="processes", workers=2)
    again = search(setup(tmp_path / "two"), settings, order=first.order)
    assert history(again) == history(first)
    turned = (1, 2, 0, *range(3, SETTINGS.candidates))
    other = search(setup(tmp_path / "three"), settings, order=turned)
    assert other.order == turned


def test_an_order_that_cannot_be_is_refused() -> None:
    births = tuple(range(SETTINGS.candidates))
    with pytest.raises(EvolutionError, match="expected each of 14 once"):
        search(setup(), SETTINGS, order=births[1:])
    with pytest.raises(EvolutionError, match="birth 13 shall arrive as number 0"):
        search(setup(), SETTINGS, order=births[::-1])
    with pytest.raises(EvolutionError, match="synchronous search, which has its own"):
        search(setup(), replace(SETTINGS, is_synchronous=True), order=births)


def test_a_search_that_was_stopped_goes_on_to_the_same_end(tmp_path: Path) -> None:
    expected = search(setup(tmp_path / "whole"), SETTINGS)

    class Stopped(Exception):
        pass

    def stop(arrival: object) -> None:
        seen.append(arrival)
        if len(seen) in (2, 8):
            raise Stopped

    seen: list[object] = []
    path = tmp_path / "journal"
    for _ in range(2):
        with pytest.raises(Stopped):
            search(setup(tmp_path), SETTINGS, journal=path, progress=stop)
    found = search(setup(tmp_path), SETTINGS, journal=path, progress=stop)
    assert history(found) == history(expected)
    assert len(seen) == SETTINGS.candidates
    with setup(tmp_path).method.open() as method:
        assert method.sweep() == 0
    again = search(setup(tmp_path), SETTINGS, journal=path)
    assert history(again) == history(expected)


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from evolution_cases import SETTINGS, setup
from bench_core.weight_transfer.evolution import search
from bench_core.weight_transfer.methods.store_method import StoreMethod

folder, countdown = Path(sys.argv[1]), [int(sys.argv[2])]

def dying(name):
    call = getattr(StoreMethod, name)
    def die_or_call(*arguments, **named):
        if not countdown[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        countdown[0] -= 1
        return call(*arguments, **named)
    setattr(StoreMethod, name, die_or_call)

for name in ("store", "retain", "release", "retire", "nbytes"):
    dying(name)
search(setup(folder), SETTINGS, journal=folder / "journal")
"""


def _stopped_at(count: int) -> Callable[[object], None]:
    def stop(arrival: object) -> None:
        seen.append(arrival)
        if len(seen) == count:
            raise KeyboardInterrupt

    seen: list[object] = []
    return stop


@pytest.mark.parametrize("changes", [{}, {"in_flight": 3, "is_synchronous": True}])
@pytest.mark.parametrize("arrival", [8, 9, 13])
def test_a_model_is_retired_only_when_the_arrival_after_it_is_noted(
    tmp_path: Path, changes: dict[str, Any], arrival: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, **changes)
    expected = history(search(setup(tmp_path / "whole"), settings))
    add = Journal.add
    noted: list[Arrival] = []

    def interrupted(self: Journal, arrivals: Sequence[Arrival]) -> None:
        noted.extend(arrivals)
        if len(noted) >= arrival:
            raise KeyboardInterrupt
        add(self, arrivals)

    path = tmp_path / "journal"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Journal, "add", interrupted)
        search(setup(tmp_path), settings, journal=path)
    assert history(search(setup(tmp_path), settings, journal=path)) == expected


def test_two_processes_cannot_have_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"

    def again(arrival: object) -> None:
        with pytest.raises(EvolutionError, match="another process is at work"):
            search(setup(tmp_path), SETTINGS, journal=path)

    found = search(setup(tmp_path), SETTINGS, journal=path, progress=again)
    assert history(search(setup(tmp_path), SETTINGS, journal=path)) == history(found)


@pytest.mark.parametrize("content", ["a line without an end", '{"a":1}\n{"b":2}', "\n\n[1]"])
def test_a_file_that_is_no_journal_is_left_as_it_is(tmp_path: Path, content: str) -> None:
    path = tmp_path / "notes"
    path.write_text(content)
    with pytest.raises((CorruptFileError, EvolutionError), match="journal"):
        search(setup(), SETTINGS, journal=path)
    assert path.read_text() == content


def test_a_journal_on_a_full_disk_keeps_whole_lines_and_goes_on(tmp_path: Path) -> None:
    settings = replace(SETTINGS, in_flight=3, is_synchronous=True)
    path = tmp_path / "journal"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(arrival: object) -> None:
        data = path.read_bytes()  # one of the next three lines fits, and not the second
        room = len(data.splitlines()[-1]) * 3 // 2
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(data) + room, limits[1]))

    try:
        with pytest.raises(SaveError, match="journal cannot be written"):
            search(setup(), settings, journal=path, progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    lines = path.read_text().splitlines()
    assert sum('"birth"' in line for line in lines) == 3 and path.read_text().endswith("\n")


def test_a_store_without_the_models_of_the_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with pytest.raises(KeyboardInterrupt):
        search(setup(), SETTINGS, journal=path, progress=_stopped_at(9))
    with pytest.raises(EvolutionError, match="of the journal is not in the store"):
        search(setup(), SETTINGS, journal=path)


def test_a_journal_and_its_models_may_be_moved(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with pytest.raises(KeyboardInterrupt):
        search(setup(here), SETTINGS, journal=here / "journal", progress=_stopped_at(9))
    here.rename(there)
    found = search(setup(there), SETTINGS, journal=there / "journal")
    assert history(found) == history(search(setup(tmp_path / "whole"), SETTINGS))


def test_a_journal_of_another_course_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    settings = replace(SETTINGS, in_flight=2, candidates=6)
    search(setup(method=MethodRecipe("noop")), settings, journal=path)
    turned = (1, 0, *range(2, 6))
    with pytest.raises(EvolutionError, match="arrival 0 of the journal is birth 0, the order has"):
        search(setup(method=MethodRecipe("noop")), settings, journal=path, order=turned)
    text = path.read_text()
    arch = text.partition('"arch":[')[2].partition("]")[0]
    changed = ",".join(str((int(choice) + 1) % 2) for choice in arch.split(","))
    path.write_text(text.replace(f'"arch":[{arch}]', f'"arch":[{changed}]', 1))
    with pytest.raises(CorruptFileError, match="another birth 0 than the search"):
        search(setup(method=MethodRecipe("noop")), settings, journal=path)


def test_what_a_query_takes_is_a_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    best = StoreMethod.retain_best

    def slow(self: StoreMethod, *arguments: Any, **named: Any) -> Any:
        time.sleep(0.02)
        return best(self, *arguments, **named)

    monkeypatch.setattr(StoreMethod, "retain_best", slow)
    result = search(setup(), SETTINGS)
    children = SETTINGS.candidates - SETTINGS.population
    assert result.phase_seconds()["query"] >= 0.02 * children


ORPHANED = """
import os, signal, sys
from pathlib import Path
from evolution_cases import SETTINGS, setup
from bench_core.weight_transfer.evolution import search

def die(arrival):
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    workers = [c for c in children if b"spawn_main" in Path(f"/proc/{c}/cmdline").read_bytes()]
    print(*workers, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    search(setup(Path(sys.argv[1])), SETTINGS, engine="processes", workers=2, progress=die)
"""


def test_workers_end_with_a_search_that_is_killed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(ORPHANED)
    run = subprocess.run(
        [sys.executable, str(program), str(tmp_path)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        timeout=120,
    )
    assert run.returncode == -signal.SIGKILL
    workers = run.stdout.split()
    assert workers
    deadline = time.monotonic() + 60
    while any(_is_alive(worker) for worker in workers):
        assert time.monotonic() < deadline, "a worker outlived its search"
        time.sleep(0.05)


def _is_alive(process: str) -> bool:
    """Whether a process is there and no zombie that nobody waited for."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize("step", [7, 22, 23, 24, 25])
def test_a_search_that_was_killed_goes_on_to_the_same_end(tmp_path: Path, step: int) -> None:
    expected = search(setup(tmp_path / "whole"), SETTINGS)
    here = str(Path(__file__).parent)
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path), str(step), here],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == -signal.SIGKILL
    found = search(setup(tmp_path), SETTINGS, journal=tmp_path / "journal")
    assert history(found) == history(expected)
    with setup(tmp_path).method.open() as method:
        assert method.sweep() == 0
        for model in method.models():
            method.retire(model)
        assert method.nbytes() == 0


def test_a_journal_of_another_search_or_of_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    search(setup(), replace(SETTINGS, candidates=1), journal=path)
    with pytest.raises(EvolutionError, match=r"whose seed is 3 instead of 5"):
        search(setup(), replace(SETTINGS, candidates=1, seed=5), journal=path)
    with path.open("a") as file:
        file.write('{"birth": 1, "accu')
    assert len(search(setup(), replace(SETTINGS, candidates=1), journal=path).arrivals) == 1
    path.write_text("something else\n")
    with pytest.raises(CorruptFileError, match="no journal of a search"):
        search(setup(), SETTINGS, journal=path)


def test_two_searches_in_one_store_need_ids_of_their_own(tmp_path: Path) -> None:
    settings = replace(SETTINGS, candidates=6)
    search(setup(tmp_path), settings)
    with pytest.raises(ModelExistsError):
        search(setup(tmp_path), settings)
    second = search(setup(tmp_path), replace(settings, first_model=1_000_000))
    assert len(second.arrivals) == 6


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(EvolutionError, match="sample of 6 from a population of 5"):
        Evolution(population=5, sample=6)
    with pytest.raises(EvolutionError, match="in_flight 0"):
        Evolution(in_flight=0)
    with pytest.raises(EvolutionError, match="donors 'worst'"):
        Evolution(donors="worst")  # type: ignore[arg-type]
    with pytest.raises(SpaceError, match=r"beta is 0\.5"):
        search(setup(), replace(SETTINGS, beta=0.5))
    with pytest.raises(UnknownNameError, match="did you mean 'serial'"):
        search(setup(), SETTINGS, engine="serail")
    with pytest.raises(EvolutionError, match="cannot see models in memory"):
        search(setup(), SETTINGS, engine="processes")
    with pytest.raises(EvolutionError, match="0 workers"):
        search(setup(), SETTINGS, workers=0)
    with pytest.raises(EvolutionError, match="2 workers for engine serial, which has one"):
        search(setup(), SETTINGS, workers=2)
    with pytest.raises(EvolutionError, match=r"seed \d+, expected 0 to 2\^63"):
        Evolution(seed=1 << 63)
    with pytest.raises(TaskError, match="set the inputs"):
        search(setup(space=spaces.get("feed-forward", inputs=9)), SETTINGS)


def _by_mpi(folder: Path, result: Path) -> list[str]:
    code = (
        "import sys, pickle; from pathlib import Path\n"
        "from dataclasses import replace\n"
        "from evolution_cases import SETTINGS, history, setup\n"
        "from bench_core.weight_transfer.evolution import search\n"
        "if __name__ == '__main__':\n"
        "    settings = replace(SETTINGS, in_flight=3, is_synchronous=True)\n"
        "    found = search(setup(Path(sys.argv[1])), settings, engine='mpi', workers=2)\n"
        "    Path(sys.argv[2]).write_bytes(pickle.dumps(history(found)))\n"
    )
    program = folder / "program.py"
    program.write_text(code)
    launch = ["mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", "3", sys.executable]
    return [*launch, "-m", "mpi4py.futures", str(program), str(folder), str(result)]


@pytest.mark.skipif(shutil.which("mpiexec") is None, reason="mpiexec is not installed")
def test_on_mpi_the_search_is_the_same(tmp_path: Path) -> None:
    pytest.importorskip("mpi4py", reason="mpi4py is not installed")
    settings = replace(SETTINGS, in_flight=3, is_synchronous=True)
    expected = history(search(setup(tmp_path / "one"), settings))
    result = tmp_path / "result"
    run = subprocess.run(
        _by_mpi(tmp_path, result),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert run.returncode == 0, run.stderr
    assert _unpickled(result) == expected


def test_on_ray_the_search_is_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    settings = replace(SETTINGS, in_flight=3, is_synchronous=True)
    expected = history(search(setup(tmp_path / "one"), settings))
    found = search(setup(tmp_path / "two"), settings, engine="ray", workers=2)
    assert history(found) == expected


@pytest.mark.parametrize("pause_s", [0, 0.5])
def test_a_worker_that_is_killed_ends_the_search_and_the_same_call_goes_on(
    tmp_path: Path, pause_s: float
) -> None:
    """Whether the loss is seen when one is waited for, or when the next is submitted."""
    settings = replace(SETTINGS, in_flight=2)
    path = tmp_path / "journal"

    def kill_workers(arrival: object) -> None:
        children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        for child in children:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            if b"spawn_main" in command:
                os.kill(int(child), signal.SIGKILL)
        time.sleep(pause_s)

    with pytest.raises(EvolutionError, match="a worker was lost"):
        search(
            setup(tmp_path),
            settings,
            engine="processes",
            workers=2,
            journal=path,
            progress=kill_workers,
        )
    found = search(setup(tmp_path), settings, engine="processes", workers=2, journal=path)
    assert sorted(found.order) == list(range(SETTINGS.candidates))


def _unpickled(path: Path) -> object:
    import pickle

    return pickle.loads(path.read_bytes())


def test_an_empty_result_has_no_popularity() -> None:
    assert SearchResult(()).donor_popularity() == ()
