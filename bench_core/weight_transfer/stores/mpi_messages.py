"""What travels between a store's MPI ranks: small pickled messages, and tensors as bare bytes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from bench_core.errors import BenchCoreError
from bench_core.formats.atomic import one_line
from bench_core.formats.dtypes import DTYPES, dtype_name, from_numpy, numpy_dtype
from bench_core.weight_transfer.errors import StoreError
from bench_core.weight_transfer.graphs import TensorId

REQUEST: Final = 0
"""The tag of all requests; what belongs to one has a tag of its own, by `tag_of`."""
ORDER: Final = 1
"""The tag of what a provider shall keep, where it keeps one shard after the other."""
_FIRST_TAG: Final = 2
LONGEST_SLEEP: Final = 1e-3
"""Seconds between two looks of somebody who has been idle for long."""
FAREWELL_SECONDS: Final = 5.0
"""How long a goodbye waits for answers that somebody who was interrupted did not take."""

_TINY: Final = 64 * 2**10
"""Bytes up to which copying an array once more is cheaper than a message of its own."""
_JOINED: Final = 2**20
"""Bytes of tiny arrays that one message takes."""
_LARGEST: Final = 2**30
"""Bytes of one message: before MPI 4 its length is a C ``int``."""
_ALIGNMENT: Final = 64

_SPINS: Final = 200
_SHORTEST_SLEEP: Final = 20e-6

Bytes = npt.NDArray[np.uint8]
T = TypeVar("T")


@dataclass(frozen=True)
class Described:
    """A tensor whose bytes travel apart from the message that names it."""

    owner: int
    key: TensorId
    dtype: str
    """By its name in safetensors files."""
    shape: tuple[int, ...]

    @classmethod
    def of(cls, owner: int, key: TensorId, tensor: torch.Tensor) -> Described:
        """Return the description of a tensor.

        Raises:
            UnsupportedError: its type cannot be stored.
        """
        return cls(owner, key, dtype_name(tensor.dtype), tuple(tensor.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of its values."""
        return DTYPES[self.dtype].itemsize * math.prod(self.shape)


@dataclass(frozen=True)
class Request:
    """A call to a shard."""

    number: int
    """Never given twice by a process; the reply names it."""
    call: str
    arguments: tuple[Any, ...]
    tensors: tuple[Described, ...] = ()
    """Those whose bytes come with it, or are asked for."""


@dataclass(frozen=True)
class Reply:
    """What a shard returned, or raised."""

    number: int
    value: Any = None
    error: tuple[str, str] | None = None
    """Its class's name and its text."""

    def result(self) -> Any:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise _loaded(self.error)
        return self.value


@dataclass(frozen=True)
class ProviderInfo:
    """Who answers."""

    mark: str
    """Tells host and process, see `bench_core.formats.atomic.is_dead`."""
    thread_level: int
    """What MPI was asked for; a provider needs ``MPI_THREAD_FUNNELED``: one thread calls it."""


def failed(number: int, error: Exception, where: str) -> Reply:
    """Return the reply that raises an error of this package as it is, any other as `StoreError`."""
    if isinstance(error, BenchCoreError):
        return Reply(number, error=(_name(type(error)), str(error.args[0]) if error.args else ""))
    story = f"{where} failed, {type(error).__name__}: {one_line(error)}"
    return Reply(number, error=(_name(StoreError), story))


class Patience:
    """Waits between two looks at MPI: first not at all, then longer and longer.

    MPI's own waits keep a core busy, which hurts where ranks share cores. The price is latency:
    calls that follow one another are answered at once (some 50 microseconds, where each side has a
    core), but somebody who was idle answers up to ``longest`` seconds later, and a sleep's slack.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self.reset()

    def reset(self) -> None:
        """Something came: the next may follow at once."""
        self._spins = _SPINS
        self._sleep = min(_SHORTEST_SLEEP, self._longest)

    def wait(self) -> None:
        """Nothing came: let others run."""
        if self._spins:
            self._spins -= 1
            os.sched_yield()
        else:
            time.sleep(self._sleep)
            self._sleep = min(self._sleep * 1.5, self._longest)


def tags(mpi: Any) -> int:
    """Return how many tags there are for requests in this MPI: 32,766 or more."""
    largest: int = mpi.COMM_WORLD.Get_attr(mpi.TAG_UB)
    return largest + 1 - _FIRST_TAG


def tag_of(number: int, count: int) -> int:
    """Return the tag of a request's tensors and of its reply, one of ``count``."""
    return _FIRST_TAG + number % count


