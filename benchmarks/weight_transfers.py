"""Weights from a donor to its child within one memory: copied, assigned, or shared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from benchmarks.support.common import bytes_of, poison, require_equal
from benchmarks.support.equal_stacks import (
    MIB,
    bytes_at,
    equal_stack,
    names_of,
    random_model,
)
from harness.benchmark import Benchmark
from harness.errors import RefusedError, WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    from bench_core.weight_transfer import ArchitectureGraph, Network
    from harness.limits import Limits

MOVING: Final = ("host_copy", "copy_", "load_state_dict")
"""Ways that copy; with the others the child has the donor's own memory."""


class InMemoryTransfer(Benchmark):
    """Inside the clock: the first layers of a donor's network become those of its child's.

    Both are in memory, of one architecture, every page touched; ``share`` percent of the equal
    layers are taken over. ``host_copy`` copies with all threads, ``copy_`` tensor after tensor,
    ``load_state_dict`` as torch has it. ``assign`` puts the donor's parameters into the child,
    ``share`` gives the child's own parameters the donor's memory: no byte is moved, and whoever
    trains one of the two changes the other unless the layers are frozen. Ideal: a copy of the bytes
    with all threads; where none is copied, none.
    """

    params = ((*MOVING, "assign", "share"), (25, 50, 75, 100), (2,), (8,))
    param_names = ("way", "share", "mebibytes", "layers")
    quick = {"way": ("host_copy", "load_state_dict", "assign")}

    child: Network | None = None

    @classmethod
    def planned_bytes(cls, **params: Param) -> int:
        """Return the bytes of the layers that are taken over."""
        layers = int(params["layers"])
        graph = equal_stack(int(params["mebibytes"]) * MIB, layers)
        return bytes_at(graph, _first(float(params["share"]), layers))

    def prepare(self, way: str, share: float, mebibytes: int, layers: int) -> None:
        from bench_core.weight_transfer import Network

        self.way = way
        graph = equal_stack(mebibytes * MIB, layers)
        self.donor = self.cached(
            ("donor's network", mebibytes, layers, self.seed), lambda: _donor(graph, self.seed)
        )
        self.child = Network(graph)
        poison(self.child.state_dict())
        self.names = names_of(graph, _first(share, layers))
        self.move = _MOVES[way]

    def time_transfer(self, way: str, share: float, mebibytes: int, layers: int) -> None:
        assert self.child is not None
        self.move(self.donor, self.child, self.names)

    def needed_bytes(self) -> int:
        return bytes_of({name: self.donor.get_parameter(name) for name in self.names})

    def ideal_seconds(self, limits: Limits) -> float | None:
        if self.way not in MOVING:
            return None
        return limits.seconds("memcpy_all_threads", self.needed_bytes())

    def verify(self) -> None:
        """Compare, and see that memory is shared exactly where no byte should have moved."""
        assert self.child is not None
        found = {name: self.child.get_parameter(name) for name in self.names}
        expected = {name: self.donor.get_parameter(name) for name in self.names}
        require_equal(found, expected)
        shared = sum(found[n].data_ptr() == expected[n].data_ptr() for n in self.names)
        if shared != (0 if self.way in MOVING else len(self.names)):
            raise WrongResultError(f"{shared} of {len(self.names)} tensors share their memory")
        self.note(moved_bytes=self.needed_bytes() if self.way in MOVING else 0)

    def clean(self) -> None:
        """Let the child's memory go."""
        self.child = None


def _first(share: float, layers: int) -> range:
    """Return the first of the equal layers, and the narrow one before them."""
    count = round(share * layers / 100)
    if not 0 < count <= layers:
        raise RefusedError(f"{share} % of {layers} layers; expected one of them at least")
    return range(count + 1)


def _donor(graph: ArchitectureGraph, seed: int) -> Network:
    from bench_core.weight_transfer import Network

    network = Network(graph)
    network.load_state_dict(random_model(graph, seed), assign=True)
    return network


def _host_copy(donor: Network, child: Network, names: Sequence[str]) -> None:
    from bench_core.formats.host_copy import copy_tensors

    copy_tensors((child.get_parameter(name), donor.get_parameter(name)) for name in names)


def _copy(donor: Network, child: Network, names: Sequence[str]) -> None:
    for name in names:
        child.get_parameter(name).data.copy_(donor.get_parameter(name).data)


def _load_state_dict(donor: Network, child: Network, names: Sequence[str]) -> None:
    child.load_state_dict({name: donor.get_parameter(name) for name in names}, strict=False)


def _assign(donor: Network, child: Network, names: Sequence[str]) -> None:
    given = {name: donor.get_parameter(name) for name in names}
    child.load_state_dict(given, strict=False, assign=True)


def _share(donor: Network, child: Network, names: Sequence[str]) -> None:
    for name in names:
        child.get_parameter(name).data = donor.get_parameter(name).data


_MOVES: Final[Mapping[str, Callable[..., None]]] = {
    "host_copy": _host_copy,
    "copy_": _copy,
    "load_state_dict": _load_state_dict,
    "assign": _assign,
    "share": _share,
}
