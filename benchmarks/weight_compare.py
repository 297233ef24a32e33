"""How long it takes to find out in which weights two models differ, and by how much."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from benchmarks.support.common import COLD, Tensors, return_free_memory
from benchmarks.support.named_params import NamedParams
from harness.benchmark import data_dir
from harness.errors import RefusedError, WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    import torch

    from bench_core.models.chains import ChainSpec
    from bench_core.snapshots import SnapshotStore
    from bench_core.snapshots.compare import Comparison, Difference
    from harness.limits import Limits

WAYS: Final = ("torch_equal", "levels", "deep", "deep_store")
CACHES: Final = ("warm", "cold_file")
NAMES: Final = ("base", "tuned")
STEP: Final = 1e-3
"""Standard deviation of what is added to the weights that differ."""
CHECKED_ELEMENTS: Final = 1 << 16
"""Differences of tensors of at most so many elements are computed a second time."""


class Pair(NamedTuple):
    """Two models that share their first blocks, in files of their own and in a store."""

    paths: list[Path]
    store: SnapshotStore


class WeightCompare(NamedParams):
    """Inside the clock: two stored models are opened, and compared tensor by tensor.

    The last ``own`` trainable blocks differ in every tensor, the blocks before in no bit.
    ``torch_equal`` reads two files of safetensors and calls `torch.equal` on each pair; ``levels``
    maps the files and says how far each pair agrees; ``deep`` also by how much values and bits
    differ; ``deep_store`` finds the same of models in a store, where what is shared is known and
    not read. Ideal: the bytes that must be looked at for the answer: cold, at the probed bandwidth
    of reads; warm, read but not copied, in half the time of a copy.
    """

    params = (WAYS, ("mlp_tiny", "resnet_tiny"), (1,), CACHES)
    param_names = ("way", "architecture", "own", "cache")
    quick = {"way": ("torch_equal", "levels")}
    open_params = ("architecture", "cache")
    timeout = 900

    @classmethod
    def planned_bytes(cls, **params: Param) -> int | None:
        """Return the bytes that must be looked at."""
        from bench_core.models import chain

        found, own = chain(str(params["architecture"])), int(params["own"] or 0)
        if not 0 < own < len(found.cuts):
            return None
        sizes = block_bytes(found)
        first = found.cuts[own]
        return (
            2
            * {
                "torch_equal": sum(sizes),
                # Of what differs, the beginning says so.
                "levels": sum(sizes[:first]),
                "deep": sum(sizes),
                "deep_store": sum(sizes[first:]),
            }[str(params["way"])]
        )

    def prepare(self, way: str, architecture: str, own: int, cache: str) -> None:
        from bench_core.models import chain

        found = chain(architecture)
        if not 0 < own < len(found.cuts):
            raise RefusedError(f"{architecture} has {len(found.cuts) - 1} trainable blocks")
        self.way, self.cache, self.first = way, cache, found.cuts[own]
        self.pair = self.cached(
            ("pair", architecture, own, self.seed), lambda: stored_pair(found, own, self.seed)
        )
        self.nbytes = self.planned_bytes(way=way, architecture=architecture, own=own)
        return_free_memory()

    def time_compare(self, way: str, architecture: str, own: int, cache: str) -> Any:
        if way == "torch_equal":
            return self._torch_equal()
        return self._compare()

    def files(self) -> Sequence[Path]:
        if self.way != "deep_store":
            return self.pair.paths
        store = self.pair.store
        own = [store.snapshot(name).blocks[self.first :] for name in NAMES]
        return [store.block_path(ref) for refs in own for ref in refs]

    def needed_bytes(self) -> int | None:
        return self.nbytes

    def ideal_seconds(self, limits: Limits) -> float | None:
        nbytes = self.nbytes or 0
        if self.cache in COLD:
            return limits.seconds("sequential_read", nbytes)
        return limits.seconds("memcpy_all_threads", nbytes / 2)

    def verify(self) -> None:
        from bench_core.snapshots.compare import Level

        if self.way == "torch_equal":
            found = {name: Level.IDENTICAL if same else None for name, same in self.result.items()}
            differs = None
        else:
            found = {tensor.name: tensor.level for tensor in self.result.tensors}
            differs = Level.SAME_SHAPE
        base, tuned = (read(path) for path in self.pair.paths)
        expected = {
            name: Level.IDENTICAL if block_of(name) < self.first else differs for name in base
        }
        if found != expected:
            raise WrongResultError(f"the tensors' levels are {found}, expected {expected}")
        shared = sum(item.nbytes for name, item in base.items() if block_of(name) < self.first)
        total = sum(item.nbytes for item in base.values())
        self.note(tensors=len(base), shared_bytes=shared, model_bytes=total)
        if self.way.startswith("deep"):
            require_differences(self.result, base, tuned)

    def _torch_equal(self) -> dict[str, bool]:
        import torch
        from safetensors.torch import load_file

        base, tuned = (load_file(path) for path in self.pair.paths)
        return {name: torch.equal(tensor, tuned[name]) for name, tensor in base.items()}

    def _compare(self) -> Comparison:
        from bench_core.snapshots.compare import compare_models, model_at, model_in

        if self.way == "deep_store":
            base, tuned = (model_in(self.pair.store, name) for name in NAMES)
        else:
            base, tuned = (model_at(path) for path in self.pair.paths)
        return compare_models(base, tuned, deep=self.way != "levels")


def block_bytes(chain: ChainSpec) -> list[int]:
    """Return the bytes of each block's tensors, before anything is built."""
    from bench_core.models.chains import skeleton

    return [
        sum(tensor.nbytes for tensor in skeleton(block).state_dict().values())
        for block in chain.blocks
    ]


