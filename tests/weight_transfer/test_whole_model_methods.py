"""Methods with a file a model: formats, failures of disk and server, and which donor is best."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from layer_store_cases import equal, graph, redis_address
from random_graphs import chains, graphs
from transfer_method_cases import METHODS, mixed, redis_scan, values

from bench_core import formats
from bench_core.errors import (
    CorruptFileError,
    MissingExtraError,
    UnknownNameError,
    UnsupportedError,
)
from bench_core.formats import Durability, redis_client
from bench_core.formats.redis_process import redis_server
from bench_core.weight_transfer import (
    ArchitectureGraph,
    ModelExistsError,
    PrefixIndex,
    RetiredError,
    StoreError,
)
from bench_core.weight_transfer.methods import (
    FilePerModel,
    FileSearch,
    RedisScan,
    TransferMethod,
    file_per_model,
    link_files,
)
from bench_core.weight_transfer.methods.scanning import longest
from bench_core.weight_transfer.puts import new_record

WRITERS = [n for n in formats.writers() if n not in ("dcp", "tensorstore", "redis")]
STORED = graph(16, 4)


def stored_file(folder: Path) -> Path:
    (path,) = (folder / "weights").iterdir()
    return path


# --- files -----------------------------------------------------------------------------------


@pytest.mark.parametrize("format", WRITERS)
def test_any_format_of_one_file_does_also_where_only_a_pin_keeps_it(
    format: str, tmp_path: Path
) -> None:
    try:
        method = FilePerModel(tmp_path, format)
    except MissingExtraError as error:
        pytest.skip(str(error))
    given_ = values(mixed(), 1)
    method.store(1, mixed(), given_)
    pin = method.retain(1)
    method.retire(1)
    assert not any((tmp_path / "weights").iterdir())
    assert equal(method.get(1), given_)
    method.release(1, pin)
    assert not any((tmp_path / "pins").iterdir())


def test_formats_of_more_than_one_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"'dcp' is not one file.*safetensors"):
        FilePerModel(tmp_path, "dcp")
    with pytest.raises(UnknownNameError, match="did you mean 'safetensors'"):
        FilePerModel(tmp_path, "safetensor")
    assert not list(tmp_path.iterdir())


def test_files_of_different_formats_lie_in_one_folder(tmp_path: Path) -> None:
    for model, format in enumerate(("safetensors", "hdf5", "direct")):
        FilePerModel(tmp_path, format).store(model, STORED, values(STORED, model))
    method = FilePerModel(tmp_path)
    assert all(equal(method.get(model), values(STORED, model)) for model in range(3))


@pytest.mark.parametrize("durability", Durability)
def test_every_durability_stores_and_retires(durability: Durability, tmp_path: Path) -> None:
    method = FilePerModel(tmp_path, durability=durability)
    method.store(1, STORED, values(STORED, 1))
    assert equal(method.get(1), values(STORED, 1))
    assert method.retire(1) == STORED.nbytes


@pytest.mark.parametrize("name", ["file_search", "redis_scan"])
def test_bytes_without_a_record_are_not_visible_and_a_living_writers_stay(
    name: str, tmp_path: Path
) -> None:
    with METHODS[name](tmp_path) as method:
        assert isinstance(method, FileSearch | RedisScan)
        info = {"format": "safetensors"}
        record = new_record(1, STORED, None, accuracy=None, info=info)
        method.files.write(record, values(STORED, 1))
        assert method.models() == []
        assert method.best_match(STORED) is None
        assert method.nbytes() == STORED.nbytes
        assert method.sweep() == 0
        method.publish(record)
        assert equal(method.get(1), values(STORED, 1))


@pytest.mark.parametrize("name", ["file_search", "redis_scan"])
def test_bytes_of_a_dead_writer_are_swept_but_not_those_that_a_record_names(
    name: str, tmp_path: Path
) -> None:
    with METHODS[name](tmp_path) as method:
        assert isinstance(method, FileSearch | RedisScan)
        pid = os.fork()
        if not pid:
            writer = METHODS[name](tmp_path)
            assert isinstance(writer, FileSearch | RedisScan)
            writer.store(1, STORED, values(STORED, 1))
            record = new_record(2, STORED, None, accuracy=None, info={"format": "direct"})
            writer.files.write(record, values(STORED, 2))
            os._exit(0)
        os.waitpid(pid, 0)
        assert method.models() == [1]
        assert method.nbytes() == 2 * STORED.nbytes
        assert method.sweep() == 1
        assert method.nbytes() == STORED.nbytes
        assert equal(method.get(1), values(STORED, 1))


def failing(code: int) -> Callable[..., Any]:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("name", ["link", "fsync"])
def test_a_publication_that_fails_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = FileSearch(tmp_path, durability=Durability.RETURN)
    method._durability = Durability.FSYNC_DIR  # of the record alone
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing(errno.EIO))
        with pytest.raises(StoreError, match="Input/output error"):
            method.store(1, STORED, values(STORED, 1))
    assert method.models() == []
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    method.store(1, STORED, values(STORED, 1))
    assert method.models() == [1]


def test_a_record_whose_name_may_not_last_is_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = FileSearch(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(link_files, "sync_folders", failing(errno.EIO))
        with pytest.raises(StoreError, match="Input/output error"):
            method.store(1, STORED, values(STORED, 1))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    method.store(1, STORED, values(STORED, 1))


def test_a_file_system_without_hard_links_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = FilePerModel(tmp_path)
    method.store(1, STORED, values(STORED, 1))
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    for call in (method.retain, method.retire):
        with pytest.raises(StoreError, match="hard links"):
            call(1)
    assert method.models() == [1]


def test_a_pin_between_the_steps_of_a_retirement_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = FilePerModel(tmp_path)
    method.store(1, STORED, values(STORED, 1))
    monkeypatch.setattr(file_per_model, "remove_name", lambda path: False)
    method.retire(1)
    assert stored_file(tmp_path).exists()
    with pytest.raises(RetiredError):
        method.retain(1)
    assert not any((tmp_path / "pins").iterdir())


@pytest.mark.parametrize("name", ["file", "file_search", "redis_scan"])
def test_weights_removed_by_hand_are_told_and_no_endless_search(name: str, tmp_path: Path) -> None:
    with METHODS[name](tmp_path) as method:
        method.store(1, STORED, values(STORED, 1))
        stored_file(tmp_path).unlink()
        with pytest.raises(CorruptFileError, match="missing"):
            method.get(1)
        with pytest.raises(CorruptFileError, match="missing"), method.retained(STORED, hint=1) as m:
            assert m is not None
            method.fetch(m, STORED, values(STORED, 2))


@pytest.mark.parametrize("name", ["file", "file hdf5", "file direct", "redis_scan"])
def test_damaged_weights_are_told(name: str, tmp_path: Path) -> None:
    with METHODS[name](tmp_path) as method:
        method.store(1, STORED, values(STORED, 1))
        os.truncate(stored_file(tmp_path), 100)
        with pytest.raises(CorruptFileError):
            method.get(1)


def test_damaged_records_are_told(tmp_path: Path) -> None:
    method = FileSearch(tmp_path)
    method.store(1, STORED, values(STORED, 1))
    for content in (b"", b"[]", b'{"accuracy": 1, "names": "xy"}\n{}'):
        (tmp_path / "records" / "1.json").write_bytes(content)
        with pytest.raises(CorruptFileError, match="no record of"):
            method.best_match(STORED)
        with pytest.raises(CorruptFileError, match="no record of"):
            method.get(1)


def test_a_record_names_parent_and_accuracy_and_outlives_retirement(tmp_path: Path) -> None:
    method = FilePerModel(tmp_path)
    method.store(1, STORED, values(STORED, 1), accuracy=0.25)
    with method.retained(STORED, hint=1) as match:
        method.store(2, STORED, values(STORED, 1), match=match)
    method.retire(2)
    method.retire(1)
    assert (method.record(1).accuracy, method.record(1).parent) == (0.25, None)
    assert (method.record(2).accuracy, method.record(2).parent) == (None, 1)


# --- the search ------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(chains() | graphs(), st.sampled_from([None, 0.1, 0.2, float("nan")]))),
    chains() | graphs(),
)
def test_looking_at_each_finds_what_the_index_finds(
    models: list[tuple[ArchitectureGraph, float | None]], child: ArchitectureGraph
) -> None:
    index = PrefixIndex()
    for model, (architecture, accuracy) in enumerate(models):
        index.add(model, architecture.names, accuracy)
    candidates = [(model, one.names, accuracy) for model, (one, accuracy) in enumerate(models)]
    assert longest(child, reversed(candidates)) == index.best(child)


@pytest.mark.parametrize("name", ["file_search", "redis_scan"])
def test_ties_go_to_the_more_accurate_then_to_the_smaller_id(name: str, tmp_path: Path) -> None:
    with METHODS[name](tmp_path) as method:
        for model, accuracy in ((1, None), (2, float("nan")), (4, 0.5), (3, 0.5), (0, 0.25)):
            method.store(model, STORED, values(STORED, model), accuracy=accuracy)
        order: list[int] = []
        while (match := method.best_match(STORED, exclude=order)) is not None:
            order.append(match.donor)
        assert order == [3, 4, 0, 1, 2]


# --- the server ------------------------------------------------------------------------------


@pytest.fixture
def scan(tmp_path: Path) -> Iterator[RedisScan]:
    with redis_scan(tmp_path) as made:
        assert isinstance(made, RedisScan)
        yield made


@pytest.fixture
def client() -> Iterator[Any]:
    with redis_client.connect(redis_address()) as made:
        yield made


def test_what_the_server_keeps_of_live_and_of_retired_models(
    scan: RedisScan, client: Any, tmp_path: Path
) -> None:
    scan.store(1, STORED, values(STORED, 1), accuracy=0.5)
    assert client.lrange(f"{tmp_path}:layers:1", 0, -1) == list(STORED.names)
    assert client.hgetall(f"{tmp_path}:accuracies") == {b"1": b"0.5"}
    scan.retire(1)
    left = {key.decode().removeprefix(f"{tmp_path}:") for key in client.keys(f"{tmp_path}:*")}
    assert left == {"record:1", "folder"}


def test_the_count_of_a_donor_is_given_back(scan: RedisScan, client: Any, tmp_path: Path) -> None:
    scan.store(1, STORED, values(STORED, 1))
    with scan.retained(STORED) as match, scan.retained(STORED) as again:
        assert match == again
        assert client.scard(f"{tmp_path}:uses:1") == 2
        assert client.smembers(f"{tmp_path}:used") == {b"1"}
    assert not client.exists(f"{tmp_path}:uses:1", f"{tmp_path}:used")


def test_a_query_fetches_the_layers_of_every_model_at_once(
    scan: RedisScan, client: Any, tmp_path: Path
) -> None:
    for model in range(3):
        scan.store(model, STORED, values(STORED, model))
    calls = "cmdstat_lrange", "cmdstat_smembers"
    before = client.info("commandstats")
    scan.best_match(STORED, exclude=[1])
    after = client.info("commandstats")
    made = [after[c]["calls"] - before.get(c, {"calls": 0})["calls"] for c in calls]
    assert made == [2, 1]


def test_a_server_that_is_full_or_gone_leaves_no_weights(tmp_path: Path) -> None:
    other = graph(16, 5)
    with redis_server() as address:
        method = RedisScan(tmp_path, address)
        method.store(1, STORED, values(STORED, 1))
        with redis_client.connect(address) as client:
            client.config_set("maxmemory", 1)
            with pytest.raises(StoreError, match="refuses"):
                method.store(2, other, values(other, 2))
            assert method.models() == [1]
            assert method.nbytes() == STORED.nbytes
            assert method.retire(1) == STORED.nbytes
    for call in (
        lambda: method.store(3, other, values(other, 3)),
        lambda: method.best_match(STORED),
        lambda: method.retain(1),
        lambda: method.retire(1),
        lambda: method.sweep(),
        lambda: RedisScan(tmp_path, address),
    ):
        with pytest.raises(StoreError, match="does not answer"):
            call()
    assert method.nbytes() == 0
    method.close()
    method.close()


def test_records_of_another_folder_are_refused(tmp_path: Path) -> None:
    """A sweep would take all its weights for those of dead writers."""
    prefix = f"{tmp_path}"
    with RedisScan(tmp_path / "one", redis_address(), prefix=prefix) as method:
        method.store(1, STORED, values(STORED, 1))
    for folder, of in ((tmp_path / "two", prefix), (tmp_path / "one", f"{prefix}/new")):
        for _ in range(2):
            with pytest.raises(StoreError, match="are not of this folder"):
                RedisScan(folder, redis_address(), prefix=of)
    with RedisScan(tmp_path / "one", redis_address(), prefix=prefix) as method:
        assert equal(method.get(1), values(STORED, 1))


def test_what_is_no_address_of_a_server(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no address of a Redis server: 'nowhere'"):
        RedisScan(tmp_path, "nowhere")


def test_a_publication_whose_answer_is_lost_keeps_the_weights_that_its_record_names(
    scan: RedisScan, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RedisScan._run

    def lost(self: RedisScan, script: str, *arguments: Any) -> int:
        run(self, script, *arguments)
        raise StoreError("the answer was lost") from TimeoutError()

    with monkeypatch.context() as patch, pytest.raises(StoreError, match="was lost"):
        patch.setattr(RedisScan, "_run", lost)
        scan.store(1, STORED, values(STORED, 1))
    assert scan.models() == [1]
    assert equal(scan.get(1), values(STORED, 1))
    with pytest.raises(ModelExistsError):
        scan.store(1, STORED, values(STORED, 2))
    scan.retire(1)
    with pytest.raises(RetiredError):
        scan.get(1)


def test_a_child_of_a_fork_has_a_connection_of_its_own(scan: RedisScan, tmp_path: Path) -> None:
    scan.store(1, STORED, values(STORED, 1))
    pid = os.fork()
    if not pid:
        try:
            for _ in range(50):
                assert scan.models() == [1]
        except BaseException:
            os._exit(1)
        os._exit(0)
    for _ in range(50):
        assert isinstance(scan, TransferMethod) and scan.is_live(1)
        assert torch.equal(scan.get(1)["0.bias"], values(STORED, 1)["0.bias"])
    assert os.waitpid(pid, 0)[1] == 0
