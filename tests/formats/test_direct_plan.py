"""The plan of reads: it fills exactly what was asked for, within the rules of direct I/O."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_core.formats.direct import plan as planning
from bench_core.formats.direct.alignment import BUFFERED, Alignment
from bench_core.formats.direct.plan import Request, Span, plan, windows

KIB = 1 << 10
ALIGNMENTS = [BUFFERED, Alignment(4, 512), Alignment(512, 512), Alignment(4096, 4096)]
MEMORY = 1 << 32
"""Addresses in these tests are positions in a memory that starts here, aligned for anything."""

gaps = st.one_of(st.just(0), st.integers(1, 2000), st.integers(60 * KIB, 70 * KIB))
lengths = st.one_of(st.integers(1, 5000), st.integers(60 * KIB, 70 * KIB), st.integers(1, 5 << 19))


@st.composite
def spans_and_alignment(draw: st.DrawFn) -> tuple[list[Span], Alignment]:
    """Return spans in file order, placed in memory with any shift, or with margins and none."""
    alignment = draw(st.sampled_from(ALIGNMENTS))
    position, address, spans = draw(st.integers(0, 9000)), MEMORY, []
    for gap, length in draw(st.lists(st.tuples(gaps, lengths), min_size=1, max_size=5)):
        position += gap
        has_margin = draw(st.booleans())
        shift = position % 4096 if has_margin else draw(st.sampled_from([0, 1, 64, 512, 4095]))
        spans.append(Span(position, position + length, address + shift, has_margin))
        position += length
        address += (length + shift) // 4096 * 4096 + 2 * 4096
    return spans, alignment


def simulate(requests: list[Request], size: int) -> tuple[np.ndarray, np.ndarray]:
    """Do the requests on known bytes; return the memory, and how often each byte was written."""
    file = (np.arange(size) * 2654435761 >> 7).astype(np.uint8)
    memory, written = np.zeros(1 << 24, np.uint8), np.zeros(1 << 24, np.uint8)

    def put(address: int, data: np.ndarray) -> None:
        start = address - MEMORY
        memory[start : start + len(data)] = data
        written[start : start + len(data)] += 1

    for request in requests:
        data = file[request.offset : request.offset + request.nbytes]
        if request.address is not None:
            put(request.address, data)
        for position, span, skip, nbytes in request.copies:
            put(span.address + skip, data[position : position + nbytes])
    return memory, written


@settings(max_examples=80, deadline=None)
@given(given_spans=spans_and_alignment())
def test_a_plan_fills_every_span_within_the_rules(
    given_spans: tuple[list[Span], Alignment],
) -> None:
    spans, alignment = given_spans
    requests = plan(spans, alignment)
    for request in requests:
        assert 0 < request.nbytes <= planning.CHUNK_BYTES
        assert request.offset % alignment.offset == request.nbytes % alignment.offset == 0
        if request.address is not None:
            assert request.address % alignment.memory == 0
            assert not request.copies
    assert [r.offset for r in requests] == sorted(r.offset for r in requests)

    size = spans[-1].end
    memory, written = simulate(requests, size + 4096)
    expected = (np.arange(size) * 2654435761 >> 7).astype(np.uint8)
    allowed = np.zeros_like(written)
    for span in spans:
        start = span.address - MEMORY
        stop = start + span.end - span.begin
        assert np.array_equal(memory[start:stop], expected[span.begin : span.end])
        margin = alignment.offset if span.has_margin else 0
        allowed[max(0, start - margin) : stop + margin] = 1
        assert (written[start:stop] == 1).all()
    assert not written[allowed == 0].any(), "bytes beside the destinations were overwritten"


def read_in_vain(spans: list[Span], alignment: Alignment) -> float:
    read = sum(request.nbytes for request in plan(spans, alignment))
    return read / sum(span.end - span.begin for span in spans)


def test_large_spans_read_less_than_one_percent_in_vain() -> None:
    mib = 1 << 20
    for size, gap in itertools.product([mib, mib + 12, 5 * mib], [3072, 12 * KIB, 16 * KIB]):
        spans = [
            Span(o + 8, o + 8 + size, MEMORY + o, has_margin=False)
            for o in range(0, 8 * (size + gap), size + gap)
        ]
        assert read_in_vain(spans, Alignment(512, 512)) <= 1.01


def test_small_spans_near_each_other_are_read_together() -> None:
    spans = [Span(o, o + 4 * KIB, MEMORY + o) for o in range(0, 800 * KIB, 8 * KIB)]
    assert len(list(windows(spans, Alignment(512, 512)))) == 1


def test_small_spans_far_apart_are_read_alone() -> None:
    spans = [Span(o, o + 4 * KIB, MEMORY + o) for o in range(0, 10 << 20, 1 << 20)]
    requests = list(windows(spans, Alignment(512, 512)))
    assert [request.nbytes for request in requests] == [4 * KIB] * 10
