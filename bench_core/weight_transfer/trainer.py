"""Trains one candidate: takes over a donor's layers, freezes them, trains the rest, stores it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from bench_core.formats.atomic import one_line
from bench_core.weight_transfer.errors import TaskError
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.layers import out_shape
from bench_core.weight_transfer.methods.base import Stored, TransferMethod
from bench_core.weight_transfer.network import Network
from bench_core.weight_transfer.prefix import Match
from bench_core.weight_transfer.stamps import Stamps
from bench_core.weight_transfer.tasks import Task
from bench_core.weight_transfer.training import TrainingPlan, fit, scored


@dataclass(frozen=True)
class TrainedModel:
    """What the training of one candidate gave."""

    model: int
    accuracy: float
    """On the validation items after the last epoch: `Task.score`; minus infinity if a weight or an
    output is not finite."""
    losses: tuple[float, ...]
    """Mean loss of each epoch's batches."""
    match: Match | None
    """The donor, and the positions that were taken from it."""
    bytes_fetched: int
    stored: Stored | None
    """None: it was not stored, because its values are not finite."""
    phases: Mapping[str, int]
    """Nanoseconds: name, query, build, fetch, apply, freeze, train, evaluate, store_data,
    store_meta, unfreeze."""


class TransferTrainer:
    """Trains candidates of one task, with weights from one transfer method.

    Example:
        >>> from bench_core.weight_transfer import layers, sequential, tasks
        >>> from bench_core.weight_transfer.methods.store_method import StoreMethod
        >>> from bench_core.weight_transfer.store import LayerStore
        >>> from bench_core.weight_transfer.stores.memory import MemoryShard
        >>> task = tasks.generated([(8,)], 2, n_train=64, n_validation=32)
        >>> trainer = TransferTrainer(StoreMethod(LayerStore([MemoryShard()])), task)
        >>> first = sequential([layers.dense((8,), 4, "relu"), layers.dense((4,), 2)])
        >>> _ = trainer.run(1, first)
        >>> child = [layers.dense((8,), 4, "relu"), layers.dense((4,), 4), layers.dense((4,), 2)]
        >>> trained = trainer.run(2, sequential(child))
        >>> trained.match
        Match(donor=1, positions=(0,), score=1)
    """

    def __init__(
        self, method: TransferMethod, task: Task, plan: TrainingPlan | None = None
    ) -> None:
        """Keep the task's items on the plan's device.

        Raises:
            TaskError: there is no such device, or it has no room for the items.
        """
        self.method = method
        self.task = task
        self.plan = plan or TrainingPlan()
        try:
            self._train = task.train.to(self.plan.device)
            self._validation = task.validation.to(self.plan.device)
        except (RuntimeError, AssertionError) as error:  # the latter of torch without CUDA
            raise TaskError(
                f"device {self.plan.device!r} cannot be used ({one_line(error)})"
            ) from error

    def run(
        self, model: int, graph: ArchitectureGraph, *, hint: int | None = None, seed: int = 0
    ) -> TrainedModel:
        """Ask for the best donor, keep it, and train the candidate with its layers.

        Args:
            model: the id under which it is stored, never used before.
            graph: its architecture.
            hint: the model that it was derived from, for methods that need it.
            seed: of first values, of the order of items, and of dropout.

        Raises:
            TaskError: the architecture does not fit the task.
            GraphError: a layer cannot be built.
            As `TransferMethod.best_match`, `fetch` and `store`.
        """
        stamps = self._named(graph)
        with self.method.retained(graph, hint=hint) as match:
            stamps.end("query")
            return self._run(model, graph, match, seed, stamps)

    def run_with(
        self, model: int, graph: ArchitectureGraph, match: Match | None, *, seed: int = 0
    ) -> TrainedModel:
        """Train the candidate with the layers of a donor that the caller retains, or of none.

        Raises:
            As `run`.
        """
        return self._run(model, graph, match, seed, self._named(graph))

    def _named(self, graph: ArchitectureGraph) -> Stamps:
        _check_fits(graph, self.task)
        stamps = Stamps(self.plan.device)
        _ = graph.names  # computed once, when asked for
        stamps.end("name")
        return stamps

    def _run(
        self,
        model: int,
        graph: ArchitectureGraph,
        match: Match | None,
        seed: int,
        stamps: Stamps,
    ) -> TrainedModel:
        positions = () if match is None else match.positions
        taken = match if self.plan.takes_weights else None
        network = Network(graph, self.plan.device)
        given = () if taken is None else taken.positions
        network.initialise(seed, sorted(set(range(len(graph))).difference(given)))
        stamps.end("build")
        fetched = 0 if taken is None else self._transfer(taken, network, stamps)
        if self.plan.frozen_epochs != 0:
            network.freeze(positions)
        stamps.end("freeze")
        losses = fit(network, self.task, self._train, self._validation, self.plan, seed)
        stamps.end("train")
        accuracy = scored(network, self.task, self._validation)
        stamps.end("evaluate")
        stored = None
        if math.isfinite(accuracy):
            unchanged = taken is not None and bool(network.frozen)
            stored = self._store(model, network, _left(match, unchanged), accuracy, stamps)
        network.unfreeze()
        stamps.end("unfreeze")
        return TrainedModel(model, accuracy, losses, match, fetched, stored, stamps.phases)

    def _transfer(self, match: Match, network: Network, stamps: Stamps) -> int:
        """Fill the transferred layers; on the CPU the bytes arrive where they are used."""
        graph, state = network.graph, network.state_dict()
        names = graph.tensor_ids(match.positions)
        wanted = {name: state[name] for name in names}
        on_host = self.plan.is_on_cpu
        host = {n: t if on_host else torch.empty_like(t, device="cpu") for n, t in wanted.items()}
        self.method.fetch(match, graph, host)
        stamps.end("fetch")
        if not on_host:
            with torch.no_grad():
                for name, tensor in wanted.items():
                    tensor.copy_(host[name])
        stamps.end("apply")
        return sum(tensor.nbytes for tensor in wanted.values())

    def _store(
        self,
        model: int,
        network: Network,
        match: Match | None,
        accuracy: float,
        stamps: Stamps,
    ) -> Stored:
        state = network.state_dict()
        stored = self.method.store(model, network.graph, state, match=match, accuracy=accuracy)
        stamps.end_both("store_data", "store_meta", stored.meta_ns)
        return stored


