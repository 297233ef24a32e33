"""What single formats promise beyond what all do: settings, splitting, Redis and its server."""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from format_cases import assert_same, large_model, random_tensor, same_bits, small_model

from bench_core import formats
from bench_core.errors import CorruptFileError, SaveError, UnsupportedError
from bench_core.formats import (
    Durability,
    Format,
    atomic,
    lmdb_file,
    redis_client,
    redis_process,
    redis_server,
)
from bench_core.formats.dtypes import DTYPES, dtype_name
from bench_core.formats.escaping import escape, unescape
from bench_core.formats.redis_process import redis_server as running_server

QUICK = Durability.RETURN


# --- torch -----------------------------------------------------------------------------------


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("before", [False, True])
def test_crc_is_off_for_the_save_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: bool, fails: bool
) -> None:
    seen: list[bool] = []
    real = torch.save

    def save(*args: Any) -> None:
        seen.append(torch.serialization.get_crc32_options())
        real(*args)
        if fails:
            raise RuntimeError("writing failed")

    monkeypatch.setattr(torch, "save", save)
    default = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(before)
    try:
        formats.get("torch_no_crc").write({"w": torch.ones(3)}, tmp_path / "a.pt", QUICK)
    except SaveError:
        assert fails
    finally:
        after = torch.serialization.get_crc32_options()
        torch.serialization.set_crc32_options(default)
    assert (seen, after) == ([False], before)
    assert (tmp_path / "a.pt").exists() is not fails


def test_files_of_torch_are_read_and_the_other_way_round(tmp_path: Path) -> None:
    model = small_model()
    torch.save(model, tmp_path / "theirs.pt")
    with formats.get("torch_mmap").open(tmp_path / "theirs.pt") as reader:
        assert_same(reader.read(), model)
    formats.get("torch_no_crc").write(model, tmp_path / "ours.pt", QUICK)
    assert_same(torch.load(tmp_path / "ours.pt", weights_only=True), model)


def test_all_types_of_safetensors(tmp_path: Path) -> None:
    model = {
        name: torch.zeros(3, dtype=dtype) if name == "BOOL" else random_tensor(dtype, (3, 5))
        for name, dtype in DTYPES.items()
    }
    for name in ("safetensors", "torch", "hdf5", "npz", "lmdb", "dcp", "tensorstore"):
        format_ = formats.get(name)
        if format_.library is not None:
            pytest.importorskip(format_.library)
        path = tmp_path / f"model{format_.suffix}"
        format_.write(model, path, QUICK)
        with format_.open(path) as reader:
            assert_same(reader.read(), model)
    assert dtype_name(torch.bfloat16) == "BF16"
    with pytest.raises(UnsupportedError, match="complex128"):
        dtype_name(torch.complex128)


def test_the_name_that_safetensors_reserves(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="__metadata__"):
        formats.get("safetensors").write({"__metadata__": torch.ones(1)}, tmp_path / "a", QUICK)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/b", "%", "%2F", "@", "w@BF16", "é\n", "w"])
def test_escaped_names(name: str) -> None:
    escaped = escape(name)
    assert escaped
    assert not escaped.startswith(".")
    assert not set("/@\n") & set(escaped)
    assert unescape(escaped) == name


# --- hdf5, lmdb ------------------------------------------------------------------------------


