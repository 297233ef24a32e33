"""Blocks and manifests that were lost, cut, swapped or changed: found, named, mended."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_cases import assert_same, assert_stored, spec_of, tensors_of

from bench_core.errors import CorruptFileError, UnsupportedError
from bench_core.snapshots import CorruptBlockError, Snapshot, SnapshotStore, gc, verify

Damage = Callable[[SnapshotStore, Snapshot], object]


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    """Return a store of two models that share their first two blocks."""
    store = SnapshotStore(tmp_path / "store")
    first = store.add("a", spec_of(), tensors_of(1))
    store.add("b", spec_of(), [*first.blocks[:2], *tensors_of(2)[2:]])
    return store


def flip(path: Path, position: int, change: int = 1) -> None:
    """Change one byte of a file; negative positions count from its end."""
    content = bytearray(path.read_bytes())
    content[position] ^= change
    path.write_bytes(content)


def file_of(store: SnapshotStore, model: Snapshot, index: int = 0) -> Path:
    return store.block_path(model.blocks[index])


def swap_with_an_equal_one(store: SnapshotStore, model: Snapshot) -> None:
    """Put a block of the same architecture in the place of the first one."""
    other = store.add("other", spec_of(), tensors_of(9))
    file_of(store, model).write_bytes(file_of(store, other).read_bytes())


def replace_by_folder(store: SnapshotStore, model: Snapshot) -> None:
    file_of(store, model).unlink()
    file_of(store, model).mkdir()


VISIBLE: dict[str, tuple[Damage, str]] = {
    "missing": (lambda s, m: file_of(s, m).unlink(), "it is missing"),
    "truncated": (lambda s, m: os.truncate(file_of(s, m), 4100), "its tensors end at byte"),
    "cut in the header": (lambda s, m: os.truncate(file_of(s, m), 100), "truncated"),
    "empty": (lambda s, m: os.truncate(file_of(s, m), 0), "0 bytes"),
    "longer": (lambda s, m: file_of(s, m).open("ab").write(b"x"), "its tensors end at byte"),
    "swapped": (swap_with_an_equal_one, "the file holds the block"),
    "a folder": (replace_by_folder, "Is a directory"),
    "no block": (lambda s, m: file_of(s, m).write_bytes(b"x" * 5000), "no valid safetensors"),
}


@pytest.mark.parametrize("damage", VISIBLE)
def test_damage_that_is_seen_at_once(store: SnapshotStore, damage: str) -> None:
    model = store.snapshot("a")
    path, key = file_of(store, model), model.blocks[0].key
    inflict, reason = VISIBLE[damage]
    inflict(store, model)
    for look in (store.check_block, store.read_block):
        with pytest.raises(CorruptBlockError, match=reason) as error:
            look(model.blocks[0])
        assert (error.value.key, error.value.path) == (key, path)
        assert error.value.models == ("a", "b")
        text = str(error.value)
        assert text.startswith(f"{path}: block mlp.dense cannot be used, ") and "a, b" in text
        assert text.count(str(path)) == 1 and "\n" not in text
    assert_same(store.read_block(model.blocks[1]), tensors_of(1)[1])
    (found,) = verify(store).corrupt
    assert (found.key, found.models) == (key, ("a", "b"))


def test_a_changed_bit_is_seen_by_the_digest(store: SnapshotStore) -> None:
    ref = store.snapshot("a").blocks[3]
    flip(store.block_path(ref), -1)
    store.read_block(ref)
    with pytest.raises(CorruptBlockError, match="its bytes are not those") as error:
        store.read_block(ref, verify=True)
    assert error.value.models == ("a",)
    (found,) = verify(store).corrupt
    assert found.key == ref.key


@given(data=st.data(), change=st.integers(1, 255))
@settings(max_examples=100, deadline=None)
def test_any_changed_byte_is_found_or_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, change: int
) -> None:
    store = SnapshotStore(tmp_path_factory.mktemp("store"))
    model = store.add("a", spec_of((2, 3)), tensors_of(1, (2, 3)))
    path = file_of(store, model)
    text_end = path.read_bytes().rindex(b"}") + 1
    # The header's padding is most of the file.
    where = st.integers(0, text_end) | st.integers(4096, path.stat().st_size - 1)
    flip(path, data.draw(where), change)
    if verify(store).is_whole:
        assert_same(store.read_block(model.blocks[0]), tensors_of(1, (2, 3))[0])
    else:
        with pytest.raises(CorruptBlockError):
            store.read_block(model.blocks[0], verify=True)


def test_damage_is_mended_by_storing_the_model_anew(store: SnapshotStore) -> None:
    model = store.snapshot("a")
    flip(file_of(store, model, 0), -1)
    os.truncate(file_of(store, model, 1), 4100)
    file_of(store, model, 2).unlink()
    assert len(verify(store).corrupt) == 3
    store.add("a", spec_of(), tensors_of(1), replace=True)
    assert verify(store).is_whole
    assert_stored(store, "b", [*tensors_of(1)[:2], *tensors_of(2)[2:]])


def test_a_whole_store(store: SnapshotStore) -> None:
    calls: list[tuple[int, int]] = []
    report = verify(store, lambda done, total: calls.append((done, total)))
    assert report.is_whole and report.corrupt == report.manifests == report.orphans == ()
    assert (report.models, report.blocks) == (2, 6)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert len(calls) == 6 and calls[-1] == (report.nbytes, report.nbytes)
    assert verify(SnapshotStore(store.folder / "empty")).is_whole


def test_orphans_are_told_and_are_no_damage(store: SnapshotStore) -> None:
    own = store.snapshot("b").blocks[2:]
    store.remove("b")
    report = verify(store)
    assert report.is_whole
    assert set(report.orphans) == {store.block_path(ref) for ref in own}


def change_manifest(store: SnapshotStore, **changes: object) -> None:
    path = store.folder / "models" / "a.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


MANIFESTS: dict[str, Callable[[SnapshotStore], object]] = {
    "truncated": lambda store: os.truncate(store.folder / "models" / "a.json", 40),
    "no text": lambda store: (store.folder / "models" / "a.json").write_bytes(b"\xff\xfe\0"),
    "a list": lambda store: (store.folder / "models" / "a.json").write_text("[]"),
    "no blocks": lambda store: change_manifest(store, blocks=None),
    "no digest": lambda store: change_manifest(
        store, blocks=[{"kind": "k", "settings": {}, "parameters": "../../x", "nbytes": 1}]
    ),
    "no size": lambda store: change_manifest(
        store, blocks=[{"kind": "k", "settings": {}, "parameters": "0" * 32, "nbytes": "x"}]
    ),
    "another model's": lambda store: change_manifest(store, name="b"),
    "no input": lambda store: change_manifest(store, input={}),
}


@pytest.mark.parametrize("damage", MANIFESTS)
def test_a_damaged_manifest(store: SnapshotStore, damage: str) -> None:
    MANIFESTS[damage](store)
    with pytest.raises(CorruptFileError, match=r"a\.json: no manifest of a model") as error:
        store.snapshot("a")
    assert "\n" not in str(error.value)
    report = verify(store)
    assert not report.is_whole and not report.corrupt and not report.orphans
    assert report.manifests == (str(error.value),)
    files = list(store.blocks.files())
    with pytest.raises(CorruptFileError, match=r"a\.json"):
        gc(store)
    assert list(store.blocks.files()) == files
    assert store.models_of(store.snapshot("b").blocks[0].key) == ["b"]
    store.add("a", spec_of(), tensors_of(1), replace=True)
    assert_stored(store, "a", tensors_of(1))


def test_a_damaged_manifest_can_be_removed(store: SnapshotStore) -> None:
    MANIFESTS["truncated"](store)
    store.remove("a")
    assert store.names() == ["b"]


def test_a_manifest_of_a_later_version(store: SnapshotStore) -> None:
    change_manifest(store, version=99)
    with pytest.raises(UnsupportedError, match="version 99, this release reads 1"):
        store.snapshot("a")
    with pytest.raises(UnsupportedError, match="version 99"):
        gc(store)


def test_the_error_travels_between_processes(store: SnapshotStore) -> None:
    ref = store.snapshot("a").blocks[0]
    error = store.corrupt_block(ref, "it is missing")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.key, copy.models) == (str(error), ref.key, ("a", "b"))