def wait_for(look: Callable[[], T | None], longest_sleep: float, seconds: float | None = None) -> T:
    """Return what ``look`` returns as soon as it returns something.

    Raises:
        StoreError: it was not within ``seconds``.
    """
    patience = Patience(longest_sleep)
    deadline = None if seconds is None else time.monotonic() + seconds
    while not (found := look()):
        if deadline is not None and time.monotonic() > deadline:
            raise StoreError(f"a provider has not answered for {seconds:g} seconds")
        patience.wait()
    return found


def laid_out(described: Sequence[Described], memory: Bytes) -> list[Bytes]:
    """Return each tensor's place in one piece of memory, which is as large as `room_for` says."""
    places, start = [], 0
    for one in described:
        nbytes = one.nbytes
        places.append(memory[start : start + nbytes])
        start += _aligned(nbytes)
    return places


def as_tensor(described: Described, place: Bytes) -> torch.Tensor:
    """Return a tensor over these bytes."""
    dtype = DTYPES[described.dtype]
    return from_numpy(place.view(numpy_dtype(dtype)).reshape(described.shape), dtype)


def room_for(described: Sequence[Described]) -> int:
    """Return the bytes that `laid_out` needs."""
    return sum(_aligned(one.nbytes) for one in described)


def post_sends(comm: Any, arrays: Sequence[Bytes], rank: int, tag: int) -> list[Any]:
    """Start to send arrays; return what must be kept, and waited for, until they are gone."""
    return [
        comm.Isend(parts[0] if len(parts) == 1 else np.concatenate(parts), rank, tag)
        for parts in _messages(arrays)
    ]


class Receiving:
    """Arrays that are on their way: `requests` first, then `finish`."""

    def __init__(self, comm: Any, arrays: Sequence[Bytes], rank: int, tag: int) -> None:
        """Start to receive what `post_sends` sends of arrays of the same sizes."""
        self.requests: list[Any] = []
        self._joined: list[tuple[Bytes, list[Bytes]]] = []
        for parts in _messages(arrays):
            whole = parts[0]
            if len(parts) > 1:
                whole = np.empty(sum(map(len, parts)), np.uint8)
                self._joined.append((whole, parts))
            self.requests.append(comm.Irecv(whole, rank, tag))

    def finish(self) -> None:
        """Put into their places what came together."""
        for whole, parts in self._joined:
            start = 0
            for part in parts:
                part[:] = whole[start : start + len(part)]
                start += len(part)


def _loaded(error: tuple[str, str]) -> Exception:
    """Return the error of this name; one that cannot be made here is a `StoreError`."""
    name, story = error
    kinds = {_name(kind): kind for kind in _kinds(BenchCoreError)}
    try:
        return kinds[name](story)
    except (KeyError, TypeError):  # known to the provider alone, or made of more than a text
        return StoreError(f"a provider raised what cannot be told here ({name}: {story})")


def _name(kind: type[Exception]) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _kinds(base: type[BenchCoreError]) -> Iterator[type[BenchCoreError]]:
    yield base
    for kind in base.__subclasses__():
        yield from _kinds(kind)


def _messages(arrays: Sequence[Bytes]) -> Iterator[list[Bytes]]:
    """Give for each message the arrays, or the piece of one, that it carries."""
    tiny: list[Bytes] = []
    room = _JOINED
    for array in arrays:
        if len(array) > _TINY:
            for start in range(0, len(array), _LARGEST):
                yield [array[start : start + _LARGEST]]
        elif len(array):
            if len(array) > room:
                yield tiny
                tiny, room = [], _JOINED
            tiny.append(array)
            room -= len(array)
    if tiny:
        yield tiny


def _aligned(nbytes: int) -> int:
    return -(-nbytes // _ALIGNMENT) * _ALIGNMENT
