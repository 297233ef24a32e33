"""Training of neighbouring blocks of a chain, with a linear head, on a labelled data set."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from bench_core.data.dataset import Dataset, SearchData
from bench_core.models.chains import Activation, BlockSpec, ChainSpec, block_module, run_chain
from bench_core.snapshots.at_cut import AtCut, batches
from bench_core.snapshots.checkpoint import Checkpoint
from bench_core.snapshots.draws import derived_seed
from bench_core.snapshots.training import (
    Trained,
    Training,
    TrainingError,
    check_data,
    check_loss,
)

Tensors = Mapping[str, torch.Tensor]


@dataclass
class _Progress:
    """Where a training stands."""

    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    epoch_seconds: list[float] = field(default_factory=list)


class _Trainee(nn.Module):
    """The blocks that are trained, those behind them, which are frozen, and the head."""

    def __init__(self, blocks: Sequence[nn.Module], n_trained: int, head: nn.Linear) -> None:
        super().__init__()
        self.blocks, self.n_trained, self.head = nn.ModuleList(blocks), n_trained, head

    def forward(self, inputs: Activation) -> torch.Tensor:
        """Return logits, ``(batch, classes)``."""
        logits: torch.Tensor = self.head(run_chain(self.blocks, inputs))
        return logits

    def train(self, mode: bool = True) -> _Trainee:
        """Switch to training; frozen blocks stay in evaluation mode, with their statistics."""
        super().train(mode)
        for block in self.blocks[self.n_trained :]:
            block.eval()
        return self


def train(
    chain: ChainSpec,
    tensors: Sequence[Tensors],
    first: int,
    data: SearchData,
    training: Training,
    *,
    seed: int,
    stop: int | None = None,
    device: str | torch.device = "cpu",
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train the blocks from ``first`` on, and a new linear head, on cross entropy.

    All other blocks are frozen as a whole: they run in evaluation mode, so that the statistics of
    their BatchNorm layers stay bit for bit what they are. The tensors that are given are not
    written to. The same arguments give the same bits on the same machine with the same number of
    threads, also when the training was interrupted and resumed from its checkpoint.

    Args:
        chain: the model.
        tensors: for each of its blocks.
        first: the first block that is trained; ``len(chain.blocks)`` trains the head alone.
        data: trained on one side, judged on the other.
        training: how.
        seed: of the head, the order of the items, and dropout.
        stop: the first block behind the trained ones, which is frozen again; None: the last block
            is trained, too.
        device: where it is computed.
        checkpoint: where the state is kept between sessions.

    Raises:
        TrainingError: the data do not fit the chain or are empty, or the training diverged.
        SaveError: the checkpoint can't be written.
    """
    check_data(chain, data)
    device = torch.device(device)
    chosen = range(first, len(chain.blocks))[: None if stop is None else max(stop - first, 0)]
    modules = [
        _module(spec, values, device, trained=index in chosen)
        for index, (spec, values) in enumerate(zip(chain.blocks, tensors, strict=True))
    ]
    # What lies between the data and the first parameter that is trained runs without gradients.
    begin = first if chosen else len(modules)
    trainee = _Trainee(modules[begin:], len(chosen), _new_head(chain, data, seed)).to(device)

    def at_cut(side: Dataset) -> AtCut:
        return AtCut(side, modules[:begin], device, training.batch_size, training.keep_bytes)

    reached = _train(trainee, at_cut(data.train), training, seed, checkpoint)
    return Trained(
        blocks=tuple(_tensors(modules[index]) for index in chosen),
        frozen={i: _tensors(block) for i, block in enumerate(modules) if i not in chosen},
        head=(_tensors(trainee.head)["weight"], _tensors(trainee.head)["bias"]),
        accuracy=_accuracy(trainee, at_cut(data.test), training.batch_size),
        losses=tuple(reached.losses),
        epoch_seconds=tuple(reached.epoch_seconds),
    )


def _train(
    trainee: _Trainee,
    items: AtCut,
    training: Training,
    seed: int,
    checkpoint: Checkpoint | None,
) -> _Progress:
    optimizer = _optimizer(trainee, training)
    reached = _resume(trainee, optimizer, checkpoint)
    while reached.epoch < training.epochs:
        started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = training.rate(reached.epoch)
        reached.losses.append(
            _train_epoch(trainee, optimizer, items, training, derived_seed(seed, reached.epoch))
        )
        reached.epoch_seconds.append(time.perf_counter() - started)
        reached.epoch += 1
        check_loss(reached.losses[-1], reached.epoch, training)
        if checkpoint and reached.epoch % training.checkpoint_every == 0:
            checkpoint.save(_state(trainee, optimizer, reached))
    return reached


def _optimizer(trainee: _Trainee, training: Training) -> torch.optim.Optimizer:
    parameters = [item for item in trainee.parameters() if item.requires_grad]
    if training.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=training.learning_rate)
    if training.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=training.learning_rate, momentum=training.momentum)
    raise TrainingError(f"unknown optimizer {training.optimizer!r}; expected adam or sgd")


def _train_epoch(
    trainee: _Trainee,
    optimizer: torch.optim.Optimizer,
    items: AtCut,
    training: Training,
    seed: int,
) -> float:
    """Train on every item once, in the seed's order; return their mean loss."""
    trainee.train()
    order = np.random.default_rng(seed).permutation(len(items))
    total = 0.0
    with _seeded(seed, next(trainee.parameters()).device):
        for indices in batches(order, training.batch_size):
            loss = nn.functional.cross_entropy(trainee(items.batch(indices)), items.labels(indices))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.item() * len(indices)
    return total / len(items)


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's generators, for dropout, and leave them as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _accuracy(trainee: _Trainee, items: AtCut, batch_size: int) -> float:
    trainee.eval()
    correct = 0
    with torch.no_grad():
        for indices in batches(np.arange(len(items)), batch_size):
            predicted = trainee(items.batch(indices)).argmax(dim=1)
            correct += int((predicted == items.labels(indices)).sum())
    return correct / len(items)


def _module(spec: BlockSpec, tensors: Tensors, device: torch.device, *, trained: bool) -> nn.Module:
    if not trained:
        return block_module(spec, tensors).to(device)
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    return block_module(spec, copies).to(device).requires_grad_(True)


def _new_head(chain: ChainSpec, data: SearchData, seed: int) -> nn.Linear:
    with _seeded(derived_seed(seed, "head"), torch.device("cpu")):
        return nn.Linear(chain.feature_dim, len(data.train.classes), device="cpu")


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in module.state_dict().items()}


def _state(
    trainee: _Trainee, optimizer: torch.optim.Optimizer, reached: _Progress
) -> dict[str, Any]:
    return {
        "trainee": trainee.state_dict(),
        "optimizer": optimizer.state_dict(),
        "progress": asdict(reached),
    }


def _resume(
    trainee: _Trainee, optimizer: torch.optim.Optimizer, checkpoint: Checkpoint | None
) -> _Progress:
    """Take up the saved state, where there is one."""
    state = checkpoint.load() if checkpoint else None
    if state is None:
        return _Progress()
    trainee.load_state_dict(state["trainee"])
    optimizer.load_state_dict(state["optimizer"])
    return _Progress(**state["progress"])
