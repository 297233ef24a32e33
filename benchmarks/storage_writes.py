"""How fast a model is written, by format, durability and size of its tensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.support.common import (
    WRITERS,
    ModelBenchmark,
    bytes_of,
    process_folder,
    require_equal,
)
from benchmarks.support.loaders import Loader, loader
from harness import cache
from harness.errors import UnprovedError, WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    import torch

    from bench_core.formats import WriteResult
    from bench_core.models import TensorShape
    from harness.limits import Limits

DURABILITIES = ("return", "fdatasync", "fsync", "fsync_dir", "global_sync")


def durable_seconds(limits: Limits, nbytes: int) -> float | None:
    """Return the least time for a durable write of a new file: its bytes at the probed bandwidth.

    The probe creates, preallocates, writes and fsyncs a file, as a durable write has to. No fixed
    cost is added: it holds one fsync already.
    """
    is_probed = limits.sequential_write_new is not None
    return limits.seconds("sequential_write_new" if is_probed else "sequential_write", nbytes)


class WriteBenchmark(ModelBenchmark):
    """Base of what writes one model to a new file, in a way that its format can read back."""

    loader: Loader
    path: Path

    def prepare_write(self, format: str, model: str) -> None:
        """Build the tensors and name the file, which does not exist yet."""
        self.loader = loader(format, durable=True)
        self.tensors = self.reference(model)
        self.nbytes = bytes_of(self.tensors)
        self.path = process_folder() / f"written{self.loader.format.suffix}"

    def verify(self) -> None:
        """Read everything back and compare."""
        written: WriteResult = self.result
        self.note(return_seconds=written.return_ns / 1e9, bytes_on_disk=written.bytes_physical)
        require_equal(self.loader.load(self.path), self.tensors)

    def ideal_seconds(self, limits: Limits) -> float | None:
        return durable_seconds(limits, bytes_of(self.tensors))

    def clean(self) -> None:
        """Remove what was written."""
        if hasattr(self, "path"):
            self.loader.remove(self.path)


class DurableWrite(WriteBenchmark):
    """Inside the clock: one call that writes a model in memory to a new file, until it is durable.

    Ideal: the bytes at the probed bandwidth of a durable write to a new file.
    """

    params = (WRITERS, ("stack_8x1MiB",), ("fsync_dir",))
    param_names = ("format", "model", "durability")
    quick = {"format": WRITERS}

    def prepare(self, format: str, model: str, durability: str) -> None:
        self.prepare_write(format, model)
        self.durability = _durability(durability)

    def time_write(self, format: str, model: str, durability: str) -> WriteResult:
        return self.loader.format.write(self.tensors, self.path, self.durability)


class DurabilityPrice(WriteBenchmark):
    """Inside the clock: as `DurableWrite`, at each level of durability.

    Ideal: as `DurableWrite`; none for a write that only returns, which no device bounds.
    """

    params = (DURABILITIES, ("direct", "safetensors"), ("stack_8x1MiB",))
    param_names = ("durability", "format", "model")
    quick = {"durability": DURABILITIES}

    def prepare(self, durability: str, format: str, model: str) -> None:
        self.prepare_write(format, model)
        self.durability = _durability(durability)

    def time_write(self, durability: str, format: str, model: str) -> WriteResult:
        return self.loader.format.write(self.tensors, self.path, self.durability)

    def ideal_seconds(self, limits: Limits) -> float | None:
        return None if self.durability == "return" else super().ideal_seconds(limits)


class TensorSizes(WriteBenchmark):
    """Inside the clock: equal bytes in many small or few large tensors, written until durable.

    ``files`` says whether all tensors go to one file (`storage_writes.save`) or each to one of its
    own, with a durability point each (`save_each_tensor`): what a writer pays that does not
    coalesce. Ideal: as `DurableWrite`, and with a file a tensor one fsync for each beside.
    """

    params = (
        ("direct", "torch", "safetensors", "hdf5"),
        ("one", "one_per_tensor"),
        ("tiny_256x8KiB", "tiny_2x1MiB"),
    )
    param_names = ("format", "files", "model")
    quick = {"files": ("one", "one_per_tensor")}

    def prepare(self, format: str, files: str, model: str) -> None:
        from bench_core import storage_writes

        self.prepare_write(format, model)
        self.is_one_file = files == "one"
        self.write = storage_writes.save if self.is_one_file else storage_writes.save_each_tensor
        if not self.is_one_file:
            self.path = self.path.with_suffix("")
            self.path.mkdir()

    def time_write(self, format: str, files: str, model: str) -> WriteResult:
        return self.write(self.tensors, self.path, format=format)

    def ideal_seconds(self, limits: Limits) -> float | None:
        seconds = durable_seconds(limits, bytes_of(self.tensors))
        syncs = limits.seconds("fsync_seconds", len(self.tensors))
        if seconds is None or syncs is None or self.is_one_file:
            return seconds
        return max(seconds, syncs)

    def verify(self) -> None:
        if self.is_one_file:
            super().verify()
            return
        from bench_core.storage_writes.whole import each_tensor_paths

        paths = each_tensor_paths(self.tensors, self.path, self.loader.format.name)
        for name, path in paths.items():
            require_equal(self.loader.load(path), {name: self.tensors[name]})


class RoundTrip(ModelBenchmark):
    """A durable save, a cold load and a warm load of the same model, as the sum of their times.

    The three are stamped by `save_load_roundtrip` and stand in the sample's phases; making the file
    cold, and the comparison, are outside. With ``adam`` the two moments of an Adam optimizer are
    saved beside the model: three times the bytes, but for tensors of whole numbers.
    ``bytes_on_disk`` shows what a format adds.
    """

    params = (("direct", "torch", "safetensors", "hdf5"), ("stack_8x1MiB",), ("no", "adam"))
    param_names = ("format", "model", "optimizer")
    unit = "seconds"

    @classmethod
    def planned_bytes(cls, **params: Param) -> int:
        """Return the bytes of the model, and of an optimizer's two moments."""
        from bench_core import models

        return _saved_bytes(models.specs(str(params["model"])), str(params["optimizer"]))

    def prepare(self, format: str, model: str, optimizer: str) -> None:
        from bench_core.storage_writes import save_load_roundtrip

        loader(format).require_state("cold_file")
        refusable = process_folder() / "cold"
        refusable.touch()
        cache.prepare([refusable], "cold_file")
        self.save_load_roundtrip = save_load_roundtrip
        self.tensors = self.reference(model)
        self.nbytes = _saved_bytes(self.tensors, optimizer)
        self.doubt: str | None = None

    def track_round_trip(self, format: str, model: str, optimizer: str) -> float:
        (self.row,) = self.save_load_roundtrip(
            self.tensors,
            process_folder(),
            format=format,
            adam=optimizer == "adam",
            make_cold=self._make_cold,
        )
        self.phases = {
            "save": (self.row.durable_ns or 0) / 1e9,
            "cold load": (self.row.cold_load_ns or 0) / 1e9,
            "warm load": (self.row.warm_load_ns or 0) / 1e9,
        }
        return sum(self.phases.values())

    def verify(self) -> None:
        if self.row.status != "ok":
            raise WrongResultError(f"round trip: {self.row.reason}")
        self.note(phases=self.phases, bytes_on_disk=self.row.bytes_physical)
        if self.doubt is not None:
            raise UnprovedError(self.doubt)

    def _make_cold(self, files: list[Path]) -> None:
        self.doubt = cache.prepare(files, "cold_file").doubt


def _saved_bytes(tensors: Mapping[str, torch.Tensor | TensorShape], optimizer: str) -> int:
    """Return the bytes of tensors and of their moments; whole numbers have none."""
    moments = 2 if optimizer == "adam" else 0
    return sum(t.nbytes * (1 + moments * t.dtype.is_floating_point) for t in tensors.values())


def _durability(name: str) -> Any:
    from bench_core.formats import Durability

    return Durability(name)
