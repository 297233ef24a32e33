"""Memory for tensors to be read: laid out as in the file, so that most reads need no copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import torch

from bench_core.formats.direct.alignment import Alignment
from bench_core.formats.direct.header import Entry
from bench_core.formats.direct.memory import Pages
from bench_core.formats.direct.plan import STRAIGHT_BYTES, Span

SLAB_BYTES: Final = 32 << 20
"""Tensors that share pages: one of them that lives on keeps this much at most, or its own size."""

_PACKING: Final = 64
"""Small tensors start here: a cache line, and a multiple of every type's size."""


def allocate(
    entries: Iterable[Entry], alignment: Alignment
) -> tuple[dict[str, torch.Tensor], list[Span]]:
    """Return unread tensors by name, and the spans of the file that fill them, in file order.

    Args:
        entries: in file order.
        alignment: what the file asks for.
    """
    tensors: dict[str, torch.Tensor] = {}
    spans: list[Span] = []
    for runs in _slabs(_runs(entries)):
        places, size = _places(runs, alignment)
        pages = Pages(size)
        for run, place in zip(runs, places, strict=True):
            begin, end = run[0].begin, run[-1].end
            if end > begin:
                spans.append(Span(begin, end, pages.address + place, _has_margin(run)))
            for entry in run:
                tensors[entry.name] = pages.tensor(place + entry.begin - begin, entry.spec)
    return tensors, spans


def _runs(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Group tensors without a gap between them; a misaligned one stays alone, to be moved."""
    run: list[Entry] = []
    for entry in entries:
        if run and not _continues(run, entry):
            yield run
            run = []
        run.append(entry)
    if run:
        yield run


def _continues(run: list[Entry], entry: Entry) -> bool:
    return (
        entry.begin == run[-1].end
        and entry.end - run[0].begin <= SLAB_BYTES
        and not _is_misaligned(entry)
        and not _is_misaligned(run[-1])
    )


def _is_misaligned(entry: Entry) -> bool:
    return entry.begin % entry.spec.dtype.itemsize != 0


def _has_margin(run: list[Entry]) -> bool:
    return run[-1].end - run[0].begin >= STRAIGHT_BYTES and not _is_misaligned(run[0])


def _slabs(runs: Iterable[list[Entry]]) -> Iterator[list[list[Entry]]]:
    slab: list[list[Entry]] = []
    size = 0
    for run in runs:
        length = run[-1].end - run[0].begin
        if slab and size + length > SLAB_BYTES:
            yield slab
            slab, size = [], 0
        slab.append(run)
        size += length
    if slab:
        yield slab


def _places(runs: list[list[Entry]], alignment: Alignment) -> tuple[list[int], int]:
    """Return where each run starts in its slab, and the slab's size.

    A run with a margin keeps its position in the file, modulo what direct reads ask for.
    """
    both = max(alignment.memory, alignment.offset, _PACKING)
    places: list[int] = []
    position = 0
    for run in runs:
        begin, end = run[0].begin, run[-1].end
        if _is_misaligned(run[0]):
            place = position + -position % _PACKING
        else:
            step = both if _has_margin(run) else _PACKING
            place = position + -position % step + begin % step
        places.append(place)
        position = place + end - begin
        if _has_margin(run):
            position += -position % both
    return places, position
