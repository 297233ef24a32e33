"""What only shards of MPI providers do; pytest runs it as `test_mpi_shard.py` says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_store_cases import equal, graph, tensors
from mpi4py import MPI
from mpi_engines import file_shards, providers, shards
from random_graphs import graphs

from bench_core.formats import TensorSpec
from bench_core.formats.atomic import is_dead
from bench_core.formats.dtypes import byte_view
from bench_core.models.chains import BlockSpec
from bench_core.weight_transfer import (
    MEASURES,
    ArchitectureGraph,
    Layer,
    LayerStore,
    Match,
    RetiredError,
    StoreError,
    UnknownModelError,
    sequential,
)
from bench_core.weight_transfer.graphs import TensorId
from bench_core.weight_transfer.puts import new_record
from bench_core.weight_transfer.stores import (
    FileShard,
    MemoryShard,
    MpiShard,
    Shard,
    Usage,
    mpi_messages,
)
from bench_core.weight_transfer.stores.mpi_line import Line
from bench_core.weight_transfer.stores.mpi_messages import Receiving, post_sends
from bench_core.weight_transfer.stores.mpi_shard import broadcast_best_prefix
from bench_core.weight_transfer.stores.mpi_worlds import spawn_providers

LONG = 30_000
"""Elements: more than fit into one message with others."""


class Faulty(MemoryShard):
    """Raises in some calls what no shard should raise."""

    def usage(self) -> Usage:
        """Fail."""
        raise ZeroDivisionError("no such luck")

    def write(self, token: str, tensors: Mapping[TensorId, torch.Tensor]) -> int:
        """Fail after the bytes came."""
        raise MemoryError("no room")

    def models(self, retired: bool = False) -> list[int]:
        """Fail with an error that has two arguments and cannot be made again from one text."""
        raise Peculiar("a", 2)


class Peculiar(StoreError):
    """An error that pickles, but cannot be unpickled."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(f"{text}{number}")


def faulty(number: int) -> Shard:
    """Open one."""
    return Faulty()


def unopened(number: int) -> Shard:
    """Open none."""
    raise StoreError(f"no shard {number}")


@pytest.fixture
def two(tmp_path: Path) -> Iterator[list[MpiShard]]:
    opened = shards(2, tmp_path)
    yield opened
    for shard in opened:
        shard.close()


def test_errors_keep_their_type_and_their_text(two: list[MpiShard]) -> None:
    with pytest.raises(UnknownModelError, match="never had a model 7"):
        two[0].record(7)
    with pytest.raises(RetiredError, match="not there any more"):
        two[1].hold({3: [bytes(16)]}, "token")
    with pytest.raises(RetiredError):
        two[1].read({3: {bytes(16): torch.zeros(LONG)}})
    assert two[0].usage() == two[1].usage() == Usage(0, 0, 0, 0)


def test_what_no_shard_should_raise_is_told_and_the_provider_goes_on() -> None:
    (shard,) = providers(1).open(faulty)
    try:
        for _ in range(2):
            with pytest.raises(StoreError, match="provider 0 failed, ZeroDivisionError: no such"):
                shard.usage()
            with pytest.raises(StoreError, match="MemoryError: no room"):
                shard.write(
                    "token", {bytes(16): torch.zeros(LONG), bytes(15) + b"1": torch.ones(3)}
                )
            with pytest.raises(StoreError, match="cannot be told here"):
                shard.models()
        assert not is_dead(shard.hello().mark)
    finally:
        shard.close()


