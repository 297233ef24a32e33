"""Damages model files and reports what each format makes of them: one JSON line per case.

A process of its own, as a library that dies on a damaged file would take the tests with it:
``python format_fuzz.py FOLDER SEED CASES FORMAT...``.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from bench_core import formats
from bench_core.errors import BenchCoreError

HEADER_BYTES = 2048
"""The first and last bytes of a file, where most formats have their metadata."""


def model(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    tensors = {f"layer{i}.weight": torch.rand(24, 32, generator=generator) for i in range(12)}
    tensors["half"] = torch.rand(64, generator=generator).to(torch.bfloat16)
    tensors["large"] = torch.rand(300, 100, generator=generator)
    return tensors


def is_same(read: dict[str, torch.Tensor], written: dict[str, torch.Tensor]) -> bool:
    return set(read) == set(written) and all(
        read[name].dtype == tensor.dtype and torch.equal(read[name], tensor)
        for name, tensor in written.items()
    )


def outcome(format_: formats.Format, path: Path, written: dict[str, torch.Tensor]) -> str:
    """Return ``same``, ``different``, ``error`` (of ours, naming the file) or another's name."""
    try:
        with format_.open(path) as reader:
            read = {name: tensor.clone() for name, tensor in reader.read().items()}
            is_right = is_same(read, written)
    except BenchCoreError as error:
        return "error" if str(path) in str(error) and "\n" not in str(error) else f"vague: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "same" if is_right else "different"


def truncations(size: int) -> list[int]:
    """Return lengths to cut a file to: nothing, within its start, its middle, its last byte."""
    cuts = {0, 1, 7, 8, 9, 64, 511, size // 3, size // 2, size - 4096, size - 64, size - 1}
    return sorted(cut for cut in cuts if 0 <= cut < size)


def damages(
    files: list[Path], cases: int, generator: random.Random
) -> Iterator[tuple[Path, str, bytes]]:
    """Yield a file, what was done to it, and its new content."""
    for file in files:
        content = file.read_bytes()
        for length in truncations(len(content)):
            yield file, f"cut to {length}", content[:length]
        for region in ("header", "anywhere"):
            for _ in range(cases):
                damaged = bytearray(content)
                for _ in range(generator.choice([1, 1, 4])):
                    position = generator.randrange(len(content))
                    if region == "header":
                        position %= min(len(content), HEADER_BYTES)
                        position = generator.choice([position, len(content) - 1 - position])
                    damaged[position] = generator.choice([0, 255, damaged[position] ^ 1, 65])
                if damaged != content:
                    yield file, f"flip {region}", bytes(damaged)


def run(name: str, folder: Path, generator: random.Random, cases: int) -> None:
    format_ = formats.get(name)
    written = model()
    whole = folder / f"whole{format_.suffix}"
    format_.write(written, whole, formats.Durability.RETURN)
    files = format_.files(whole)
    for number, (file, what, content) in enumerate(damages(files, cases, generator)):
        path = folder / f"damaged{number}{format_.suffix}"
        if whole.is_dir():
            shutil.copytree(whole, path)
            (path / file.relative_to(whole)).write_bytes(content)
        else:
            path.write_bytes(content)
        case = {"format": name, "file": file.name, "damage": what, "number": number}
        print(json.dumps(case), flush=True)
        print(json.dumps({**case, "outcome": outcome(format_, path, written)}), flush=True)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def main(folder: str, seed: str, cases: str, *names: str) -> None:
    for name in names:
        run(name, Path(folder), random.Random(int(seed)), int(cases))


if __name__ == "__main__":
    main(*sys.argv[1:])
