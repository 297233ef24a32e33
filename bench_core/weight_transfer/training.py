"""How a candidate's network is trained and judged, wherever its weights come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import torch

from bench_core.weight_transfer.errors import TaskError
from bench_core.weight_transfer.graphs import ArchitectureGraph
from bench_core.weight_transfer.network import Network
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
    takes_weights: bool = True
    """Whether the donor's weights come over. A control: otherwise the same layers are frozen at
    their first values, so that work is saved and nothing is learnt from it."""
    patience: int | None = None
    """Epochs without a better validation score after which the training ends; None: it does not."""
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
        if self.patience is not None and self.patience < 1:
            raise TaskError(f"patience {self.patience}, expected 1 or more, or None")

    @property
    def is_on_cpu(self) -> bool:
        """Whether the device is the CPU."""
        return torch.device(self.device).type == "cpu"


def fit(
    network: Network, task: Task, train: Items, validation: Items, plan: TrainingPlan, seed: int
) -> tuple[float, ...]:
    """Train a network; return the mean loss of each epoch's batches.

    Frozen layers are unfrozen when the plan says so, and then the optimiser is made anew. Torch's
    own random state is left as it was.

    Args:
        network: on the plan's device, with first values.
        task: what is learnt.
        train: its items, on the device.
        validation: those that decide when to end, if the plan has patience.
        plan: how.
        seed: of the items' order and of dropout.
    """
    losses: list[float] = []
    scores: list[float] = []
    devices = [] if plan.is_on_cpu else [plan.device]
    order = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        optimizer = _optimizer(network, plan)
        for epoch in range(plan.epochs):
            if network.frozen and epoch == plan.frozen_epochs:
                network.unfreeze()
                optimizer = _optimizer(network, plan)
            losses.append(_epoch(network, task, train, plan, optimizer, order))
            if plan.patience is not None:
                scores.append(scored(network, task, validation))
                if len(scores) - 1 - scores.index(max(scores)) >= plan.patience:
                    break
    return tuple(losses)


def scored(network: Network, task: Task, items: Items) -> float:
    """Return a network's `Task.score` on items; minus infinity if anything is not finite."""
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


def score(graph: ArchitectureGraph, tensors: Mapping[str, torch.Tensor], task: Task) -> float:
    """Return what a model with these weights scores on the validation items, as when trained.

    Minus infinity if a weight or an output is not finite. On the CPU the same bits for the same
    number of threads.
    """
    network = Network(graph)
    network.load_state_dict(dict(tensors))
    return scored(network, task, task.validation)


def _epoch(
    network: Network,
    task: Task,
    items: Items,
    plan: TrainingPlan,
    optimizer: torch.optim.Optimizer | None,
    order: torch.Generator,
) -> float:
    """Train one epoch; without anything to train only the loss is computed."""
    network.train()
    total, count = torch.zeros((), device=plan.device), 0
    permuted = torch.randperm(len(items), generator=order).to(plan.device)
    for chosen in torch.split(permuted, plan.batch_size):
        if len(chosen) == 1 < plan.batch_size and count:
            break  # batch normalisation cannot be trained on a single item that is left over
        outputs = network(tuple(x[chosen] for x in items.inputs))
        loss = task.loss(outputs, items.targets[chosen])
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        total += loss.detach()
        count += 1
    return float(total / count)


def _optimizer(network: Network, plan: TrainingPlan) -> torch.optim.Optimizer | None:
    """Return an optimiser over what is not frozen; None where everything is."""
    parameters = list(network.trainable_parameters())
    if not parameters:
        return None
    if plan.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=plan.learning_rate, fused=True)
    return torch.optim.Adam(parameters, lr=plan.learning_rate, fused=True)


def _is_finite(network: Network) -> bool:
    return all(bool(t.isfinite().all()) for t in network.state_dict().values())
