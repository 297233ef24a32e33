"""Loads, writes, trainings on a device of its own; run as `test_simulated_device.py` says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from sets_data import clusters
from simulated_device import NAME

from bench_core import formats
from bench_core.errors import MissingExtraError, UnsupportedError
from bench_core.formats.base import Tensors
from bench_core.layer_loading import load, load_into
from bench_core.layer_loading.policies import POLICIES
from bench_core.snapshots import SnapshotStore, trained_set
from bench_core.snapshots.sources import sources_of
from bench_core.snapshots.training import Training
from bench_core.storage_writes import save
from bench_core.weight_transfer import ArchitectureGraph, LayerStore, layers, sequential, tasks
from bench_core.weight_transfer.methods import StoreMethod
from bench_core.weight_transfer.stores import FileShard, MemoryShard
from bench_core.weight_transfer.trainer import TransferTrainer
from bench_core.weight_transfer.training import TrainingPlan

BY_TORCH = frozenset({"torch", "torch_no_crc", "torch_mmap"})
"""They write storages, which simulated tensors have not."""
WRITERS = [
    name
    for name in formats.names()
    if formats.get(name).is_writer and formats.get(name).on_disk and name not in BY_TORCH
]
TASK = tasks.generated([(8,)], 3, n_train=128, n_validation=64)


@pytest.fixture(scope="module")
def host() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "matrix": torch.randn(300, 400, generator=generator),
        "transposed": torch.randn(64, 32, generator=generator).t(),
        "numbers": torch.arange(7),
        "halves": torch.randn(5, generator=generator).half(),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 3),
    }


@pytest.fixture
def device(host: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.to(NAME) for name, tensor in host.items()}


def check_equal(found: Tensors, expected: Tensors) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name].cpu(), tensor.cpu()), name


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_loads(policy: str, host: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save(host, path)
    loaded = load(path, device=NAME, policy=policy)
    assert {tensor.device.type for tensor in loaded.values()} == {NAME}
    check_equal(loaded, host)
    existing = {name: torch.zeros_like(tensor) for name, tensor in loaded.items()}
    load_into(existing, path, policy=policy)
    check_equal(existing, host)


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_writes(
    name: str, device: dict[str, torch.Tensor], host: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    made = formats.get(name)
    try:
        made.check_available()
    except (MissingExtraError, UnsupportedError) as error:
        pytest.skip(str(error))
    path = tmp_path / f"model{made.suffix}"
    made.write(device, path)
    with made.open(path) as reader:
        check_equal(reader.read(), host)


def test_a_trained_set_has_the_same_blocks(tmp_path: Path) -> None:
    quick = Training(epochs=2, learning_rate=1e-2, batch_size=32)
    sources = sources_of(clusters(), "clusters")[:2]

    def blocks(device: str) -> list[list[str]]:
        store = SnapshotStore(tmp_path / device)
        models = trained_set(
            store, "mlp_tiny", 3, sources, quick, distribution=[2, 1], device=device
        )
        return [[block.parameters for block in model.blocks] for model in models]

    assert blocks(NAME) == blocks("cpu")


@pytest.mark.parametrize("frozen_epochs", [None, 1])
def test_a_child_learns_the_same(frozen_epochs: int | None, tmp_path: Path) -> None:
    host = _family("cpu", MemoryShard(), frozen_epochs)
    for shard in (MemoryShard(), FileShard(tmp_path)):
        device = _family(NAME, shard, frozen_epochs)
        assert device[1:] == host[1:]
        check_equal(device[0], host[0])


def _family(
    device: str, shard: MemoryShard | FileShard, frozen_epochs: int | None
) -> tuple[dict[str, torch.Tensor], float | None, Sequence[int]]:
    """Train a parent and its child; return the child's tensors, its accuracy, what it took over."""
    plan = TrainingPlan(epochs=2, device=device, frozen_epochs=frozen_epochs)
    with StoreMethod(LayerStore([shard])) as method:
        trainer = TransferTrainer(method, TASK, plan)
        trainer.run(1, _stack(16, 8))
        child = trainer.run(2, _stack(16, 4))
        assert child.match is not None
        tensors = {name: tensor.clone() for name, tensor in method.get(2).items()}
        return tensors, child.accuracy, child.match.positions


def _stack(first: int, second: int) -> ArchitectureGraph:
    return sequential(
        [
            layers.dense((8,), first, "relu"),
            layers.batch_norm((first,)),
            layers.dropout((first,), 0.2),
            layers.dense((first,), second, "relu"),
            layers.dense((second,), 3),
        ]
    )
