"""Trains one candidate: takes over a donor's layers, freezes them, trains the rest, stores it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch

from bench_core.formats.atomic import one_line
from bench_core.weight_transfer.errors import TaskError
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.layers import out_shape
from bench_core.weight_transfer.methods.base import Stored, TransferMethod
from bench_core.weight_transfer.network import Network
from bench_core.weight_transfer.prefix import Match
from bench_core.weight_transfer.stamps import Stamps
from bench_core.weight_transfer.tasks import Items, Task

_EVALUATED_AT_ONCE: Final = 1024


@dataclass(frozen=True)
class TrainingPlan:
    """How a candidate is trained."""

    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    frozen_epochs: int | None = None
    """Epochs at the beginning in which the transferred layers are frozen; None: all of them."""
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not self.learning_rate > 0:
            raise TaskError(
                f"epochs {self.epochs}, batch_size {self.batch_size}, learning_rate "
                f"{self.learning_rate}: expected 1 or more, 1 or more, above 0"
            )
        if self.optimizer not in ("adam", "sgd"):
            raise TaskError(f"optimizer {self.optimizer!r}, expected adam or sgd")
        if self.frozen_epochs is not None and self.frozen_epochs < 0:
            raise TaskError(f"frozen_epochs {self.frozen_epochs}, expected 0 or more, or None")

    @property
    def stays_frozen(self) -> bool:
        """Whether transferred layers are the donor's still when the training ends."""
        return self.frozen_epochs is None or self.frozen_epochs >= self.epochs


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
        network = Network(graph, self.plan.device)
        network.initialise(seed, sorted(set(range(len(graph))).difference(positions)))
        stamps.end("build")
        fetched = 0
        if match is not None:
            fetched = self._transfer(match, network, stamps)
            if self.plan.frozen_epochs != 0:
                network.freeze(positions)
        stamps.end("freeze")
        losses = self._fit(network, seed)
        stamps.end("train")
        accuracy = self._evaluated(network)
        stamps.end("evaluate")
        stored = None
        if math.isfinite(accuracy):
            stored = self._store(model, network, match, accuracy, stamps)
        network.unfreeze()
        stamps.end("unfreeze")
        return TrainedModel(model, accuracy, losses, match, fetched, stored, stamps.phases)

    def _transfer(self, match: Match, network: Network, stamps: Stamps) -> int:
        """Fill the transferred layers; on the CPU the bytes arrive where they are used."""
        graph, state = network.graph, network.state_dict()
        names = graph.tensor_ids(match.positions)
        wanted = {name: state[name] for name in names}
        host = {name: torch.empty_like(tensor, device="cpu") for name, tensor in wanted.items()}
        is_direct = self._is_on_cpu
        self.method.fetch(match, graph, wanted if is_direct else host)
        stamps.end("fetch")
        if not is_direct:
            with torch.no_grad():
                for name, tensor in wanted.items():
                    tensor.copy_(host[name])
        stamps.end("apply")
        return sum(tensor.nbytes for tensor in wanted.values())

    def _fit(self, network: Network, seed: int) -> tuple[float, ...]:
        """Train all epochs; the frozen layers' turn comes when the plan says so."""
        losses = []
        network.train()
        devices = [] if self._is_on_cpu else [self.plan.device]
        order = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices):
            torch.manual_seed(seed)
            optimizer = self._optimizer(network)
            for epoch in range(self.plan.epochs):
                if network.frozen and epoch == self.plan.frozen_epochs:
                    network.unfreeze()
                    optimizer = self._optimizer(network)
                losses.append(self._epoch(network, optimizer, order))
        return tuple(losses)

    def _epoch(
        self, network: Network, optimizer: torch.optim.Optimizer | None, order: torch.Generator
    ) -> float:
        """Train one epoch; without anything to train only the loss is computed."""
        items, total, count = self._train, torch.zeros((), device=self.plan.device), 0
        permuted = torch.randperm(len(items), generator=order).to(self.plan.device)
        for chosen in torch.split(permuted, self.plan.batch_size):
            if len(chosen) == 1 < self.plan.batch_size and count:
                break  # batch normalisation cannot be trained on a single item that is left over
            outputs = network(tuple(x[chosen] for x in items.inputs))
            loss = self.task.loss(outputs, items.targets[chosen])
            if optimizer is not None:
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            total += loss.detach()
            count += 1
        return float(total / count)

    def _optimizer(self, network: Network) -> torch.optim.Optimizer | None:
        """Return an optimiser over what is not frozen; None where everything is."""
        parameters = list(network.trainable_parameters())
        if not parameters:
            return None
        if self.plan.optimizer == "sgd":
            return torch.optim.SGD(parameters, lr=self.plan.learning_rate, fused=True)
        return torch.optim.Adam(parameters, lr=self.plan.learning_rate, fused=True)

    @property
    def _is_on_cpu(self) -> bool:
        return torch.device(self.plan.device).type == "cpu"

    def _evaluated(self, network: Network) -> float:
        return _scored(network, self._validation, self.task)

    def _store(
        self,
        model: int,
        network: Network,
        match: Match | None,
        accuracy: float,
        stamps: Stamps,
    ) -> Stored:
        """Store the model; layers that were trained after their transfer are its own."""
        if match is not None and not self.plan.stays_frozen:
            match = Match(match.donor, (), 0)
        state = network.state_dict()
        stored = self.method.store(model, network.graph, state, match=match, accuracy=accuracy)
        stamps.end_both("store_data", "store_meta", stored.meta_ns)
        return stored


def score(graph: ArchitectureGraph, tensors: Mapping[str, torch.Tensor], task: Task) -> float:
    """Return what a model with these weights scores on the validation items, as when trained.

    Minus infinity if a weight or an output is not finite. On the CPU the same bits for the same
    number of threads.
    """
    network = Network(graph)
    network.load_state_dict(dict(tensors))
    return _scored(network, task.validation, task)


def _scored(network: Network, items: Items, task: Task) -> float:
    network.eval()
    with torch.no_grad():
        outputs = torch.cat(
            [
                network(tuple(x[start : start + _EVALUATED_AT_ONCE] for x in items.inputs))
                for start in range(0, len(items), _EVALUATED_AT_ONCE)
            ]
        )
    if not outputs.isfinite().all() or not _is_finite(network):
        return -math.inf
    return task.score(outputs, items.targets)


def _is_finite(network: Network) -> bool:
    return all(bool(t.isfinite().all()) for t in network.state_dict().values())


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
