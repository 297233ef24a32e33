"""Layer stores over MPI ranks, each test in processes of its own: see `mpi_engines`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_store_cases import equal, graph, tensors
from mpi_programs import new_model
from random_graphs import graphs

from bench_core.errors import CorruptFileError
from bench_core.formats.atomic import is_dead
from bench_core.weight_transfer import (
    MEASURES,
    ArchitectureGraph,
    LayerStore,
    Match,
    Measure,
    PrefixIndex,
    Swept,
    sweep,
)
from bench_core.weight_transfer.prefix_query import (
    PrefixQuery,
    RankedMatch,
    best_of,
    decode_answer,
    no_answer,
)
from bench_core.weight_transfer.records import LARGEST_ID
from bench_core.weight_transfer.stores import FileShard
from bench_core.weight_transfer.stores.mpi_messages import wait_for

PROVIDERS = 2
HERE = Path(__file__).parent
SECONDS = 300.0
"""Some ten times as long as they take: they import torch in several processes at once."""

needs_mpi = pytest.mark.skipif(
    importlib.util.find_spec("mpi4py") is None or shutil.which("mpiexec") is None,
    reason="mpi4py or mpiexec is not installed",
)


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of Python modules of this folder."""
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


def ranks(count: int, *python: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python on so many ranks."""
    launcher = ["mpiexec", "--allow-run-as-root", "--oversubscribe", "-n", str(count)]
    return run(*launcher, sys.executable, *python, folder=folder)


def program(count: int, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one of `mpi_programs` on so many ranks."""
    path = str(HERE / "mpi_programs.py")
    return ranks(count, "-m", "mpi4py", path, *arguments, folder=folder)


def passed(modules: Sequence[str], *options: str, folder: Path) -> int:
    """Run pytest with the MPI engines; return how many tests passed, all of them."""
    settings = ["-p", "mpi_engines", "-p", "no:cacheprovider", "-q", "-x", *options]
    paths = [str(HERE / module) for module in modules]
    done = run(sys.executable, "-m", "pytest", *settings, *paths, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.rpartition(" passed")[0].split()[-1])


@needs_mpi
def test_mpi_shards_do_what_every_shard_does_and_more(tmp_path: Path) -> None:
    chosen = ("-k", "not killed and not files")
    assert passed(["mpi_shard_cases.py", "test_layer_store.py"], *chosen, folder=tmp_path) > 40


@needs_mpi
@pytest.mark.slow
def test_mpi_shards_of_files_do_what_every_shard_does(tmp_path: Path) -> None:
    assert passed(["test_layer_store.py"], "-k", "files and not killed", folder=tmp_path) > 10


@needs_mpi
@pytest.mark.parametrize("count", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_a_collective_query_finds_what_one_index_finds(tmp_path: Path, count: int) -> None:
    done = program(count, "collective", folder=tmp_path)
    assert done.returncode == 0, done.stderr


@needs_mpi
def test_of_clients_that_put_one_id_one_wins(tmp_path: Path) -> None:
    done = program(3, "writers", folder=tmp_path)
    assert done.returncode == 0, done.stderr


@needs_mpi
def test_providers_end_even_if_clients_forget_to_say_goodbye(tmp_path: Path) -> None:
    """The original's thread never ends. Not under ``-m mpi4py``, which would end all ranks."""
    done = ranks(3, str(HERE / "mpi_programs.py"), "forgetful", folder=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr


@needs_mpi
def test_providers_end_with_the_process_that_spawned_them_even_if_it_is_killed(
    tmp_path: Path,
) -> None:
    done = run(sys.executable, str(HERE / "mpi_programs.py"), "orphans", folder=tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    marks = done.stdout.split()
    assert len(marks) == 2
    wait_for(lambda: all(map(is_dead, marks)), longest_sleep=0.05, seconds=60)


@needs_mpi
@pytest.mark.parametrize(
    "step", [2, *(pytest.param(n, marks=pytest.mark.slow) for n in range(10) if n != 2)]
)
def test_a_client_killed_between_any_two_steps_leaves_nothing_after_a_sweep(
    tmp_path: Path, step: int
) -> None:
    """``mpiexec`` takes the providers down with it; their folders are opened again without MPI."""
    shards = [FileShard(tmp_path / str(n)) for n in range(PROVIDERS)]
    parent, child = graph(16, 16, 4), graph(16, 16, 5)
    first, second = tensors(parent, 1), tensors(child, 2, (0, 1))
    with LayerStore(shards) as store:
        store.put(1, parent, first)
        store.put(2, child, second, donor=Match(1, (0, 1), 2))
    arguments = (str(tmp_path), str(PROVIDERS), str(step))
    done = program(PROVIDERS + 1, "dying", *arguments, folder=tmp_path)
    assert "signal 9" in done.stderr, done.stderr
    _, fourth = new_model()
    inherited = {name: first[name] for name in first if not name.startswith("2.")}
    whole = {1: first, 2: {**inherited, **second}, 4: {**inherited, **fourth}}
    with LayerStore([FileShard(tmp_path / str(n)) for n in range(PROVIDERS)]) as store:
        sweep(store)
        assert all(equal(store.get(model), whole[model]) for model in store.models())
        maps = [store.record(model).owner_map for model in store.models()]
        assert store.usage().references == sum(map(len, maps))
        assert store.usage().tensors == len({(o, t) for m in maps for t, o in m.items()})
        assert sweep(store) == Swept(0, 0, 0, 0)
        for model in store.models():
            store.retire(model)
        assert store.usage().nbytes == 0
    assert not list(tmp_path.rglob("*.safetensors"))


@given(graphs(), st.sampled_from(MEASURES))
def test_a_query_that_travelled_is_the_same(
    architecture: ArchitectureGraph, measure: Measure
) -> None:
    query = PrefixQuery.of(architecture, measure)
    found = PrefixQuery.decode(query.encode())
    assert (found.names, found.weights) == (query.names, query.weights)
    layers = range(len(architecture))
    assert list(map(found.is_whole, layers)) == list(map(query.is_whole, layers))
    with pytest.raises(CorruptFileError, match="bytes, expected 25 for each layer"):
        PrefixQuery.decode(query.encode()[1:])


answers = st.builds(
    RankedMatch,
    st.builds(
        Match,
        st.integers(0, LARGEST_ID),
        st.sets(st.integers(0, 18)).map(lambda found: tuple(sorted(found))),
        st.integers(0, 1 << 63),
    ),
    st.floats(allow_nan=False) | st.sampled_from([0.0, -0.0, 0.5]),
)


@given(st.lists(st.none() | answers, min_size=1))
def test_the_largest_bytes_are_those_of_the_best_answer(given: list[RankedMatch | None]) -> None:
    encoded = [no_answer(19) if one is None else one.encode(19) for one in given]
    assert [decode_answer(data) for data in encoded] == given
    expected = best_of(given)
    found = decode_answer(max(encoded))
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert found.rank == expected.rank


def test_an_index_answers_with_the_accuracy_of_the_donor() -> None:
    index = PrefixIndex()
    index.add(1, graph(4).names, accuracy=0.25)
    index.add(2, graph(4, 4).names)
    query = PrefixQuery.of(graph(4, 6), "layers")
    assert index.answer(query) == RankedMatch(Match(1, (0,), 1), 0.25)
    assert index.answer(query, exclude={1}) == RankedMatch(Match(2, (0,), 1), float("-inf"))
    assert index.answer(query, exclude={1, 2}) is None
