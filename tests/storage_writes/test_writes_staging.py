"""Staging memory: exact copies, reused, aligned, shared by tied tensors and by processes."""

from __future__ import annotations

import itertools
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench_core.errors import UnsupportedError
from bench_core.formats import host_copy
from bench_core.models import TensorShape, equal_bytes, random_tensors, tensors
from bench_core.storage_writes.staging import SharedStaging, Staging, end_of, map_shared, plan

DTYPES = [torch.float64, torch.bfloat16, torch.float8_e5m2, torch.int64, torch.bool]
shapes = st.lists(st.integers(0, 9), max_size=3).map(tuple)
models = st.dictionaries(
    st.text(max_size=4), st.builds(TensorShape, shapes, st.sampled_from(DTYPES)), max_size=8
).map(random_tensors)


@pytest.mark.parametrize("kind", [Staging, SharedStaging])
@given(first=models, second=models)
def test_copies_are_exact_whatever_was_there_before(
    kind: type[Staging], first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]
) -> None:
    staging = kind()
    for source in (first, second):
        copies = staging.copy(source)
        assert list(copies) == list(source)
        assert all(equal_bytes(copies[name], source[name]) for name in source)
    staging.close()


@given(sizes=st.lists(st.integers(0, 300), max_size=6), batch=st.integers(1, 128))
def test_threads_copy_every_byte_however_the_tensors_are_cut(sizes: list[int], batch: int) -> None:
    sources = [torch.randint(256, (size,), dtype=torch.uint8) for size in sizes]
    copies = [torch.zeros_like(source) for source in sources]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_copy, "_BATCH", batch)
        host_copy.copy_on_host(zip(copies, sources, strict=True))
    assert all(map(equal_bytes, copies, sources))


def test_large_and_small_tensors_of_any_layout_are_copied() -> None:
    large = torch.arange(3_000_000.0)
    source = {
        "large": large,
        "odd": large[1:-4],
        "small": large[:5],
        "transposed": large.view(1000, 3000).t(),
        "negated": torch._neg_view(large),
    }
    copies = Staging().copy(source)
    assert all(torch.equal(copies[name], source[name]) for name in source)
    assert copies["negated"][2] == -2


@given(model=models)
def test_slots_do_not_overlap(model: dict[str, torch.Tensor]) -> None:
    slots = [slot for slot in plan(model).values() if not slot.is_tied and slot.spec.nbytes]
    slots.sort(key=lambda slot: slot.offset)
    assert all(slot.offset % 4096 == 0 for slot in slots)
    for before, after in itertools.pairwise(slots):
        assert before.offset + before.spec.nbytes <= after.offset


def test_a_copy_does_not_follow_its_source() -> None:
    source = {"w": torch.ones(3)}
    copy = Staging().copy(source)
    source["w"].zero_()
    assert copy["w"].tolist() == [1, 1, 1]


def test_memory_is_reused_and_grows_only_when_it_must() -> None:
    staging = Staging()
    address = staging.copy(tensors("stack_3x8KiB"))["layers.0.weight"].data_ptr()
    held = staging.nbytes
    again = staging.copy(tensors("stack_2x8KiB", seed=1))["layers.0.weight"]
    assert again.data_ptr() == address
    assert staging.nbytes == held
    staging.copy(tensors("stack_4x8KiB"))
    assert staging.nbytes > held
    staging.close()
    assert staging.nbytes == 0
    assert staging.copy({"w": torch.ones(2)})["w"].tolist() == [1, 1]


def test_tied_tensors_are_copied_once() -> None:
    weight = torch.arange(4096.0)
    source = {"embedding": weight, "head": weight, "row": weight[:2]}
    staging = Staging()
    copies = staging.copy(source)
    assert copies["embedding"].data_ptr() == copies["head"].data_ptr()
    assert copies["row"].tolist() == [0, 1]
    assert end_of(staging.slots) == weight.nbytes + copies["row"].nbytes


def test_any_strides_become_contiguous() -> None:
    matrix = torch.arange(6).reshape(2, 3)
    copies = Staging().copy({"t": matrix.t(), "expanded": torch.ones(1).expand(3)})
    assert copies["t"].is_contiguous()
    assert copies["t"].tolist() == matrix.t().tolist()
    assert copies["expanded"].tolist() == [1, 1, 1]


def test_gradients_are_left_behind() -> None:
    copy = Staging().copy({"w": torch.nn.Parameter(torch.ones(2))})["w"]
    assert not copy.requires_grad


@pytest.mark.parametrize(
    ("tensor", "kind"),
    [(torch.empty(2, device="meta"), "meta"), (torch.eye(2).to_sparse(), "torch.sparse_coo")],
)
def test_what_has_no_dense_data_is_refused_by_name(tensor: torch.Tensor, kind: str) -> None:
    with pytest.raises(UnsupportedError, match=f"w: a {kind} tensor cannot be saved"):
        Staging().copy({"w": tensor})


def test_shared_staging_is_seen_through_its_descriptor_and_leaves_no_name() -> None:
    staging = SharedStaging()
    source = tensors("stack_2x8KiB")
    staging.copy(source)
    other = map_shared(staging.descriptor, staging.nbytes)
    seen = {name: slot.view(other) for name, slot in staging.slots.items()}
    assert all(equal_bytes(seen[name], source[name]) for name in source)
    assert os.fstat(staging.descriptor).st_nlink == 0
    staging.close()
