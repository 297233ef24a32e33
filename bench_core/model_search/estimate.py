"""What a search will take, before it starts: time and memory, from rates of this machine."""

from __future__ import annotations

from dataclasses import dataclass

from bench_core.data import SearchData
from bench_core.model_search.candidates import Candidates
from bench_core.model_search.engines import engine_class
from bench_core.model_search.expected_memory import expected_memory
from bench_core.model_search.expected_work import (
    OURS,
    ExpectedWork,
    Sizes,
    expected_work,
    model_bytes,
)
from bench_core.model_search.probes import Rates
from bench_core.model_search.settings import Settings


@dataclass(frozen=True)
class Estimate:
    """What a search will take; which models survive is not known, so evenly spread ones count.

    Left out: features on their way to files or the journal, the work of starting, what a journal
    has already. An engine with several workers is estimated as one.
    """

    seconds: float
    """Of the whole search: what an engine does beside something else costs nothing on top."""
    compute_seconds: float
    """Of all blocks that have to run."""
    load_seconds: float
    """Of reading blocks or models, and of making modules of them."""
    decode_seconds: float
    """Of reading and decoding items, and of making inputs of them."""
    proxy_seconds: float
    """Of all proxy fits."""
    bytes_loaded: int
    """Of blocks or models, read again included."""
    distinct_bytes: int
    """Of all distinct blocks."""
    model_bytes: int
    """Of all models, as if none shared a block."""
    peak_bytes: int
    """Blocks, models and intermediate results, without the scratch memory of convolutions and
    matrix products; as the plan of the first round has it. What is done ahead of later rounds may
    take the rest of the budget."""
    feature_bytes: int
    """Of all features that are kept in memory at once."""
    n_chunks: int
    """In how many chunks the first round goes through the models."""


def estimate(
    candidates: Candidates, data: SearchData, settings: Settings, rates: Rates
) -> Estimate:
    """Estimate a search.

    Raises:
        BudgetError: too little memory; the text says the least that works.
        SearchError: fewer items than the rounds need.
    """
    sizes = Sizes(len(data.train), len(data.test), settings.bytes_each())
    peak, n_chunks = expected_memory(candidates, sizes, settings, data.train.decoded_bytes)
    work = expected_work(candidates, sizes, settings)
    compute, load, decode, proxy = _phases(work, rates)
    return Estimate(
        seconds=_together(settings.engine, compute, load, decode) + proxy,
        compute_seconds=compute,
        load_seconds=load,
        decode_seconds=decode,
        proxy_seconds=proxy,
        bytes_loaded=work.bytes_loaded,
        distinct_bytes=sum(block.nbytes for block in candidates.blocks.values()),
        model_bytes=sum(model_bytes(candidates, model) for model in range(len(candidates))),
        peak_bytes=peak,
        feature_bytes=_feature_bytes(candidates, work.fits[0][1] + sizes.n_test, settings),
        n_chunks=n_chunks,
    )


def _phases(work: ExpectedWork, rates: Rates) -> tuple[float, float, float, float]:
    """Return the seconds of computing, loading, decoding and scoring, each by itself."""
    blocks = rates.blocks
    compute = sum(blocks.seconds[key] * n for key, n in work.block_items.items())
    load = work.bytes_loaded * rates.load_seconds_per_byte
    load += work.bytes_initialised * rates.initialise_seconds_per_byte
    decode = work.items_decoded * rates.decode_seconds + work.inputs_made * rates.finish_seconds
    proxy = sum(
        n_models * (rates.fit_seconds + n_items * rates.fit_seconds_per_item)
        for n_models, n_items in work.fits
    )
    return compute / blocks.batch_size, load, decode, proxy


def _together(engine: str, compute: float, load: float, decode: float) -> float:
    """Return the seconds of what an engine does in part at once."""
    if engine == "base_tuned":
        return load + max(compute, decode)
    return max(compute, load, decode) if engine in OURS else compute + load + decode


def _feature_bytes(candidates: Candidates, n_items: int, settings: Settings) -> int:
    """Return the bytes of all features of so many items, of one model where they are in files."""
    pairs = zip(candidates.chains, candidates.snapshots, strict=True)
    dims = {chain: snapshot.feature_dim for chain, snapshot in pairs}
    in_files = engine_class(settings.engine).features_on_disk
    return (max(dims.values()) if in_files else sum(dims.values())) * n_items * 4