def test_a_shard_that_cannot_be_opened_is_told_and_the_next_one_opens(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no shard 0"):
        providers(1).open(unopened)
    (shard,) = shards(1, tmp_path)
    assert shard.usage().models == 0
    with pytest.raises(StoreError, match="close the providers' shards before you open"):
        providers(1).open(faulty)
    with pytest.raises(StoreError, match="close the providers' shards before you end"):
        providers(1).close()
    shard.close()
    shard.close()
    with pytest.raises(StoreError, match="provider 0 is closed"):
        shard.usage()


def test_a_provider_needs_no_more_than_one_thread_that_calls_mpi(two: list[MpiShard]) -> None:
    """The original needs MPI_THREAD_MULTIPLE."""
    assert all(shard.hello().thread_level <= MPI.THREAD_FUNNELED for shard in two)


def bag(given: Sequence[torch.Tensor]) -> tuple[ArchitectureGraph, dict[str, torch.Tensor]]:
    """An architecture of one layer with these tensors."""
    specs = tuple((str(n), TensorSpec.of(tensor)) for n, tensor in enumerate(given))
    layer = Layer(BlockSpec.of("test.bag", specs=len(given)), specs)
    return sequential([layer]), {f"0.{n}": tensor for n, tensor in enumerate(given)}


def test_tensors_of_all_sizes_and_kinds_come_back(two: list[MpiShard]) -> None:
    architecture, given = bag(
        [
            torch.rand(3, 5),
            torch.zeros(0, 4),
            torch.tensor(2.5, dtype=torch.float64),
            torch.rand(400_000),
            torch.rand(200, 300).t(),
            torch.rand(30_000).to(torch.bfloat16),
            torch.arange(7, dtype=torch.uint8),
            torch.rand(4).to(torch.float8_e4m3fn),
            torch.tensor([True, False]),
            torch.rand(5, requires_grad=True),
            torch.rand(2, dtype=torch.complex64).conj(),
            *(torch.full((n,), n, dtype=torch.int16) for n in range(1500)),
        ]
    )
    store = LayerStore(two)
    store.put(1, architecture, given)
    found = store.get(1)
    assert found.keys() == given.keys()
    for name, tensor in given.items():
        expected = tensor.detach().resolve_conj().contiguous()
        assert np.array_equal(byte_view(found[name]), byte_view(expected))


def test_values_land_in_tensors_that_lie_scattered(two: list[MpiShard]) -> None:
    architecture, given = bag([torch.rand(300, 200)])
    store = LayerStore(two)
    store.put(1, architecture, given)
    whole = torch.zeros(200, 600)
    store.get(1, into={"0.0": whole[:, ::2].t()})
    assert torch.equal(whole[:, ::2].t(), given["0.0"])
    assert not whole[:, 1::2].any()


@pytest.mark.parametrize(("largest", "messages"), [(1000, 7), (1 << 30, 5)])
def test_messages_are_cut_and_joined_alike_at_both_ends(
    monkeypatch: pytest.MonkeyPatch, largest: int, messages: int
) -> None:
    monkeypatch.setattr(mpi_messages, "_LARGEST", largest)
    monkeypatch.setattr(mpi_messages, "_TINY", 100)
    monkeypatch.setattr(mpi_messages, "_JOINED", 250)
    rng = np.random.default_rng(0)
    sizes = [3, 0, 100, 100, 100, 101, 2001, 5, 1000, 99]
    given = [rng.integers(256, size=size, dtype=np.uint8) for size in sizes]
    into = [np.zeros(size, np.uint8) for size in sizes]
    receiving = Receiving(MPI.COMM_SELF, into, 0, 5)
    sends = post_sends(MPI.COMM_SELF, given, 0, 5)
    assert len(sends) == len(receiving.requests) == messages
    MPI.Request.Waitall(sends + receiving.requests)
    receiving.finish()
    assert all(np.array_equal(one, other) for one, other in zip(given, into, strict=True))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_asking_all_providers_gives_what_the_store_gives(data: st.DataObject) -> None:
    """The original breaks no ties."""
    opened = shards(2, Path())
    with LayerStore(opened) as store:
        accuracies = st.sampled_from([None, 0.0, -1.0, 0.5])
        for model in range(data.draw(st.integers(0, 8))):
            record = new_record(
                model, data.draw(graphs()), None, accuracy=data.draw(accuracies), info=None
            )
            store.shard(model).publish(record, {})
            if not data.draw(st.integers(0, 4)):
                store.shard(model).withdraw(model)
        measure = data.draw(st.sampled_from(MEASURES))
        exclude = data.draw(st.sets(st.integers(0, 8), max_size=2))
        child = data.draw(graphs())
        expected = store.best_prefix(child, measure, exclude)
        assert broadcast_best_prefix(opened, child, measure, exclude) == expected


def test_whoever_is_interrupted_leaves_no_answer_for_the_next(
    two: list[MpiShard], monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture, given = bag([torch.rand(300_000), torch.rand(3)])
    store = LayerStore(two[:1])
    store.put(1, architecture, given)
    record = store.record(1)
    key = record.tensor_ids["0.0"]
    into = torch.zeros(300_000)
    with monkeypatch.context() as patched:
        patched.setattr(mpi_messages.Patience, "wait", _interrupted)
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                two[0].read({1: {key: into}})
            with pytest.raises(KeyboardInterrupt):
                two[0].write("token", {key: torch.rand(300_000)})
    assert equal(store.get(1), given)
    assert two[0].models() == [1]
    two[0].discard("token")
    assert two[0].leftovers().unpublished == ()


def _interrupted(patience: mpi_messages.Patience) -> None:
    raise KeyboardInterrupt


def test_threads_call_at_once_and_each_gets_its_own_answer(two: list[MpiShard]) -> None:
    """The original matches replies by their tag alone, one for all calls of a kind."""
    store = LayerStore(two)
    expected = {}
    for model in range(6):
        architecture, given = bag([torch.rand(20_000 + model), torch.rand(model)])
        store.put(model, architecture, given)
        expected[model] = given

    def read(model: int) -> bool:
        return all(equal(store.get(model), expected[model]) for _ in range(10))

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, expected))


