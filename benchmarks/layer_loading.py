"""How fast a model, or a part of it, comes from storage into memory, cold and warm.

Cold is one measurement per eviction, proved before and after. A load has ended when every byte has
come; see `benchmarks.support.loaders` for what that means for memory maps.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.support.common import (
    COLD,
    POSITIONS,
    READERS,
    ModelBenchmark,
    Tensors,
    bytes_of,
    poison,
    require_equal,
    return_free_memory,
    tensor_bytes,
)
from benchmarks.support.loaders import Loader, loader, read_through
from harness.records import Param

if TYPE_CHECKING:
    import torch

    from harness.limits import Limits

CACHES = ("cold_file", "warm")


class LoadBenchmark(ModelBenchmark):
    """Base of what loads tensors of one stored model: where they go, and what must arrive there."""

    loader: Loader
    path: Path
    expected: Tensors
    destination: Tensors
    """Tensors that exist and are to be filled; empty where fresh ones are to be returned."""
    names: Sequence[str]
    cache: str

    def prepare_load(self, format: str, cache: str, model: str, destination: str = "fresh") -> None:
        """Store the model as the format writes it, and make the destination."""
        self.loader = loader(format)
        self.loader.require_state(cache)
        self.expected = self.reference(model)
        self.path = self.loader.stored(self.expected, f"{model}-seed{self.seed}")
        self.cache = cache
        self.destination = {}
        if destination == "existing":
            self.destination = self.cached(("existing", model), lambda: _empty_like(self.expected))
            poison(self.destination)
        else:
            return_free_memory()

    def prepare_names(self, names: Sequence[str]) -> None:
        """Load these tensors only."""
        self.names = names
        self.expected = {name: self.expected[name] for name in names}

    def part_seconds(self, limits: Limits) -> float | None:
        """Return the least time to read part of a file: its bytes, and at least one access."""
        if self.cache not in COLD:
            return None  # a part may lie in the processor's cache, which no limit here describes
        access = limits.seconds("random_read_4k", 1)
        transfer = limits.seconds("sequential_read", bytes_of(self.expected))
        return None if access is None or transfer is None else max(access, transfer)

    def files(self) -> list[Path]:
        return self.loader.files(self.path)

    def needed_bytes(self) -> int | None:
        return bytes_of(self.expected)

    def verify(self) -> None:
        require_equal(self.destination or self.result, self.expected)

    def ideal_seconds(self, limits: Limits) -> float | None:
        """Return the bytes at the device's bandwidth when cold, at memory's when warm.

        Fresh memory has limits of its own, for its pages have to be made. Mapped tensors need none;
        warm, they are read but not copied, which is at most twice as fast.
        """
        is_mapped = not self.destination and self.loader.is_mapping(self.cache)
        is_fresh = not self.destination and not is_mapped
        nbytes = bytes_of(self.expected)
        if self.cache in COLD:
            return limits.seconds("read_into_fresh" if is_fresh else "sequential_read", nbytes)
        if is_mapped:
            return limits.seconds("memcpy_all_threads", nbytes / 2)
        return limits.seconds("memcpy_fresh" if is_fresh else "memcpy_all_threads", nbytes)


class WholeModel(LoadBenchmark):
    """Inside the clock: open, read all tensors, close; fresh tensors allocated, or existing filled.

    Ideal: cold, the bytes at the probed bandwidth of a direct read into touched or into fresh
    memory; warm, at that of a copy into such memory. For mapped tensors, which need no memory:
    cold, a direct read into touched memory; warm, half the time of a copy.
    """

    params = (READERS, CACHES, ("fresh", "existing"), ("stack_8x1MiB",))
    param_names = ("format", "cache", "destination", "model")
    quick = {"format": READERS, "cache": CACHES}

    def prepare(self, format: str, cache: str, destination: str, model: str) -> None:
        self.prepare_load(format, cache, model, destination)

    def time_load(self, format: str, cache: str, destination: str, model: str) -> Any:
        if self.destination:
            return self.loader.load_into(self.destination, self.path)
        return self.loader.load(self.path)


class TinyTensors(LoadBenchmark):
    """Inside the clock: as `WholeModel`, fresh; tensors so small that each one's overhead decides.

    Ideal: as `WholeModel`.
    """

    params = (READERS, CACHES, ("tiny_200x4KiB",))
    param_names = ("format", "cache", "model")
    quick = {"format": ("auto", "direct", "safetensors"), "cache": CACHES}

    def prepare(self, format: str, cache: str, model: str) -> None:
        self.prepare_load(format, cache, model)

    def time_load(self, format: str, cache: str, model: str) -> Any:
        return self.loader.load(self.path)


class OneLayer(LoadBenchmark):
    """Inside the clock: open, read one tensor of many into fresh memory, close.

    Read amplification is the device's bytes, in the sample's counters, over the layer's. Ideal:
    cold, the layer's bytes at the probed bandwidth of a direct read, and no less than one random
    4 KiB read; warm, none.
    """

    params = (READERS, CACHES, ("middle",), ("stack_16x1MiB",))
    param_names = ("format", "cache", "position", "model")
    quick = {"format": READERS}

    @classmethod
    def planned_bytes(cls, **params: Param) -> int:
        """Return the bytes of the layer."""
        nbytes = tensor_bytes(str(params["model"]))
        return nbytes[_name_at(str(params["position"]), list(nbytes))]

    def prepare(self, format: str, cache: str, position: str, model: str) -> None:
        self.prepare_load(format, cache, model)
        self.prepare_names([_name_at(position, list(self.expected))])

    def time_load(self, format: str, cache: str, position: str, model: str) -> Any:
        return self.loader.load(self.path, self.names)

    def ideal_seconds(self, limits: Limits) -> float | None:
        return self.part_seconds(limits)


class Subset(LoadBenchmark):
    """Inside the clock: open, read the tensors that a selector names into fresh memory, close.

    Selectors: see `layer_loading.selectors`; ``all`` is the control. Ideal: as `OneLayer`.
    """

    params = (
        ("auto", "safetensors", "torch"),
        ("first_3", "every_other", "random_4", "prefix_25", "all"),
        CACHES,
        ("stack_16x1MiB",),
    )
    param_names = ("format", "selector", "cache", "model")
    quick = {"selector": ("first_3", "every_other", "all")}

    @classmethod
    def planned_bytes(cls, **params: Param) -> int:
        """Return the bytes of what the selector names."""
        from bench_core import models
        from bench_core.layer_loading import selectors

        specs = models.specs(str(params["model"]))
        names = selectors.select(specs, str(params["selector"]))
        return sum(specs[name].nbytes for name in names)

    def prepare(self, format: str, selector: str, cache: str, model: str) -> None:
        from bench_core import models
        from bench_core.layer_loading import selectors

        self.prepare_load(format, cache, model)
        self.prepare_names(selectors.select(models.specs(model), selector))

    def time_load(self, format: str, selector: str, cache: str, model: str) -> Any:
        return self.loader.load(self.path, self.names)

    def ideal_seconds(self, limits: Limits) -> float | None:
        return self.part_seconds(limits)


class Scattered(LoadBenchmark):
    """Inside the clock: read all tensors of a model that lie in the files of several owners.

    Tensor i lies in file i mod ``owners``, as after a series of transfers each of which stored what
    it changed. ``auto`` is `layer_loading.load_scattered`; formats read file after file. Ideal: as
    `WholeModel` into fresh memory.
    """

    params = (("auto", "direct", "safetensors", "hdf5"), CACHES, (1, 4), ("stack_16x1MiB",))
    param_names = ("format", "cache", "owners", "model")
    quick = {"owners": (1, 4)}

    def prepare(self, format: str, cache: str, owners: int, model: str) -> None:
        from bench_core.layer_loading import load_scattered

        self.load_scattered = load_scattered
        self.prepare_load(format, cache, model)
        parts = dealt(self.expected, owners)
        self.paths = [
            self.loader.stored(part, f"{model}-seed{self.seed}-{owner}-of-{owners}")
            for owner, part in enumerate(parts)
        ]
        self.owner_map = {
            name: path for path, part in zip(self.paths, parts, strict=True) for name in part
        }

    def files(self) -> list[Path]:
        return [file for path in self.paths for file in self.loader.files(path)]

    def time_load(self, format: str, cache: str, owners: int, model: str) -> Any:
        if format == "auto":
            return self._load_by_owner()
        return {k: v for path in self.paths for k, v in self.loader.load(path).items()}

    def _load_by_owner(self) -> dict[str, torch.Tensor]:
        loaded = self.load_scattered(self.owner_map)
        if self.loader.is_mapping(self.cache):
            read_through(loaded)
        return loaded


class ModelSwitching(LoadBenchmark):
    """Inside the clock: fill the one set of tensors with the next model of a random order.

    ``copies`` models of one architecture lie on disk; a sample is one switch, to another model than
    the one that is loaded. Cold stands for a working set larger than memory, warm for one that
    fits. Ideal: as `WholeModel` into existing tensors.
    """

    params = (("auto", "direct", "safetensors", "torch"), CACHES, (4,), ("stack_8x1MiB",))
    param_names = ("format", "cache", "copies", "model")
    quick = {"cache": CACHES}

    def prepare(self, format: str, cache: str, copies: int, model: str) -> None:
        self.prepare_load(format, cache, model, "existing")
        seed = switch_order(copies, self.round + 1)[-1]
        self.expected = self.reference(model, seed)
        self.path = self.loader.stored(self.expected, f"{model}-seed{seed}")

    def time_switch(self, format: str, cache: str, copies: int, model: str) -> Any:
        return self.loader.load_into(self.destination, self.path)


def switch_order(copies: int, length: int) -> list[int]:
    """Return a random order of models, never the same twice in a row, equal for all contenders."""
    generator = random.Random(0)
    order = [0]
    while len(order) <= length:
        order.append(generator.choice([seed for seed in range(copies) if seed != order[-1]]))
    return order[1:]


def dealt(tensors: Tensors, hands: int) -> list[dict[str, torch.Tensor]]:
    """Deal tensors one by one, as cards."""
    items = list(tensors.items())
    return [dict(items[hand::hands]) for hand in range(hands)]


def _name_at(position: str, names: Sequence[str]) -> str:
    return names[int(POSITIONS[position] * (len(names) - 1))]


def _empty_like(tensors: Tensors) -> dict[str, torch.Tensor]:
    import torch

    return {name: torch.empty_like(tensor) for name, tensor in tensors.items()}