def _left(match: Match | None, unchanged: bool) -> Match | None:
    """Return what is the donor's still; layers that were trained after all are the child's own."""
    return match if match is None or unchanged else Match(match.donor, (), 0)


def _check_fits(graph: ArchitectureGraph, task: Task) -> None:
    """See that a network of this architecture takes the task's inputs and gives its outputs.

    Raises:
        TaskError: it does not.
    """
    first = [v for v, before in enumerate(graph.predecessors) if not before]
    last = [v for v, after in enumerate(graph.successors) if not after]
    if len(first) != len(task.shapes) or len(last) != 1:
        raise TaskError(
            f"an architecture of {len(first)} inputs and {len(last)} outputs, expected "
            f"{len(task.shapes)} and 1 for this task"
        )
    for position, shape in zip(first, task.shapes, strict=True):
        layer = graph.layers[position]
        if layer.spec.kind == "layer.input" and out_shape(layer) != shape:
            raise TaskError(
                f"an architecture for inputs of shape {list(out_shape(layer))}, the task's are "
                f"{list(shape)}; set the inputs of the search space"
            )
    if out_shape(graph.layers[last[0]]) != (task.outputs,):
        raise TaskError(
            f"an architecture with outputs {list(out_shape(graph.layers[last[0]]))}, the task has "
            f"{task.outputs}; set the outputs of the search space"
        )
