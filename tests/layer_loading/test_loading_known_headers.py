"""Remembered headers: used for warm, unchanged files only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from loading_cache import evict_or_skip

from bench_core.errors import CorruptFileError
from bench_core.formats.direct import Direct, known_headers, release_arenas
from bench_core.layer_loading import load, load_into, policies

OLD_NS = 10_000_000_000


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files whose headers were read and checked."""
    release_arenas()
    files: list[Path] = []
    read_header = policies.read_header
    monkeypatch.setattr(
        policies, "read_header", lambda file: (files.append(file.path), read_header(file))[1]
    )
    return files


def write(path: Path, value: float) -> None:
    Direct().write({"t": torch.full((5000,), value)}, path)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "model.safetensors"
    write(path, 1.0)
    path.read_bytes()
    monkeypatch.setattr(known_headers, "_SETTLED_NS", -OLD_NS)
    return path


def test_a_warm_file_is_parsed_once(path: Path, parsed: list[Path]) -> None:
    for _ in range(3):
        assert torch.equal(load(path)["t"], torch.ones(5000))
        load_into({"t": torch.zeros(5000)}, path)
    assert parsed == [path]


def test_a_cold_file_is_parsed_again(path: Path, parsed: list[Path]) -> None:
    for _ in range(2):
        load(path)
        evict_or_skip(path)
        load(path)
    assert len(parsed) == 3


def test_a_replaced_or_damaged_file_is_parsed_again(path: Path, parsed: list[Path]) -> None:
    load(path)
    write(path, 2.0)
    path.read_bytes()
    assert torch.equal(load(path)["t"], torch.full((5000,), 2.0))
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"shape":[5000]', b'"shape":[5001]'))
    with pytest.raises(CorruptFileError):
        load(path)
    os.truncate(path, len(content) - 1)
    with pytest.raises(CorruptFileError):
        load(path)
    assert len(parsed) == 4


def test_a_file_changed_a_moment_ago_is_not_remembered(
    path: Path, parsed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(known_headers, "_SETTLED_NS", OLD_NS)
    load(path)
    load(path)
    assert len(parsed) == 2


def test_few_headers_are_kept_and_all_given_back(
    tmp_path: Path, path: Path, parsed: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    others = [tmp_path / f"{i}.safetensors" for i in range(known_headers.MAXIMUM_FILES)]
    load(path)
    for i, other in enumerate(others):
        write(other, i)
        load(other)
    load(path)
    assert parsed == [path, *others, path]
    release_arenas()
    load(path)
    assert parsed[-1] == path
    assert len(parsed) == len(others) + 3

    monkeypatch.setattr(known_headers, "MAXIMUM_TENSORS", 0)
    release_arenas()
    del parsed[:]
    load(path)
    load(path)
    assert parsed == [path, path]