def stored_pair(chain: ChainSpec, own: int, seed: int) -> Pair:
    """Return an initialised model and one whose last blocks were changed, made once and kept."""
    from bench_core import formats
    from bench_core.models.chains import initialised
    from bench_core.snapshots import SnapshotStore

    folder = data_dir() / "compared_models" / f"{chain.architecture}-{own}-seed{seed}"
    store = SnapshotStore(folder / "store")
    paths = [folder / f"{name}.safetensors" for name in NAMES]
    if all(path.exists() for path in paths) and set(NAMES) <= set(store.names()):
        return Pair(paths, store)
    folder.mkdir(parents=True, exist_ok=True)
    base = [initialised(block, seed + index) for index, block in enumerate(chain.blocks)]
    first = chain.cuts[own]
    tuned = base[:first] + [changed(block, seed) for block in base[first:]]
    for name, path, blocks in zip(NAMES, paths, (base, tuned), strict=True):
        store.add(name, chain, blocks)
        formats.get("safetensors").write(
            {f"{i}.{key}": item for i, block in enumerate(blocks) for key, item in block.items()},
            path,
        )
    return Pair(paths, store)


def changed(tensors: Tensors, seed: int) -> dict[str, torch.Tensor]:
    """Return tensors that all differ a little from these, as those of a block that was trained."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor + STEP * torch.randn(tensor.shape, generator=generator)
        if tensor.is_floating_point()
        else tensor + 1
        for name, tensor in tensors.items()
    }


def read(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file."""
    from safetensors.torch import load_file

    found: dict[str, torch.Tensor] = load_file(path)
    return found


def block_of(name: str) -> int:
    """Return the position of the block that a tensor belongs to."""
    return int(name.partition(".")[0])


def require_differences(found: Comparison, base: Tensors, tuned: Tensors) -> None:
    """Compute the differences of small tensors a second time, in another way.

    Raises:
        WrongResultError: they are others than those found, or some are missing.
    """
    from bench_core.snapshots.compare import Level

    for tensor in found.tensors:
        if (tensor.difference is None) != (tensor.level is Level.IDENTICAL):
            raise WrongResultError(f"{tensor.name} is {tensor.level.value}, with no such figures")
        if tensor.difference and base[tensor.name].numel() <= CHECKED_ELEMENTS:
            _require_difference(
                tensor.name, tensor.difference, base[tensor.name], tuned[tensor.name]
            )


def _require_difference(name: str, found: Difference, a: torch.Tensor, b: torch.Tensor) -> None:
    import numpy as np

    left, right = a.numpy(), b.numpy()
    mean = np.mean(np.abs(left.astype(np.float64) - right.astype(np.float64)))
    raw = np.frombuffer(left.tobytes(), np.uint8) ^ np.frombuffer(right.tobytes(), np.uint8)
    differing = int(np.unpackbits(raw).sum())
    bits = found.bits
    if bits is None or 8 * a.nbytes - bits.zero_bits != differing:
        raise WrongResultError(f"{name}: {bits}, but {differing} bits differ")
    if not np.isclose(found.mean, mean, rtol=1e-9):
        raise WrongResultError(f"{name}: differs by {found.mean} on average, expected {mean}")