def test_hdf5_datasets_are_contiguous_and_have_the_tensors_names(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    model = {"layer.0.weight": torch.rand(20, 30), "b": torch.rand(4).to(torch.bfloat16)}
    formats.get("hdf5").write(model, tmp_path / "model.h5", QUICK)
    with h5py.File(tmp_path / "model.h5") as file:
        assert list(file) == list(model)
        assert file["layer.0.weight"].chunks is None
        assert file["layer.0.weight"][3, 4] == model["layer.0.weight"][3, 4]
        assert file["b"].attrs["torch_dtype"] == "BF16"


def test_lmdb_splits_large_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lmdb")
    monkeypatch.setattr(lmdb_file, "PART_BYTES", 1000)
    model = {"w": torch.rand(123, 17), "even": torch.rand(250), "small": torch.rand(3)}
    format_ = formats.get("lmdb")
    format_.write(model, tmp_path / "model.mdb", QUICK)
    with format_.open(tmp_path / "model.mdb") as reader:
        assert_same(reader.read(), model)
        for cut in (slice(2, 4), slice(10, 100, 7), slice(120, None)):
            assert same_bits(reader.read_slice("w", (cut,)), model["w"][cut])


@pytest.mark.parametrize("size", [1, 500, 511, 513, 1024, 2040, 2050, 4080, 4081, 5000])
def test_lmdb_has_room_for_any_size(tmp_path: Path, size: int) -> None:
    pytest.importorskip("lmdb")
    model = {f"w{i}": random_tensor(torch.uint8, (size,), i) for i in range(300)}
    format_ = formats.get("lmdb")
    result = format_.write(model, tmp_path / "model.mdb", QUICK)
    with format_.open(tmp_path / "model.mdb") as reader:
        assert_same(reader.read(), model)
    assert (tmp_path / "model.mdb").stat().st_size == result.bytes_physical


def test_lmdb_readers_share_an_environment_until_the_last_closes(tmp_path: Path) -> None:
    pytest.importorskip("lmdb")
    format_ = formats.get("lmdb")
    path = tmp_path / "model.mdb"
    format_.write({"w": torch.zeros(3)}, path, QUICK)
    before = len(lmdb_file._Environment._opened)
    first, second = format_.open(path), format_.open(path)
    assert len(lmdb_file._Environment._opened) == before + 1
    first.close()
    assert_same(second.read(), {"w": torch.zeros(3)})
    second.close()
    assert len(lmdb_file._Environment._opened) == before


@pytest.mark.parametrize("name", ["dcp", "lmdb", "tensorstore", "fastsafetensors", "runai"])
def test_no_warnings(name: str, tmp_path: Path) -> None:
    format_ = formats.get(name)
    if format_.library is not None:
        pytest.importorskip(format_.library)
    path = tmp_path / f"model{format_.suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        format_.write(small_model(), path, QUICK)
        with format_.open(path) as reader:
            reader.read()


# --- redis -----------------------------------------------------------------------------------


@pytest.fixture
def redis(redis_address: str) -> Iterator[Any]:
    client = redis_client.connect(redis_address)
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def store(redis_address: str, redis: Any) -> Format:
    return formats.get("redis", address=redis_address)


MODEL = Path("models/one")


def test_redis_keeps_one_generation(store: Format, redis: Any) -> None:
    store.write(large_model(1), MODEL)
    keys = redis.dbsize()
    store.write(large_model(2), MODEL)
    assert redis.dbsize() == keys
    with store.open(MODEL) as reader:
        assert_same(reader.read(), large_model(2))
    assert store.files(MODEL) == []
    assert not store.on_disk


def test_redis_splits_tensors(store: Format, redis: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_client, "PART_BYTES", 1000)
    monkeypatch.setattr(redis_client, "READ_WINDOW_BYTES", 2500)
    model = {"w": torch.rand(123, 17), "even": torch.rand(250), "small": torch.rand(3)}
    store.write(model, MODEL)
    assert max(redis.strlen(key) for key in redis.keys("models/one:*:0:*")) == 1000
    with store.open(MODEL) as reader:
        assert_same(reader.read(), model)
        for cut in (slice(2, 4), slice(10, 100, 7), slice(120, None)):
            assert same_bits(reader.read_slice("w", (cut,)), model["w"][cut])


def test_redis_removes_what_a_dead_writer_left(store: Format, redis: Any) -> None:
    store.write({"w": torch.ones(4)}, MODEL)
    keys = redis.dbsize()
    host = socket.gethostname()
    dead, living = f"{host}.{os.getpid()}.1-ab", atomic.writer_mark()
    elsewhere = f"elsewhere.{os.getpid()}.1-ab"
    for mark in (dead, living, elsewhere):
        redis.sadd(f"{MODEL}:writing", mark)
        redis.set(f"{MODEL}:{mark}:index", redis_server.encode_index({"w": torch.ones(4)}))
        redis.set(f"{MODEL}:{mark}:0:0", b"half")
    store.write({"w": torch.ones(4)}, MODEL)
    assert redis.smembers(f"{MODEL}:writing") == {living.encode(), elsewhere.encode()}
    assert redis.dbsize() == keys + 4 + 1


def test_redis_that_has_lost_a_value(store: Format, redis: Any) -> None:
    store.write({"w": torch.ones(4), "v": torch.ones(2)}, MODEL)
    (key,) = redis.keys("models/one:*:0:0")
    reader = store.open(MODEL)
    redis.setrange(key, 15, b"12")
    with pytest.raises(CorruptFileError, match="has 17 bytes, expected 16"):
        reader.read()
    redis.delete(key)
    with pytest.raises(CorruptFileError, match="has no bytes, expected 16"):
        reader.read(["w"])
    assert_same(reader.read(["v"]), {"v": torch.ones(2)})
    redis.set(MODEL.as_posix(), b"another")
    with pytest.raises(CorruptFileError, match="has no index of tensors"):
        store.open(MODEL)
    redis.delete(MODEL.as_posix())
    redis.lpush(MODEL.as_posix(), b"list")
    with pytest.raises(CorruptFileError, match="is no such model"):
        store.open(MODEL)


def test_redis_promises_no_durability_it_cannot_give(store: Format, redis: Any) -> None:
    for durability in Durability:
        if durability is not Durability.RETURN:
            with pytest.raises(UnsupportedError, match=r"appendonly|cannot be synced"):
                store.write({"w": torch.ones(4)}, MODEL, durability)
    assert redis.dbsize() == 0


@pytest.mark.usefixtures("redis_address")
def test_redis_that_syncs_each_command() -> None:
    with running_server("--appendonly", "yes", "--appendfsync", "always") as address:
        store = formats.get("redis", address=address)
        for durability in (Durability.FDATASYNC, Durability.FSYNC, Durability.FSYNC_DIR):
            result = store.write({"w": torch.ones(4)}, MODEL, durability)
            assert result.return_ns == result.durable_ns > 0
        with pytest.raises(UnsupportedError, match="cannot be synced"):
            store.write({"w": torch.ones(4)}, MODEL, Durability.GLOBAL_SYNC)


@pytest.mark.usefixtures("redis_address")
def test_redis_that_is_full_keeps_the_old_model() -> None:
    with running_server("--maxmemory", "6mb", "--maxmemory-policy", "noeviction") as address:
        store = formats.get("redis", address=address)
        store.write(large_model(1, megabytes=1), MODEL)
        with pytest.raises(SaveError, match=r"models/one: not written to unix://.*maxmemory"):
            store.write(large_model(2, megabytes=8), MODEL)
        with store.open(MODEL) as reader:
            assert_same(reader.read(), large_model(1, megabytes=1))
        client = redis_client.connect(address)
        assert client.smembers(f"{MODEL}:writing") == set()
        client.close()


class Unreliable:
    """A client whose answers to one command are lost; it may reach the server all the same."""

    def __init__(self, client: Any, command: str, arrives: bool) -> None:
        self._client, self._command, self._arrives = client, command, arrives

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        return self._lose(real) if name == self._command else real

    def _lose(self, real: Any) -> Any:
        from redis.exceptions import ConnectionError as Lost

        def call(*args: Any) -> None:
            if self._arrives:
                real(*args)
            raise Lost("the answer was lost")

        return call


@pytest.mark.parametrize(
    ("command", "arrives", "said"),
    [
        ("set", True, "not written to"),
        ("eval", False, "not written to"),
        ("eval", True, "written, but what it replaces was not removed from"),
        ("unlink", False, "written, but what it replaces was not removed from"),
    ],
)
def test_redis_whose_answer_is_lost_holds_one_whole_model(
    redis_address: str,
    store: Format,
    redis: Any,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    arrives: bool,
    said: str,
) -> None:
    old, new = large_model(1, megabytes=1), large_model(2, megabytes=1)
    store.write(old, MODEL)
    keys = redis.dbsize()
    real = redis_client.connect
    with monkeypatch.context() as patch:
        patch.setattr(redis_client, "connect", lambda to: Unreliable(real(to), command, arrives))
        with pytest.raises(SaveError, match=f"models/one: {said} {redis_address}, the answer"):
            store.write(new, MODEL)
    is_written = said.startswith("written")
    with store.open(MODEL) as reader:
        assert_same(reader.read(), new if is_written else old)
    # What is left over is known, so that it goes with the process that wrote it.
    assert redis.scard(f"{MODEL}:writing") == (1 if is_written else 0)
    monkeypatch.setattr(redis_server, "is_dead", lambda mark: True)
    store.write(new, MODEL)
    assert redis.dbsize() == keys


def test_redis_that_is_asked_twice_to_switch_keeps_the_new_model(
    store: Format, redis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its client sends a command again whose answer was lost."""
    store.write({"w": torch.zeros(4)}, MODEL)
    real = redis_client.connect

    def connect(address: str) -> Any:
        client = real(address)
        once = client.eval
        client.eval = lambda *args: (once(*args), once(*args))[1]
        return client

    monkeypatch.setattr(redis_client, "connect", connect)
    store.write({"w": torch.ones(4)}, MODEL)
    with store.open(MODEL) as reader:
        assert_same(reader.read(), {"w": torch.ones(4)})


def test_redis_does_not_switch_to_what_was_given_up(store: Format, redis: Any) -> None:
    """The request for the switch may arrive after its writer stopped to wait for it."""
    store.write({"w": torch.ones(4)}, MODEL)
    redis.sadd(f"{MODEL}:writing", "late")
    assert redis_server._give_up(redis, str(MODEL), "late")
    with pytest.raises(Exception, match="its writer has given this generation up"):
        redis.eval(redis_server._SWITCH, 2, str(MODEL), f"{MODEL}:writing", "late")
    with store.open(MODEL) as reader:
        assert_same(reader.read(), {"w": torch.ones(4)})


@pytest.mark.usefixtures("redis_address")
def test_redis_that_goes_at_the_switch_leaves_it_open(monkeypatch: pytest.MonkeyPatch) -> None:
    real = redis_client.connect
    with running_server() as address:
        store = formats.get("redis", address=address)

        def connect(to: str) -> Any:
            client = real(to)
            once = client.eval
            client.eval = lambda *args: (client.shutdown(nosave=True), once(*args))
            return client

        monkeypatch.setattr(redis_client, "connect", connect)
        with pytest.raises(SaveError, match=f"models/one: not known to be written to {address}"):
            store.write({"w": torch.ones(4)}, MODEL)


@pytest.mark.usefixtures("redis_address")
def test_a_server_by_tcp_that_stops() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with running_server(port=port) as address:
        store = formats.get("redis", address=address)
        store.check_available()
        store.write({"w": torch.ones(4)}, MODEL)
        reader = store.open(MODEL)
        assert_same(reader.read(), {"w": torch.ones(4)})
    with pytest.raises(OSError, match="the Redis server does not answer"):
        reader.read()
    with pytest.raises(SaveError, match=f"not written to redis://127.0.0.1:{port}"):
        store.write({"w": torch.ones(4)}, MODEL)
    with pytest.raises(UnsupportedError, match="no Redis server answers"):
        store.check_available()


@pytest.mark.usefixtures("redis_address")
def test_the_server_goes_with_its_block() -> None:
    with pytest.raises(ZeroDivisionError), running_server() as address:
        client = redis_client.connect(address)
        pid = client.info("server")["process_id"]
        folder = Path(client.config_get("dir")["dir"])
        client.close()
        raise ZeroDivisionError
    assert not folder.exists()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.usefixtures("redis_address")
def test_a_server_that_does_not_start() -> None:
    with (
        pytest.raises(UnsupportedError, match="redis-server does not answer at unix"),
        running_server("--no-such-option", "1"),
    ):
        pass


def test_no_server_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_process.shutil, "which", lambda _: None)
    with pytest.raises(UnsupportedError, match="apt install redis-server"), running_server():
        pass
