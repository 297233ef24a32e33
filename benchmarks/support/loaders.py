"""The contenders of the loads, behind one interface: every format's reader, and our own loader.

One rule holds for all of them: a load into fresh tensors has ended when every byte of them has come
to this process. A reader that maps its file has read nothing when it returns, so mapped tensors are
read through once inside the clock; readers that fill memory of their own have moved every byte
already. Touching one byte a page instead would call bytes loaded that the processor has not seen.
Cloning would charge for a copy that nobody has asked for; where one is, the load goes into existing
tensors. What mapping is worth when a model is used is what `first_use.FirstForward` shows.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.support.common import COLD, Tensors, process_folder
from harness.errors import RefusedError

if TYPE_CHECKING:
    import torch

    from bench_core.formats import Format

MAPPED: Final = ("mmap", "populate")
POLICIES: Final = ("auto", *MAPPED, "pread", "streamed")
"""Policies of `bench_core.layer_loading` that no format's reader stands for."""

SMALL: Final = 64 << 10
"""Bytes up to which copying a tensor costs less than one of torch's reductions."""


class Loader(ABC):
    """One way to load a file that one format wrote."""

    def __init__(self, format: Format) -> None:
        """Take the format whose writer makes the files.

        Raises:
            MissingExtraError: its library is not installed; every runner skips the case.
            UnsupportedError: it cannot work here; likewise.
        """
        self.format = format
        format.check_available()

    @abstractmethod
    def load(
        self,
        path: Path,
        names: Sequence[str] | None = None,
        *,
        device: str = "cpu",
        arrived: bool = True,
    ) -> dict[str, torch.Tensor]:
        """Return the named tensors, or all.

        Args:
            path: the file.
            names: of the tensors; None for all.
            device: where the tensors are to be.
            arrived: whether every byte must have come; False leaves the reading of mapped tensors
                to whoever uses them.
        """

    @abstractmethod
    def load_into(self, tensors: Tensors, path: Path) -> object:
        """Fill existing tensors."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What `loader` calls it."""

    def is_mapping(self, cache: str) -> bool:
        """Whether `load` returns tensors that are pages of the file, nothing being copied."""
        return is_mapping(self.name, cache)

    def files(self, path: Path) -> list[Path]:
        """Return the files whose cache state matters."""
        return self.format.files(path)

    def remove(self, path: Path) -> None:
        """Remove what was written to ``path``, if anything was."""
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def require_state(self, cache: str) -> None:
        """Refuse to be cold where there is no file.

        Raises:
            RefusedError: the bytes live in a server's memory.
        """
        if cache in COLD and not self.format.on_disk:
            raise RefusedError(
                f"{self.format.name} keeps the bytes in a server's memory; cold means nothing there"
            )

    def stored(self, tensors: Tensors, name: str) -> Path:
        """Return where this process has stored the tensors, after storing them if need be."""
        path = process_folder() / f"{name}-{self.format.name}{self.format.suffix}"
        marker = path.with_name(f"{path.name}.stored")
        if not marker.exists():
            self.format.write(tensors, path)
            marker.touch()
        return path


class FormatLoader(Loader):
    """A format's own reader."""

    def load(
        self,
        path: Path,
        names: Sequence[str] | None = None,
        *,
        device: str = "cpu",
        arrived: bool = True,
    ) -> dict[str, torch.Tensor]:
        """Open, read, copy to the device (or read through what is only mapped), close."""
        with self.format.open(path) as reader:
            loaded = reader.read(names)
            if device != "cpu":
                return {name: tensor.to(device) for name, tensor in loaded.items()}
            if self.format.is_lazy and arrived:
                read_through(loaded)
        return loaded

    def load_into(self, tensors: Tensors, path: Path) -> None:
        """Open, fill, close."""
        with self.format.open(path) as reader:
            reader.read_into(tensors)

    @property
    def name(self) -> str:
        """The format's name."""
        return self.format.name


class PolicyLoader(Loader):
    """`bench_core.layer_loading` as a user calls it, with one of its policies."""

    def __init__(self, policy: str) -> None:
        from bench_core import formats
        from bench_core.layer_loading import load_into, load_timed

        super().__init__(formats.get("direct"))
        self.policy = policy
        self._load_timed, self._load_into = load_timed, load_into

    def load(
        self,
        path: Path,
        names: Sequence[str] | None = None,
        *,
        device: str = "cpu",
        arrived: bool = True,
    ) -> dict[str, torch.Tensor]:
        """Call `layer_loading.load`, and read through what it mapped."""
        loaded, result = self._load_timed(path, names, device, policy=self.policy)
        if result.policy in MAPPED and device == "cpu" and arrived:
            read_through(loaded)
        return loaded

    def load_into(self, tensors: Tensors, path: Path) -> object:
        """Call `layer_loading.load_into`."""
        return self._load_into(tensors, path, policy=self.policy)

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.policy


class RedisLoader(FormatLoader):
    """A Redis server of this process, started at the first use and stopped when the process ends.

    For writes it appends to a file in the data folder and syncs it at every command: the only way
    in which its answer means what the durability of a file means.
    """

    def __init__(self, *, durable: bool) -> None:
        from bench_core.formats.redis_server import Redis

        self.address = redis_address(process_folder(), durable)
        super().__init__(Redis(self.address))

    def remove(self, path: Path) -> None:
        """Empty the server: there is no file, and a server for writes has no other model."""
        import redis

        redis.Redis.from_url(self.address).flushall()


def loader(name: str, *, durable: bool = False) -> Loader:
    """Return the loader called ``name``: a format's, or our own with the policy of that name.

    Args:
        name: of a format, or of a policy in `POLICIES`.
        durable: whether it will be asked for durable writes; only a server cares.
    """
    from bench_core import formats

    if name in POLICIES:
        return PolicyLoader(name)
    return RedisLoader(durable=durable) if name == "redis" else FormatLoader(formats.get(name))


def is_mapping(name: str, cache: str) -> bool:
    """Whether the loader called ``name`` maps a file in this cache state instead of copying it."""
    from bench_core import formats

    if name in POLICIES:
        return name in MAPPED or (name == "auto" and cache not in COLD)
    return formats.get(name).is_lazy


def read_through(tensors: Tensors) -> None:
    """Read every byte of contiguous CPU tensors once, at the speed of memory."""
    import torch

    for tensor in tensors.values():
        if tensor.nbytes > SMALL:
            tensor.view(-1).view(torch.uint8).max()
        else:
            ctypes.string_at(tensor.data_ptr(), tensor.nbytes)


@functools.cache
def redis_address(folder: Path, durable: bool) -> str:
    """Return the address of a Redis server of this process; one that is durable has a folder."""
    from bench_core.formats.redis_process import redis_server
    from bench_core.optional import require

    require("redis", "storage")
    options = ["--appendonly", "yes", "--appendfsync", "always", "--dir", str(folder)]
    # Rewriting the file in the background would run beside some sample.
    options += ["--auto-aof-rewrite-percentage", "0"]
    server = redis_server(*(options if durable else ()))
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(server)
