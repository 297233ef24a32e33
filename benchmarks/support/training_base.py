"""What the workloads that train have in common: a model, its data, what changed, what it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from benchmarks.support.common import require_cuda
from benchmarks.support.model_sets import BASE_EPOCHS, has_trained_base, search_data, sets_folder
from benchmarks.support.named_params import NamedParams
from harness.errors import WrongResultError

if TYPE_CHECKING:
    import torch

    from bench_core.models.chains import ChainSpec
    from bench_core.snapshots.training import Trained, Training

DEVICES: Final = ("cpu", "cuda")
BATCH_SIZE: Final = 32


class TrainingBenchmark(NamedParams):
    """Base of the workloads that train a model's blocks, and a new head, on labelled data."""

    open_params = ("architecture",)
    timeout = 3600

    tensors: list[Mapping[str, torch.Tensor]]
    before: list[bytes]
    """Digest of each block before the training."""

    def begin(self, architecture: str, items: int, size: int, device: str) -> None:
        """Set the model, its data and the device."""
        from bench_core.models import chain
        from bench_core.models.digests import tensors_digest

        if device == "cuda":
            require_cuda()
        self.timer.device = self.device = device
        self.chain = chain(architecture)
        self.data = self.cached(
            ("data to train on", self.chain.input, items, size),
            lambda: search_data(self.chain.input, items, size),
        )
        self.tensors = self.cached(
            ("model to train", architecture, self.seed), lambda: start(self.chain, self.seed)
        )
        self.before = [tensors_digest(block) for block in self.tensors]
        key = ("operations of blocks", architecture, size)
        self.block_flops = self.cached(key, lambda: block_flops(self.chain, size))

    def train(self, trained: range, training: Training) -> Trained:
        """Train the model's blocks in this range, and a head."""
        from bench_core.snapshots.trainer import train

        return train(
            self.chain,
            self.tensors,
            trained.start,
            self.data,
            training,
            seed=self.seed,
            stop=trained.stop,
            device=self.device,
        )

    def require_trained(self, trained: range, result: Trained) -> None:
        """See that the blocks in the range changed, and no bit of any other.

        Raises:
            WrongResultError: it is otherwise.
        """
        from bench_core.models.digests import tensors_digest

        after = {i: tensors_digest(block) for i, block in result.frozen.items()}
        after |= {i: tensors_digest(block) for i, block in zip(trained, result.blocks, strict=True)}
        changed = [i for i, before in enumerate(self.before) if after[i] != before]
        if changed != list(trained):
            raise WrongResultError(f"blocks {changed} changed, expected {list(trained)}")
        if [tensors_digest(block) for block in self.tensors] != self.before:
            raise WrongResultError("the model that was given was written to")

    def note_training(self, result: Trained) -> None:
        """Put what a training gave into the record."""
        import statistics

        self.note(
            accuracy=result.accuracy,
            losses=list(result.losses),
            epoch_seconds=statistics.median(result.epoch_seconds),
            all_epoch_seconds=list(result.epoch_seconds),
        )


def published_training(epochs: int, keep_bytes: int) -> Training:
    """Return how the published studies train: SGD, a tenth of the rate after seven epochs."""
    from bench_core.snapshots import Training

    return Training(
        epochs=epochs,
        learning_rate=1e-3,
        batch_size=BATCH_SIZE,
        keep_bytes=keep_bytes,
        optimizer="sgd",
        momentum=0.9,
        decay_every=7,
        decay=0.1,
    )


def start(chain: ChainSpec, seed: int) -> list[Mapping[str, torch.Tensor]]:
    """Return the tensors of each block that a training starts from.

    A tiny architecture is trained on a source that is not the data: it has something to transfer.
    A large one is initialised only, for just its speed is looked at.
    """
    from bench_core.models.chains import initialised
    from bench_core.snapshots import SnapshotStore, Training, embedded_sources, trained_base

    if not has_trained_base(chain.architecture):
        return [initialised(block, seed + index) for index, block in enumerate(chain.blocks)]
    store = SnapshotStore(sets_folder() / f"{chain.architecture}-base-seed{seed}")
    source = embedded_sources(chain.input, seed)[0]
    training = Training(epochs=BASE_EPOCHS, batch_size=BATCH_SIZE)
    base = trained_base(store, chain.architecture, source, training, seed=seed)
    return [store.read_block(block) for block in base.blocks]


def block_flops(chain: ChainSpec, size: int) -> list[int]:
    """Return the floating-point operations of each block's forward pass over one item."""
    from bench_core.models.chains.resources import chain_resources
    from benchmarks.support.chain_inputs import item_shapes

    return [needs.flops for needs in chain_resources(chain.blocks, item_shapes(chain, size))]


def training_flops(
    flops: Sequence[int], trained: range, *, is_kept: bool = False
) -> dict[str, int]:
    """Return the least operations of one item: ``once``, and in each epoch.

    The weights' gradients need as many as the forward pass, those of a block's input too; the input
    of the first block that is trained needs none.

    Args:
        flops: of each block's forward pass.
        trained: the blocks that are trained, neighbours.
        is_kept: whether what the blocks before give is computed once and kept.
    """
    begin = trained.start if trained else len(flops)
    backward = sum(flops[trained.start : trained.stop]) + sum(flops[begin + 1 :])
    before = sum(flops[:begin])
    each = sum(flops[begin:]) + backward
    return {"once": before, "each": each} if is_kept else {"once": 0, "each": before + each}


def require_features(found: Any, expected: torch.Tensor) -> None:
    """Compare features bit for bit.

    Raises:
        WrongResultError: they differ.
    """
    import torch

    if not torch.equal(found, expected):
        raise WrongResultError("the features are not those of the whole chain")