def test_models_of_a_folder_are_there_for_other_processes(tmp_path: Path) -> None:
    """The original places models by ``hash(str)``, which differs from process to process."""
    architecture = graph(16, 4)
    given = tensors(architecture, 1)
    with LayerStore(file_shards(2, tmp_path)) as store:
        store.put(4, architecture, given)
    opened = file_shards(2, tmp_path)
    with LayerStore(opened) as store:
        assert equal(store.get(4), given)
        assert broadcast_best_prefix(opened, architecture) == Match(4, (0, 1), 2)
    with LayerStore([FileShard(tmp_path / str(n)) for n in range(2)]) as store:
        assert equal(store.get(4), given)


def test_a_stopped_provider_refuses_what_comes_too_late(tmp_path: Path) -> None:
    (shard,) = file_shards(1, tmp_path)
    shard.stop()
    for _ in range(2):
        with pytest.raises(StoreError, match="provider 0 was told to stop"):
            shard.write("token", {bytes(16): torch.zeros(LONG)})
    shard.close()
    (other,) = shards(1, tmp_path)
    assert other.models() == []
    other.close()


def test_a_client_waits_for_no_answer_longer_than_it_was_told() -> None:
    shard = MpiShard(Line(MPI.COMM_SELF.Dup(), seconds=0.05), 0)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"not answered for 0\.05 seconds"):
            shard.usage()
    shard.close()


def test_other_threads_are_refused_where_mpi_allows_only_one(
    two: list[MpiShard], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched, ThreadPoolExecutor(1) as pool:
        patched.setattr(two[0]._line, "_serialized", False)
        assert two[0].models() == []
        with pytest.raises(StoreError, match="MPI_THREAD_SERIALIZED"):
            pool.submit(two[0].models).result()


def test_providers_end_with_their_shards() -> None:
    (shard,) = spawn_providers(1)
    mark = shard.hello().mark
    assert not is_dead(mark)
    shard.close()
    assert is_dead(mark)
