"""Folders of images: layout, preprocessing, identity, damage."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from data_cases import CLASSES, equal, write_images
from PIL import Image

from bench_core.data import DataError, batches, load, load_image_folder
from bench_core.data.images import Crop, decode
from bench_core.data.pixels import IMAGENET_MEAN, IMAGENET_STD, Pixels
from bench_core.errors import CorruptFileError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images")


def gradient(width: int, height: int) -> Image.Image:
    rows = np.linspace(0, 255, height)[:, None] * np.ones(width)
    columns = np.linspace(0, 255, width)[None] * np.ones((height, 1))
    channels = np.stack([rows, columns, 255 - rows], axis=2)
    return Image.fromarray(channels.astype(np.uint8))


@pytest.mark.parametrize(("width", "height"), [(300, 400), (500, 260), (256, 256), (90, 71)])
def test_preprocessing_is_the_published_one(tmp_path: Path, width: int, height: int) -> None:
    image = gradient(width, height)
    image.save(tmp_path / "x.png")
    short = min(width, height)
    resized = image.resize(
        (int(256 * width / short), int(256 * height / short)), Image.Resampling.BILINEAR
    )
    left, top = round((resized.width - 224) / 2), round((resized.height - 224) / 2)
    expected = np.asarray(resized)[top : top + 224, left : left + 224].transpose(2, 0, 1)
    assert np.array_equal(decode(tmp_path / "x.png", Crop()), expected)


def test_normalisation_is_of_each_colour() -> None:
    images = torch.arange(256, dtype=torch.uint8).repeat(3).view(1, 3, 16, 16)
    finished = Pixels().finished(images)
    for channel in range(3):
        scaled = torch.arange(256, dtype=torch.float32) / 255
        mean, std = torch.tensor(IMAGENET_MEAN[channel]), torch.tensor(IMAGENET_STD[channel])
        assert torch.equal(finished[0, channel].flatten(), (scaled - mean) / std)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16", "YCbCr"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    image = gradient(40, 40)
    if mode == "I;16":
        sixteen = np.asarray(image.convert("L")).astype(np.uint16) * 257
        image = Image.fromarray(sixteen)
    else:
        image = image.convert(mode)
    path = tmp_path / ("x.tif" if mode in ("CMYK", "I;16", "YCbCr") else "x.png")
    image.save(path)
    pixels = decode(path, Crop(40, 40))
    assert pixels.shape == (3, 40, 40) and pixels.dtype == np.uint8
    expected = gradient(40, 40).convert("L") if mode in ("L", "LA", "I;16") else gradient(40, 40)
    if mode == "1":
        assert set(np.unique(pixels)) == {0, 255}
    else:
        wanted = np.asarray(expected.convert("RGB")).transpose(2, 0, 1).astype(int)
        # A palette of 256 colours is coarse; the other modes are exact, or nearly.
        assert np.abs(pixels - wanted).mean() < (20 if mode == "P" else 2)


def test_a_palette_with_transparency(tmp_path: Path) -> None:
    image = gradient(30, 30).convert("P")
    image.save(tmp_path / "x.png", transparency=bytes(range(256)))
    assert decode(tmp_path / "x.png", Crop(30, 30)).shape == (3, 30, 30)


def test_classes_and_items_come_from_the_folders(folder: Path) -> None:
    nested = folder / "train/ant/more/deep.png"
    nested.parent.mkdir()
    gradient(30, 30).save(nested)
    (folder / "train/ant/notes.txt").write_text("no image")
    (folder / "train/ant/._0.png").write_bytes(b"what macOS leaves")
    (folder / "train/.thumbnails").mkdir()
    data = load_image_folder(folder, size=16)
    assert data.train.classes == CLASSES
    assert np.bincount(data.train.labels).tolist() == [7, 6, 6]
    assert np.bincount(data.test.labels).tolist() == [3, 3, 3]
    assert data.train.shape == (3, 16, 16)


@pytest.mark.parametrize("name", ["val", "validation"])
def test_the_test_side_may_be_named_otherwise(folder: Path, name: str) -> None:
    before = load_image_folder(folder, size=16).test.batch(range(9))
    (folder / "test").rename(folder / name)
    assert equal(load_image_folder(folder, size=16).test.batch(range(9)), before)


def test_the_published_order_is_one_shuffle(folder: Path) -> None:
    stored, shuffled = (load(folder, size=16, order=order) for order in ("stored", "shuffled"))
    assert stored.train.labels.tolist() == sorted(stored.train.labels.tolist())
    assert shuffled.train.labels.tolist() != stored.train.labels.tolist()
    assert sorted(shuffled.train.labels.tolist()) == stored.train.labels.tolist()


@pytest.mark.parametrize("identify", ["stat", "content"])
def test_the_digest_changes_with_content_and_preprocessing(folder: Path, identify: str) -> None:
    def digest(**settings: object) -> str:
        return load(folder, **{"size": 16, "identify": identify, **settings}).train.digest

    first = digest()
    assert digest() == first
    others = [
        digest(size=15),
        digest(resize=30),
        digest(mean=(0.5, 0.5, 0.5)),
        digest(std=(0.5, 0.5, 0.5)),
        digest(seed=1),
        digest(num_train_items=17),
    ]
    gradient(33, 44).save(folder / "train/bee/0.png")
    assert len({first, *others, digest()}) == len(others) + 2


def test_content_outlives_a_change_of_times_and_sees_one_of_bits(folder: Path) -> None:
    path = folder / "train/bee/0.png"
    content, stat = (
        load_image_folder(folder, size=16, identify=identify).train.digest
        for identify in ("content", "stat")
    )
    os.utime(path, ns=(0, 0))
    assert load_image_folder(folder, size=16, identify="content").train.digest == content
    assert load_image_folder(folder, size=16, identify="stat").train.digest != stat
    raw = bytearray(path.read_bytes())
    raw[-20] ^= 1
    path.write_bytes(raw)
    assert load_image_folder(folder, size=16, identify="content").train.digest != content


def test_the_place_of_the_folder_does_not_count(folder: Path) -> None:
    before = load_image_folder(folder, size=16).train.digest
    moved = folder.rename(folder.with_name("elsewhere"))
    assert load_image_folder(moved, size=16).train.digest == before


@pytest.mark.parametrize("damage", ["empty", "cut", "text", "missing"])
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_named(tmp_path: Path, damage: str, suffix: str, workers: int) -> None:
    folder = write_images(tmp_path / "images", 2, 1, suffix=suffix)
    train = load(folder, size=16, order="stored").train
    path = folder / "train" / "bee" / f"1{suffix}"
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(
            {"empty": b"", "cut": whole[: len(whole) // 2], "text": b"no image at all"}[damage]
        )
    with pytest.raises(CorruptFileError) as caught:
        list(batches(train, [range(6)], workers))
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)


def test_an_unreadable_layout_says_what_was_found(folder: Path, tmp_path: Path) -> None:
    (folder / "test/dog").mkdir()
    gradient(30, 30).save(folder / "test/dog/0.png")
    with pytest.raises(DataError, match="class dog is not among the 3 of train"):
        load(folder)
    for entry in (folder / "train/cat").iterdir():
        entry.unlink()
    (folder / "test/dog/0.png").unlink()
    (folder / "test/dog").rmdir()
    with pytest.raises(DataError, match="cat: no images"):
        load(folder)
    flat = tmp_path / "flat"
    (flat / "train").mkdir(parents=True)
    (flat / "test").mkdir()
    gradient(30, 30).save(flat / "train/0.png")
    with pytest.raises(DataError, match="1 images and no folders in it"):
        load(flat)
    (flat / "test").rmdir()
    with pytest.raises(DataError, match="no folder test or val or validation"):
        load(flat)


def test_settings_that_make_no_sense_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="cropped to 20 pixels of 10"):
        load(folder, size=20, resize=10)
    with pytest.raises(DataError, match="three numbers each"):
        load(folder, mean=(0.5, 0.5))
    with pytest.raises(DataError, match="above 0"):
        load(folder, std=(0.5, 0.5, 0.0))
    with pytest.raises(DataError, match="expected stat or content"):
        load(folder, identify="name")
