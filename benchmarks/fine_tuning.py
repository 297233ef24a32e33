"""What it costs to fine-tune a model, whole or in part, beside extracting its features."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from benchmarks.support.training_base import (
    BATCH_SIZE,
    DEVICES,
    TrainingBenchmark,
    published_training,
    require_features,
    training_flops,
)
from harness.errors import RefusedError

if TYPE_CHECKING:
    import torch

    from bench_core.data import Dataset
    from bench_core.models.chains import ChainSpec
    from bench_core.snapshots.at_cut import AtCut
    from harness.limits import Limits

WAYS: Final = ("extract", "head_kept", "head", "full")
PARTS: Final = ("last", "surgical")
STAGES: Final = 4


class FineTuneOrExtract(TrainingBenchmark):
    """Inside the clock: a model in memory is made ready, and fine-tuned; or its features extracted.

    ``full`` trains all blocks and a head, ``head`` the head alone, behind the whole model, which
    runs in every epoch; ``head_kept`` the same on features that are computed once. Items are read
    and preprocessed anew whenever the first block runs. ``extract`` is the model's one pass over
    all items. Of the items four fifths are to train on; the accuracy on the others counts, too.
    SGD, rate 0.001, momentum 0.9, a tenth of the rate after 7 epochs, batches of 32. Ideal: the
    least operations of the forward and backward passes at the matrix product's rate.
    """

    params = (WAYS, ("mlp_tiny", "resnet_tiny"), (100,), (32,), (2,), DEVICES)
    param_names = ("way", "architecture", "items", "size", "epochs", "device")
    quick = {"way": ("extract", "full")}

    def prepare(
        self, way: str, architecture: str, items: int, size: int, epochs: int, device: str
    ) -> None:
        self.way = way
        self.begin(architecture, items, size, device)
        n_blocks = len(self.chain.blocks)
        self.trained = range(0 if way == "full" else n_blocks, n_blocks)
        self.training = published_training(epochs, sys.maxsize if way == "head_kept" else 0)

    def time_tune(
        self, way: str, architecture: str, items: int, size: int, epochs: int, device: str
    ) -> Any:
        return self._extract() if way == "extract" else self.train(self.trained, self.training)

    def ideal_seconds(self, limits: Limits) -> float | None:
        n_train, n_test = len(self.data.train), len(self.data.test)
        if self.device != "cpu":
            return None
        forward = sum(self.block_flops)
        if self.way == "extract":
            return limits.seconds("matmul_flops", forward * (n_train + n_test))
        item = training_flops(self.block_flops, self.trained, is_kept=self.way == "head_kept")
        of_training = (item["once"] + item["each"] * self.training.epochs) * n_train
        return limits.seconds("matmul_flops", of_training + forward * n_test)

    def verify(self) -> None:
        if self.way != "extract":
            self.require_trained(self.trained, self.result)
            self.note_training(self.result)
            return
        for side, found in zip((self.data.train, self.data.test), self.result, strict=True):
            self._require_features(side, found)

    def _extract(self) -> list[AtCut]:
        """Return the features of both sides."""
        import torch

        from bench_core.snapshots.at_cut import AtCut

        modules, device = self._modules(), torch.device(self.device)
        sides = (self.data.train, self.data.test)
        return [AtCut(side, modules, device, BATCH_SIZE, sys.maxsize) for side in sides]

    def _modules(self) -> list[torch.nn.Module]:
        from bench_core.models.chains import block_module

        pairs = zip(self.chain.blocks, self.tensors, strict=True)
        return [block_module(spec, tensors).to(self.device) for spec, tensors in pairs]

    def _require_features(self, side: Dataset, found: AtCut) -> None:
        import numpy as np
        import torch

        from bench_core.models.chains import features_of, run_chain
        from bench_core.snapshots.at_cut import batches, to_device

        modules, device = self._modules(), torch.device(self.device)
        for indices in batches(np.arange(len(side)), BATCH_SIZE):
            with torch.inference_mode():
                expected = run_chain(modules, to_device(side.batch(indices), device))
            require_features(features_of(found.batch(indices)), expected)


class FreezeStudy(TrainingBenchmark):
    """Inside the clock: the blocks of some stages, and a new head, are trained, all others frozen.

    ``last`` trains the stages from this one on, ``surgical`` this one alone; stage 4 is behind the
    last one: the head alone, for both. Every item is read and passes all blocks in every epoch. Of
    the items four fifths are to train on. SGD, rate 0.001, momentum 0.9, a tenth of the rate after
    7 epochs, batches of 32. The time of an epoch and the accuracy are in the record's extra. Ideal:
    the least operations of the forward and backward passes at the matrix product's rate.
    """

    params = (PARTS, ("mlp_tiny", "resnet_tiny"), (0, 2, 4), (100,), (32,), (2,), DEVICES)
    param_names = ("part", "architecture", "stage", "items", "size", "epochs", "device")
    quick = {"part": ("surgical",), "stage": (2,)}

    def prepare(
        self,
        part: str,
        architecture: str,
        stage: int,
        items: int,
        size: int,
        epochs: int,
        device: str,
    ) -> None:
        self.begin(architecture, items, size, device)
        self.trained = trained_blocks(self.chain, part, stage)
        self.training = published_training(epochs, keep_bytes=0)

    def time_tune(
        self,
        part: str,
        architecture: str,
        stage: int,
        items: int,
        size: int,
        epochs: int,
        device: str,
    ) -> Any:
        return self.train(self.trained, self.training)

    def ideal_seconds(self, limits: Limits) -> float | None:
        if self.device != "cpu":
            return None
        item = training_flops(self.block_flops, self.trained)
        of_training = item["each"] * self.training.epochs * len(self.data.train)
        of_test = sum(self.block_flops) * len(self.data.test)
        return limits.seconds("matmul_flops", of_training + of_test)

    def verify(self) -> None:
        self.require_trained(self.trained, self.result)
        self.note_training(self.result)
        self.note(
            trained_blocks=len(self.trained),
            trained_megabytes=sum(
                tensor.nbytes / 1e6 for block in self.result.blocks for tensor in block.values()
            ),
        )


def trained_blocks(chain: ChainSpec, part: str, stage: int) -> range:
    """Return the blocks that are trained.

    Args:
        chain: of which model.
        part: ``last`` or ``surgical``.
        stage: 0 to 4, see `stage_starts`; 4 is behind the last stage.

    Raises:
        RefusedError: the chain has no such stage.
    """
    starts = stage_starts(chain)
    if not 0 <= stage < len(starts):
        raise RefusedError(f"stage {stage} of {chain.architecture}; expected 0 to {STAGES}")
    is_one = part == "surgical" and stage < STAGES
    return range(starts[stage], starts[stage + 1] if is_one else len(chain.blocks))


def stage_starts(chain: ChainSpec) -> list[int]:
    """Return the first block of each of the four stages, and the end.

    The stages of a ResNet, the stem belonging to the first: each but the first halves the
    resolution. Of other chains: quarters of the blocks.
    """
    n_blocks = len(chain.blocks)
    settings = [dict(block.settings) for block in chain.blocks]
    starts = [0] + [i for i in range(1, n_blocks) if settings[i].get("stride") == 2]
    if len(starts) != STAGES:
        starts = [i * n_blocks // STAGES for i in range(STAGES)]
    return [*starts, n_blocks]
