"""Models in a store: they come back bit for bit, and what they share is there once."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import assert_same, assert_stored, files_of, spec_of, tensors_of

from bench_core import formats
from bench_core.errors import TensorMismatchError, UnknownNameError, UnsupportedError
from bench_core.formats.dtypes import DTYPES
from bench_core.models.chains import BlockSpec, ChainSpec, InputSpec
from bench_core.snapshots import (
    BlockRef,
    ModelExistsError,
    ModelNameError,
    SnapshotStore,
    own_bytes,
    synthetic_set,
    total_bytes,
    unique_bytes,
)

ONE = ChainSpec("one", (BlockSpec.of("any.block"),), InputSpec("vector", (1,)), 1, (1, 0))


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "store")


def test_a_model_comes_back(store: SnapshotStore) -> None:
    tensors = tensors_of(1)
    head = torch.randn(5, 3), torch.randn(5)
    origin = {"kind": "test", "losses": [1.5, float("nan")], "cut": (1, 2)}
    added = store.add("v1.0", spec_of(), tensors, head=head, origin=origin)
    read = SnapshotStore(store.folder).snapshot("v1.0")
    assert_stored(store, "v1.0", tensors)
    assert read.blocks == added.blocks and read.head == added.head and read.name == "v1.0"
    assert (read.architecture, read.feature_dim) == ("mlp", 3)
    assert read.input == InputSpec("vector", (4,))
    assert str(read.origin) == str(added.origin)
    assert read.origin["cut"] == [1, 2]
    assert read.head is not None and read.head.spec == BlockSpec.of(
        "head.linear", classes=5, inputs=3
    )
    assert_same(store.read_block(read.head, verify=True), {"weight": head[0], "bias": head[1]})
    assert read.nbytes == sum(t.nbytes for b in tensors for t in b.values()) + 4 * (15 + 5)


@st.composite
def tensor(draw: st.DrawFn) -> torch.Tensor:
    """Return any tensor, of any bits, in order in memory or not."""
    dtype = draw(st.sampled_from(list(DTYPES.values())))
    shape = draw(st.lists(st.integers(0, 5), max_size=3))
    count = torch.Size(shape).numel() * dtype.itemsize
    bits = bytearray(draw(st.binary(min_size=count, max_size=count)))
    if dtype is torch.bool:
        bits = bytearray(bit & 1 for bit in bits)
    found = torch.frombuffer(bits, dtype=dtype) if count else torch.empty(0, dtype=dtype)
    found = found.reshape(shape)
    return found.t() if found.ndim == 2 and draw(st.booleans()) else found


@given(tensors=st.dictionaries(st.text(min_size=1, max_size=8), tensor(), max_size=4))
@settings(max_examples=60, deadline=None)
def test_any_block_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, torch.Tensor]
) -> None:
    store = SnapshotStore(tmp_path_factory.mktemp("store"))
    added = store.add("model", ONE, [tensors])
    assert_same(store.read_block(added.blocks[0], verify=True), tensors)
    assert added.nbytes == sum(t.nbytes for t in tensors.values())
    again = store.add("again", ONE, [{name: t.clone() for name, t in reversed(tensors.items())}])
    assert again.blocks == added.blocks


def test_nothing_is_made_by_looking(store: SnapshotStore) -> None:
    assert store.names() == [] and store.snapshots() == [] and store.models_of("x") == []
    with pytest.raises(UnknownNameError, match="no model 'a' among 0"):
        store.snapshot("a")
    with pytest.raises(UnknownNameError, match="no model 'a' among 0"):
        store.remove("a")
    assert not store.folder.exists()


def test_the_nearest_name_is_suggested(store: SnapshotStore) -> None:
    store.add("resnet-1", spec_of(), tensors_of(1))
    with pytest.raises(UnknownNameError, match="did you mean 'resnet-1'"):
        store.snapshot("resnet-2")


def test_equal_blocks_are_there_once(store: SnapshotStore) -> None:
    models = synthetic_set(store, "mlp_deep", "TWENTY_FIVE_PERCENT", 35)
    retrained = sum(model.origin["retrained"] for model in models)
    distinct = {ref.key for model in models for ref in model.blocks}
    assert retrained > 0
    assert len(distinct) == len(models[0].blocks) + retrained
    assert {key for key, _ in store.blocks.files()} == distinct
    files = dict(store.blocks.files())
    assert [files[ref.key] for ref in models[7].blocks] == [
        store.block_path(ref) for ref in models[7].blocks
    ]


def test_an_equal_block_elsewhere_in_the_chain_is_the_same(store: SnapshotStore) -> None:
    widths = (4, 4, 4)
    block = tensors_of(1, widths)[0]
    added = store.add("twice", spec_of(widths), [block, block])
    assert added.blocks[0] == added.blocks[1]
    assert len(list(store.blocks.files())) == 1


def test_what_a_block_computes_is_part_of_what_it_is(store: SnapshotStore) -> None:
    other = ChainSpec("other", (BlockSpec.of("other.block"),), ONE.input, 1, (1, 0))
    block = {"weight": torch.ones(1)}
    first, second = store.add("a", ONE, [block]), store.add("b", other, [block])
    assert first.blocks[0].parameters == second.blocks[0].parameters
    assert first.blocks[0].key != second.blocks[0].key
    assert len(list(store.blocks.files())) == 2


def test_sizes(store: SnapshotStore) -> None:
    tensors = tensors_of(1)
    a = store.add("a", spec_of(), tensors)
    b = store.add(
        "b", spec_of(), [*tensors[:3], *tensors_of(2)[3:]], head=(torch.ones(2, 3), torch.ones(2))
    )
    assert total_bytes([a, b]) == a.nbytes + b.nbytes
    last = a.blocks[-1].nbytes
    assert unique_bytes([a, b]) == a.nbytes + last + 4 * (6 + 2)
    assert own_bytes([a, b]) == {"a": last, "b": last + 4 * (6 + 2)}
    assert own_bytes([a]) == {"a": a.nbytes}
    copy = store.add("copy", spec_of(), tensors)
    assert own_bytes([a, copy]) == {"a": 0, "copy": 0}


def test_little_room_beside_the_tensors(store: SnapshotStore) -> None:
    sizes = {"stem": 9_536, "first": 73_984, "middle": 1_180_672, "last": 4_720_640}
    blocks = tuple(BlockSpec.of(f"sized.{name}") for name in sizes)
    spec = ChainSpec("sized", blocks, ONE.input, 1, (4,))
    tensors = [
        {"conv.weight": torch.randn(size - 256), "bn.weight": torch.ones(256)}
        for size in sizes.values()
    ]
    model = store.add("model", spec, tensors)
    files = [path for path in store.folder.rglob("*") if path.is_file()]
    for taken in (
        sum(path.stat().st_size for path in files),
        sum(path.stat().st_blocks * 512 for path in files),
    ):
        assert taken <= 1.05 * unique_bytes([model])


def test_the_same_model_again_is_no_work(store: SnapshotStore) -> None:
    origin = {"loss": float("nan"), "base": None}
    first = store.add("a", spec_of(), tensors_of(1), origin=origin)
    before = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*.*")}
    again = store.add("a", spec_of(), tensors_of(1), origin=origin)
    assert again.blocks == first.blocks
    assert {path: path.stat().st_mtime_ns for path in store.folder.rglob("*.*")} == before


def test_a_lost_block_comes_back_with_the_same_model(store: SnapshotStore) -> None:
    added = store.add("a", spec_of(), tensors_of(1))
    store.block_path(added.blocks[2]).unlink()
    store.add("a", spec_of(), tensors_of(1))
    assert_stored(store, "a", tensors_of(1))


@pytest.mark.parametrize(
    ("change", "what"),
    [({"tensors": tensors_of(2)}, "blocks"), ({"origin": {"base": "b"}}, "origin")],
)
def test_another_model_of_the_same_name(
    store: SnapshotStore, change: dict[str, object], what: str
) -> None:
    store.add("a", spec_of(), tensors_of(1))
    before = files_of(store)
    arguments = {"tensors": tensors_of(1), "origin": None, **change}
    tensors, origin = arguments["tensors"], arguments["origin"]
    with pytest.raises(ModelExistsError, match=f"with another {what}"):
        store.add("a", spec_of(), tensors, origin=origin)  # type: ignore[arg-type]
    assert files_of(store) == before
    replaced = store.add("a", spec_of(), tensors, origin=origin, replace=True)  # type: ignore[arg-type]
    assert store.snapshot("a") == replaced
    assert_stored(store, "a", tensors)  # type: ignore[arg-type]


def test_stored_blocks_can_be_given_as_they_are(store: SnapshotStore) -> None:
    first = store.add("first", spec_of(), tensors_of(1))
    own = tensors_of(2)[3]
    second = store.add("second", spec_of(), [*first.blocks[:3], own])
    assert second.blocks[:3] == first.blocks[:3]
    assert_stored(store, "second", [*tensors_of(1)[:3], own])


def test_a_block_that_is_not_there_cannot_be_given(store: SnapshotStore, tmp_path: Path) -> None:
    elsewhere = SnapshotStore(tmp_path / "elsewhere").add("first", spec_of(), tensors_of(1))
    with pytest.raises(ValueError, match="it is missing"):
        store.add("second", spec_of(), elsewhere.blocks)
    assert store.names() == []


def test_blocks_must_be_those_of_the_chain(store: SnapshotStore) -> None:
    first = store.add("first", spec_of(), tensors_of(1))
    with pytest.raises(TensorMismatchError, match="mlp has 4 blocks, the tensors of 3"):
        store.add("second", spec_of(), tensors_of(1)[:3])
    with pytest.raises(TensorMismatchError, match="block 0 of mlp"):
        store.add("second", spec_of(), list(reversed(first.blocks)))


@pytest.mark.parametrize(("weight", "bias"), [((5, 4), (5,)), ((5, 3), (4,)), ((3,), (3,))])
def test_a_head_must_fit_the_features(
    store: SnapshotStore, weight: tuple[int, ...], bias: tuple[int, ...]
) -> None:
    with pytest.raises(TensorMismatchError, match="a head of weight"):
        store.add("a", spec_of(), tensors_of(1), head=(torch.ones(weight), torch.ones(bias)))


def test_an_origin_must_be_json(store: SnapshotStore) -> None:
    with pytest.raises(UnsupportedError, match="cannot be kept as JSON"):
        store.add("a", spec_of(), tensors_of(1), origin={"folder": Path("x")})
    assert store.names() == []


@pytest.mark.parametrize("name", ["a", "v1.0", "google--bert", "ü ñ", "[red]", "x" * 128, "-1"])
def test_names(store: SnapshotStore, name: str) -> None:
    store.add(name, spec_of(), tensors_of(1))
    assert store.names() == [name]
    assert store.snapshot(name).name == name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("google/bert", "write 'google--bert'"),
        ("../a", "write '..--a'"),
        ("/a", "write 'a'"),
        ("", "must not be empty"),
        (".", "begin with a dot"),
        (".a", "begin with a dot"),
        ("a\\b", "slashes"),
        ("a\nb", "unprintable"),
        ("a\0b", "unprintable"),
        ("\udcff", "unprintable"),
        ("ü" * 65, "130 bytes long"),
    ],
)
def test_names_that_no_model_can_have(store: SnapshotStore, name: str, message: str) -> None:
    for call in (store.snapshot, store.remove):
        with pytest.raises(ModelNameError, match=message):
            call(name)
    with pytest.raises(ModelNameError, match=message):
        store.add(name, spec_of(), tensors_of(1))
    assert not store.folder.exists()


def test_removing_leaves_the_blocks_to_others(store: SnapshotStore) -> None:
    store.add("a", spec_of(), tensors_of(1))
    store.add("b", spec_of(), tensors_of(1))
    store.remove("a")
    assert store.names() == ["b"]
    assert_stored(store, "b", tensors_of(1))


def test_models_of_a_block(store: SnapshotStore) -> None:
    head = torch.ones(2, 3), torch.ones(2)
    a = store.add("a", spec_of(), tensors_of(1), head=head)
    store.add("b", spec_of(), [*tensors_of(1)[:2], *tensors_of(2)[2:]])
    assert a.head is not None
    assert store.models_of(a.blocks[0].key) == ["a", "b"]
    assert store.models_of(a.blocks[3].key) == store.models_of(a.head.key) == ["a"]
    assert store.models_of("0" * 65) == []


def test_tensors_that_were_read_are_the_reader_s_own(store: SnapshotStore) -> None:
    ref = store.add("a", spec_of(), tensors_of(1)).blocks[0]
    store.read_block(ref)["0.weight"].zero_()
    assert_same(store.read_block(ref), tensors_of(1)[0])


def whole(tensors: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {f"{i}.{name}": t for i, block in enumerate(tensors) for name, t in block.items()}


@pytest.mark.parametrize("name", ["torch", "safetensors", "dcp"])
def test_export(store: SnapshotStore, tmp_path: Path, name: str) -> None:
    path = tmp_path / "exports" / "model"
    store.add("a", spec_of(), tensors_of(1), head=(torch.ones(2, 3), torch.ones(2)))
    assert store.export("a", path, name) == path
    with formats.get(name).open(path) as reader:
        assert_same(reader.read(), whole(tensors_of(1)))


def identity(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_an_export_is_used_again_while_it_is_the_model(
    store: SnapshotStore, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    store.add("a", spec_of(), tensors_of(1))
    written = identity(store.export("a", path))
    assert identity(store.export("a", path)) == written
    store.add("a", spec_of(), tensors_of(2), replace=True)
    assert identity(store.export("a", path)) != written
    state = torch.load(path, weights_only=True)
    assert_same(state, whole(tensors_of(2)))


@pytest.mark.parametrize("damage", ["truncated", "another", "no stamp"])
def test_an_export_that_was_touched_is_written_again(
    store: SnapshotStore, tmp_path: Path, damage: str
) -> None:
    path = tmp_path / "model.pt"
    store.add("a", spec_of(), tensors_of(1))
    store.add("b", spec_of(), tensors_of(2))
    store.export("a", path)
    if damage == "truncated":
        os.truncate(path, 100)
    elif damage == "another":
        shutil.copy(store.export("b", tmp_path / "b.pt"), path)
    else:
        for stamp in tmp_path.glob(".*"):
            stamp.unlink()
        os.truncate(path, 100)
    assert_same(torch.load(store.export("a", path), weights_only=True), whole(tensors_of(1)))


def test_a_reference_is_plain_data(store: SnapshotStore) -> None:
    ref = store.add("a", spec_of(), tensors_of(1)).blocks[0]
    assert BlockRef.from_json(ref.as_json()) == ref
    assert store.block_path(ref) == (
        store.folder / "blocks" / ref.key[:2] / f"{ref.key}.safetensors"
    )
