"""Preprocessed items, a file each: what was written comes back, and damage is named."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from bench_core.data import DataError
from bench_core.data.tensor_files import TensorFiles, read_tensor
from bench_core.errors import CorruptFileError

CLASSES = ("even", "odd")


def items(count: int) -> torch.Tensor:
    return torch.randn((count, 3, 8, 6), generator=torch.Generator().manual_seed(1))


def written(folder: Path, count: int = 5) -> TensorFiles:
    files = [folder / f"item-{index}.pt" for index in range(count)]
    for file, item in zip(files, items(count), strict=True):
        torch.save(item.clone(), file)
    return TensorFiles("made", files, np.arange(count) % 2, CLASSES)


def test_items_come_back_in_any_order(tmp_path: Path) -> None:
    dataset = written(tmp_path)
    assert (len(dataset), dataset.shape, dataset.kind) == (5, (3, 8, 6), "image")
    order = np.array([3, 0, 3])
    assert torch.equal(dataset.batch(order), items(5)[torch.from_numpy(order)])
    chosen = dataset.select(order)
    assert torch.equal(chosen.batch([0, 1]), items(5)[[3, 0]])
    assert chosen.labels.tolist() == [1, 0, 1]
    assert dataset.decoded_bytes == 3 * 8 * 6 * 4


def test_the_digest_follows_items_labels_and_order(tmp_path: Path) -> None:
    dataset = written(tmp_path)
    digests = {dataset.digest, dataset.select([1, 0]).digest, dataset.select([0, 1]).digest}
    assert len(digests) == 3
    torch.save(items(5)[1].double().float() + 1, tmp_path / "item-0.pt")
    (tmp_path / "item-0.pt").touch()
    assert dataset.digest not in digests


def test_files_and_labels_must_fit(tmp_path: Path) -> None:
    files = [tmp_path / "item-0.pt"]
    written(tmp_path)
    with pytest.raises(DataError, match="1 files and 2 labels"):
        TensorFiles("made", files, np.array([0, 1]), CLASSES)
    with pytest.raises(DataError, match="at least one"):
        TensorFiles("made", [], np.array([], np.int64), CLASSES)


def test_an_item_of_another_shape_is_named(tmp_path: Path) -> None:
    dataset = written(tmp_path)
    torch.save(torch.zeros(3, 8, 7), tmp_path / "item-2.pt")
    with pytest.raises(CorruptFileError, match=r"item-2\.pt: a tensor of \(3, 8, 7\)"):
        dataset.batch([0, 2])


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("harmed"),))


def test_damage_and_foreign_files_are_named_and_never_executed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "item.pt"
    torch.save(torch.zeros(3, 8, 6), file)
    whole = file.read_bytes()
    damaged = [b"", whole[: len(whole) // 2], b"no tensor", pickle.dumps(Harmful(), protocol=2)]
    for content in damaged:
        file.write_bytes(content)
        with pytest.raises(CorruptFileError, match=r"item\.pt"):
            read_tensor(file)
    for other in (torch.zeros(2, dtype=torch.float64), {"a": 1}, Harmful()):
        torch.save(other, file)
        with pytest.raises(CorruptFileError, match=r"item\.pt"):
            read_tensor(file)
    with pytest.raises(CorruptFileError, match="missing"):
        read_tensor(tmp_path / "missing.pt")
    assert not (tmp_path / "harmed").exists()
