"""Engines that run each model whole: Base and SHiFT as published, and a tuned Base.

Strassenburg et al., "Alsatian", SIGMOD 2025, section 2; SHiFT there is the authors' own version of
successive halving (Renggli et al., "SHiFT", VLDB 2023, without its cost-based choices).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import nn

from bench_core.data import Inputs
from bench_core.data.loader import batches as data_batches
from bench_core.errors import CorruptFileError
from bench_core.model_search.batches import Batch, LaterRound, of_split
from bench_core.model_search.context import Context
from bench_core.model_search.engines.base import Engine
from bench_core.model_search.inputs import InputFeeder, to_device
from bench_core.model_search.loading import UnusableBlockError
from bench_core.model_search.read_tiers import Tiers
from bench_core.models.chains import BlockSpec, family, run_chain
from bench_core.snapshots import CorruptBlockError

_START: Final = "fork" if "fork" in multiprocessing.get_all_start_methods() else None
"""How workers that read data are started. Left open, a search in a process that was itself spawned
would spawn them, and import torch anew for every model; forked, they cost what they cost users."""


class WholeModels(Engine):
    """Base of the engines that share nothing between models."""

    def run(
        self,
        model: int,
        modules: Sequence[nn.Module],
        batches: Sequence[Batch],
        inputs: Iterator[Inputs],
    ) -> None:
        """Put the features of one model for these batches where the proxy finds them."""
        context = self.context
        for batch in batches:
            given = next(inputs)
            with context.computing():
                features = run_chain(modules, given)
            context.meter.count("block_executions", len(modules))
            context.meter.count("item_blocks", len(modules) * len(batch))
            context.put((model,), batch, features)


class Base(WholeModels):
    """Each model by itself over all data: loaded twice, initialised before it is overwritten.

    The model is read from a file of its own, once for the test and once for the training items;
    its random initialisation is published behaviour, too. Features go through files.
    """

    name = "base"
    halves = False
    features_on_disk = True

    def prepare(self, live: Sequence[int]) -> None:
        """Write the file of each model that has none yet, of blocks that are whole."""
        for model in live:
            name = self.context.candidates.name(model)
            try:
                self.context.loader.store.export(name, self._path(name))
            except CorruptBlockError as error:
                raise UnusableBlockError(str(error), error.key) from error

    def extract(
        self, live: Sequence[int], batches: Sequence[Batch], later: Sequence[LaterRound] = ()
    ) -> None:
        """Run every model by itself, loaded anew for the test and for the training batches."""
        for model in live:
            for split in ("test", "train"):
                wanted = of_split(batches, split)
                if wanted:
                    inputs = decoded_anew(self.context, wanted)
                    self.run(model, self._load(model), wanted, inputs)

    def _load(self, model: int) -> list[nn.Module]:
        """Read the model's file, initialise a new model, copy the one into the other."""
        context, snapshot = self.context, self.context.candidates.snapshots[model]
        with context.meter.phase("prepare_model"):
            path, tiers = self._path(snapshot.name), Tiers(context.meter)
            with tiers.watching():
                state = _state_of(path)
            modules = [_initialised(block.spec) for block in snapshot.blocks]
            nn.Sequential(*modules).load_state_dict(state)
            loaded = [module.to(context.device) for module in modules]
        context.meter.count("model_loads")
        tiers.count(path.stat().st_size)
        if context.device.type != "cpu":
            context.meter.count("bytes_to_device", snapshot.nbytes)
        return loaded

    def _path(self, name: str) -> Path:
        return self.context.whole_models / f"{name}.pt"


class Shift(Base):
    """Base under successive halving: each model is loaded again in every round."""

    name = "shift"
    halves = True


class TunedBase(WholeModels):
    """Base without its handicaps: what a careful user would write without sharing blocks.

    Each model is loaded once, its pages mapped into modules that were never initialised;
    every item is decoded once for all models; features stay in memory.
    """

    name = "base_tuned"
    halves = False

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._loader = context.loader.tuned()

    def extract(
        self, live: Sequence[int], batches: Sequence[Batch], later: Sequence[LaterRound] = ()
    ) -> None:
        """Run every model by itself over all batches whose features are not there yet."""
        context = self.context
        feeder = InputFeeder(context.data, context.device, context.meter, context.budget)
        for models, part in context.wanted(live, batches).items():
            inputs = feeder.supply([batch for _ in models for batch in part])
            with contextlib.closing(inputs):
                for model in models:
                    self.run(model, self._load(model), part, inputs)

    def _load(self, model: int) -> list[nn.Module]:
        """Read the model's blocks."""
        context = self.context
        with context.meter.phase("prepare_model"):
            blocks = context.candidates.snapshots[model].blocks
            modules = [self._loader.load(block) for block in blocks]
        context.meter.count("model_loads")
        return modules


def decoded_anew(context: Context, batches: Sequence[Batch]) -> Iterator[Inputs]:
    """Yield the inputs of batches of one split, read and decoded by worker processes."""
    meter = context.meter
    dataset = context.data.train if batches[0].split == "train" else context.data.test
    with meter.phase("prepare_data"):
        indices = [batch.indices for batch in batches]
        loader = data_batches(dataset, indices, context.num_workers, start=_START)
    for batch in batches:
        with meter.phase("prepare_data"):
            inputs = to_device(next(loader), context.device, meter)
        meter.count("items_decoded", len(batch))
        meter.count("inputs_made", len(batch))
        yield inputs


def _state_of(path: Path) -> dict[str, torch.Tensor]:
    """Read a whole model.

    Raises:
        CorruptFileError: the file is damaged.
    """
    try:
        state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    # What torch raises depends on which byte is wrong.
    except (RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise CorruptFileError(
            f"{path}: cannot be read as a file of torch ({' '.join(str(error).split())[:200]}); "
            "remove it, and the next search writes it anew from the blocks"
        ) from error
    return state


def _initialised(spec: BlockSpec) -> nn.Module:
    """Return a block with random values, as a model is made when nothing is skipped."""
    owner = family(spec.family)
    with torch.random.fork_rng(devices=[]):
        module = owner.module(spec)
        owner.initialise(module)
    return module.eval()
