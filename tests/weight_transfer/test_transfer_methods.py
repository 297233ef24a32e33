"""What every transfer method keeps: whole models, donors' bytes, pins, and nobody's half-done work.

Two of the published methods' mistakes would fail here: donors' counts that are never given back,
and a child for which the donor's whole list of layers is taken for what they have in common.
"""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_store_cases import equal, graph
from random_graphs import chains, graphs
from transfer_method_cases import (
    KEEPING,
    LASTING,
    METHODS,
    SEARCHING,
    count_steps,
    die_before_step,
    mixed,
    spread,
    values,
    zeros,
)

from bench_core.errors import SaveError, TensorMismatchError, TensorNotFoundError
from bench_core.weight_transfer import (
    ArchitectureGraph,
    GraphError,
    Match,
    ModelExistsError,
    RetiredError,
    StoreError,
    UnknownModelError,
    layers,
    sequential,
)
from bench_core.weight_transfer.methods import TransferMethod


@pytest.fixture(params=KEEPING)
def method(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TransferMethod]:
    with METHODS[request.param](tmp_path) as made:
        yield made


@pytest.fixture(params=LASTING)
def open_again(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], TransferMethod]:
    """Open the same models, as often as one likes."""
    with METHODS[request.param](tmp_path):
        return lambda: METHODS[request.param](tmp_path)


def store_child(
    method: TransferMethod,
    model: int,
    architecture: ArchitectureGraph,
    seed: int,
    *,
    hint: int,
    exclude: Collection[int] = (),
) -> dict[str, torch.Tensor]:
    """Store a model that has from its donor what they have in common; return its tensors."""
    tensors = values(architecture, seed)
    with method.retained(architecture, hint=hint, exclude=exclude) as match:
        assert match is not None
        method.fetch(match, architecture, tensors)
        method.store(model, architecture, tensors, match=match, accuracy=seed / 10)
    return tensors


def family(method: TransferMethod) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Store model 1 and its child 2, which has two of its three layers; return their tensors."""
    parent = graph(16, 16, 4)
    first = values(parent, 1)
    method.store(1, parent, first, accuracy=0.1)
    return first, store_child(method, 2, graph(16, 16, 5), 2, hint=1)


def nothing_remains(method: TransferMethod, folder: Path) -> bool:
    """Whether all models that are left can be retired, and then no byte is kept."""
    for model in method.models():
        method.retire(model)
    files = [p for part in ("weights", "pins", "segments") for p in folder.glob(f"{part}/*")]
    return method.nbytes() == 0 and not files


def test_models_come_back_bit_for_bit_buffers_and_odd_tensors_too(method: TransferMethod) -> None:
    architecture = mixed()
    given_ = values(architecture, 1)
    stored = method.store(5, architecture, given_, accuracy=0.5)
    assert stored.bytes_logical == architecture.nbytes
    assert stored.bytes_physical >= architecture.nbytes
    assert min(stored.data_ns, stored.meta_ns) > 0
    child = sequential([*architecture.layers[:4], layers.dense((16,), 3)])
    second = store_child(method, 3, child, 2, hint=5)
    assert method.models() == [3, 5]
    assert equal(method.get(5), given_)
    assert equal(method.get(3), second)
    shared = [name for name in given_ if not name.startswith("4.")]
    assert {"1.running_mean", "3.half", "3.count", "3.none"} <= set(shared)
    assert all(torch.equal(second[name], given_[name]) for name in shared)


def test_parameters_that_need_gradients_and_strided_ones_are_stored_and_filled(
    method: TransferMethod,
) -> None:
    architecture = graph(16)
    weight = torch.rand(8, 16).t().requires_grad_()
    bias = torch.nn.Parameter(torch.rand(16))
    method.store(1, architecture, {"0.weight": weight, "0.bias": bias})
    into = {"0.weight": torch.zeros(8, 16).t(), "0.bias": torch.nn.Parameter(torch.zeros(16))}
    with method.retained(architecture, hint=1) as match:
        assert match is not None
        method.fetch(match, architecture, into)
    assert torch.equal(into["0.weight"], weight) and torch.equal(into["0.bias"], bias)
    assert into["0.bias"].requires_grad


def test_a_model_without_tensors_is_a_model(method: TransferMethod) -> None:
    architecture = sequential([layers.activation((8,), "relu")])
    method.store(1, architecture, {})
    assert method.get(1) == {}
    with method.retained(architecture, hint=1) as match:
        assert match == Match(1, (0,), 1)
        method.fetch(match, architecture, {})
        method.retire(1)
        assert method.get(1) == {}
    assert method.models() == []
    assert method.nbytes() == 0


def test_layers_are_found_where_the_donor_has_them(method: TransferMethod) -> None:
    """The same towers in another order: names in the state dict differ, the tensors do not."""
    left, right, head = layers.dense((8,), 16), layers.dense((4,), 16), layers.concat([(16,)] * 2)
    donor = ArchitectureGraph((left, right, head), ((), (), (0, 1)))
    child = ArchitectureGraph((right, left, layers.dense((16,), 2), head), ((), (), (0,), (1, 0)))
    given_ = values(donor, 1)
    method.store(1, donor, given_)
    into = zeros(child)
    with method.retained(child, hint=1) as match:
        assert match == Match(1, (0, 1, 3), 3)
        method.fetch(match, child, into)
    assert torch.equal(into["0.weight"], given_["1.weight"])
    assert torch.equal(into["1.weight"], given_["0.weight"])
    assert not into["2.weight"].any()


def test_a_donor_with_more_layers_gives_what_is_common_and_leaves_the_rest_alone(
    method: TransferMethod,
) -> None:
    """The published Redis method returns all names of the donor."""
    first, _ = family(method)
    child = graph(16, 7)
    into = values(child, 3)
    before = {name: tensor.clone() for name, tensor in into.items()}
    with method.retained(child, hint=1, exclude=[2]) as match:
        assert match == Match(1, (0,), 1)
        method.fetch(match, child, into)
    assert all(torch.equal(into[name], first[name]) for name in ("0.weight", "0.bias"))
    assert all(torch.equal(into[name], before[name]) for name in ("1.weight", "1.bias"))


def test_nothing_in_common_is_no_donor(method: TransferMethod) -> None:
    family(method)
    with method.retained(graph(12), hint=1) as match:
        assert match is None
    assert method.match_with(1, graph(12)) is None
    assert method.best_match(graph(16, 16, 5), hint=1, exclude=[1, 2]) is None
    assert method.best_match(ArchitectureGraph((), ()), hint=1) is None


def test_destinations_that_do_not_fit_are_refused_before_anything_is_written(
    method: TransferMethod,
) -> None:
    family(method)
    child = graph(16, 16, 7)
    match = method.match_with(1, child)
    assert match == Match(1, (0, 1), 2)
    for wrong in (torch.zeros(16, 15), torch.zeros(16, 16, dtype=torch.bfloat16)):
        into = {**zeros(child), "1.weight": wrong}
        with pytest.raises(TensorMismatchError, match=r"1\.weight"):
            method.fetch(match, child, into)
        assert not any(tensor.any() for tensor in into.values())


def test_what_a_donor_cannot_give_is_told_before_anything_is_written(
    method: TransferMethod,
) -> None:
    family(method)
    child = graph(16, 16, 7)
    missing = {name: tensor for name, tensor in zeros(child).items() if name != "1.weight"}
    for positions, into, error, said in (
        ((0, 1), missing, TensorNotFoundError, r"no destination was given for '1\.weight'"),
        ((0, 2), zeros(child), TensorNotFoundError, r"model 1 has no tensor that equals '2\."),
        ((0, 3), zeros(child), GraphError, "no layer 3, expected 0 to 2"),
        ((0, -1), zeros(child), GraphError, "no layer -1, expected 0 to 2"),
    ):
        with pytest.raises(error, match=said):
            method.fetch(Match(1, positions, 2), child, into)
        assert not any(tensor.any() for tensor in into.values())


def test_tensors_that_are_not_the_models_are_refused_and_nothing_is_kept(
    method: TransferMethod, tmp_path: Path
) -> None:
    architecture = graph(16, 4)
    given_ = values(architecture, 1)
    with pytest.raises(TensorNotFoundError, match=r"1\.bias"):
        method.store(1, architecture, {k: v for k, v in given_.items() if k != "1.bias"})
    with pytest.raises(TensorMismatchError, match=r"1\.bias"):
        method.store(1, architecture, {**given_, "1.bias": torch.zeros(5)})
    with pytest.raises(TensorMismatchError, match=r"2\.bias"):
        method.store(1, architecture, {**given_, "2.bias": torch.zeros(5)})
    with pytest.raises(StoreError, match="no layer"):
        method.store(1, ArchitectureGraph((), ()), {})
    for model in (-1, 1 << 63):
        with pytest.raises(StoreError, match="model id"):
            method.store(model, architecture, given_)
    assert method.models() == []
    assert nothing_remains(method, tmp_path)
    method.store((1 << 63) - 1, architecture, given_)
    assert method.models() == [(1 << 63) - 1]


def test_unknown_models(method: TransferMethod) -> None:
    architecture = graph(16)
    assert method.best_match(architecture, hint=7) is None
    for call in (method.get, method.retain, method.retire):
        with pytest.raises(UnknownModelError, match="7"):
            call(7)
    with pytest.raises(UnknownModelError, match="7"):
        method.match_with(7, architecture)
    with pytest.raises(UnknownModelError, match="7"):
        method.fetch(Match(7, (0,), 1), architecture, zeros(architecture))
    method.release(7, "somewhere.1.1-1")


def test_the_second_writer_of_an_id_is_refused_and_changes_nothing(
    method: TransferMethod,
) -> None:
    _, second = family(method)
    before = method.nbytes()
    other = graph(12, 7)
    with pytest.raises(ModelExistsError, match="2"):
        method.store(2, other, values(other, 3))
    assert method.nbytes() == before
    assert method.sweep() == 0
    assert equal(method.get(2), second)
    method.retire(2)
    with pytest.raises(ModelExistsError, match="2"):
        method.store(2, other, values(other, 3))
    assert method.models() == [1]


def test_what_a_pin_keeps_outlives_retirement_until_the_last_pin_goes(
    method: TransferMethod, tmp_path: Path
) -> None:
    first, _ = family(method)
    method.retire(2)
    one, two = method.retain(1), method.retain(1)
    assert method.retire(1) == 0
    assert method.models() == []
    assert method.best_match(graph(16, 16, 4), hint=1) is None
    assert equal(method.get(1), first)
    method.release(1, one)
    method.release(1, one)
    assert equal(method.get(1), first)
    assert method.nbytes() == graph(16, 16, 4).nbytes
    method.release(1, two)
    assert nothing_remains(method, tmp_path)
    for call in (method.get, method.retain):
        with pytest.raises(RetiredError):
            call(1)
    with pytest.raises(RetiredError, match="model 1 is retired; ask for another donor"):
        method.match_with(1, graph(16))


def test_bytes_and_pins_return_to_zero(method: TransferMethod, tmp_path: Path) -> None:
    """The published Redis method never gives back the count of a donor."""
    family(method)
    child = graph(16, 16, 6)
    store_child(method, 3, child, 3, hint=2)
    with pytest.raises(ZeroDivisionError), method.retained(child, hint=3) as match:
        assert match is not None and match.donor == 3
        raise ZeroDivisionError
    before = method.nbytes()
    assert sum([method.retire(model) for model in (1, 3, 2)]) == before
    assert method.nbytes() == 0
    assert [method.retire(model) for model in (1, 2, 3)] == [0, 0, 0]
    assert method.sweep() == 0
    assert nothing_remains(method, tmp_path)


def test_a_donor_retired_before_the_fetch_is_refused(method: TransferMethod) -> None:
    parent = graph(16, 4)
    method.store(1, parent, values(parent, 1))
    match = method.match_with(1, parent)
    assert match is not None
    method.retire(1)
    into = zeros(parent)
    with pytest.raises(RetiredError):
        method.fetch(match, parent, into)
    assert not any(tensor.any() for tensor in into.values())


def test_a_donor_retired_between_match_and_pin_gives_way_to_the_next(
    method: TransferMethod, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = family(method)
    searches = method.best_match(graph(16, 16, 5)) is not None
    found = type(method).best_match

    def retired_at_once(
        self: TransferMethod,
        architecture: ArchitectureGraph,
        *,
        hint: int | None = None,
        exclude: Collection[int] = (),
    ) -> Match | None:
        match = found(self, architecture, hint=hint, exclude=exclude)
        if match is not None and match.donor == 2:
            self.retire(2)
        return match

    monkeypatch.setattr(type(method), "best_match", retired_at_once)
    child = graph(16, 16, 5)
    into = zeros(child)
    with method.retained(child, hint=2) as match:
        if not searches:
            assert match is None
            return
        assert match == Match(1, (0, 1), 2)
        method.fetch(match, child, into)
    assert torch.equal(into["1.weight"], first["1.weight"])


def test_fetches_beside_retirements_give_the_right_bytes_or_are_refused(
    open_again: Callable[[], TransferMethod],
) -> None:
    """Models full of their own number: a mixture, or a hole, would be seen."""
    architecture = graph(64, 64)

    def full_of(model: int) -> dict[str, torch.Tensor]:
        return {n: torch.full_like(t, float(model)) for n, t in zeros(architecture).items()}

    ready, go = os.pipe()
    reader = os.fork()
    if not reader:
        os.read(ready, 1)
        with _ending_the_process(), open_again() as method:
            while models := method.models():
                into = zeros(architecture)
                match = Match(models[0], (0, 1), 2)
                with contextlib.suppress(RetiredError):
                    if len(models) % 2:
                        method.fetch(match, architecture, into)
                    else:
                        pin = method.retain(match.donor)
                        method.fetch(match, architecture, into)
                        method.release(match.donor, pin)
                    assert equal(into, full_of(match.donor))
    with open_again() as method:
        for model in range(1, 25):
            method.store(model, architecture, full_of(model))
        os.write(go, b".")
        for model in range(1, 25):
            method.retire(model)
        assert _ended_well(reader)
        assert method.nbytes() == 0
    os.close(ready)
    os.close(go)


def test_of_two_processes_that_store_one_id_at_once_one_wins(
    open_again: Callable[[], TransferMethod], tmp_path: Path
) -> None:
    ids = range(1, 7)
    architecture = graph(64, 64)
    ready, go = os.pipe()
    writers = []
    for seed in (1, 2):
        writer = os.fork()
        if not writer:
            with _ending_the_process(), open_again() as method:
                os.close(go)
                os.read(ready, 1)  # until the other end is closed
                for model in ids:
                    with contextlib.suppress(ModelExistsError):
                        method.store(model, architecture, values(architecture, seed))
                        (tmp_path / f"won {model} {seed}").touch()
        writers.append(writer)
    os.close(ready)
    os.close(go)
    ended = [_ended_well(writer) for writer in writers]
    assert all(ended)
    with open_again() as method:
        assert method.models() == list(ids)
        for model in ids:
            (winner,) = tmp_path.glob(f"won {model} *")
            assert equal(method.get(model), values(architecture, int(winner.name[-1])))
        assert method.nbytes() == len(ids) * architecture.nbytes
        assert method.sweep() == 0
        assert nothing_remains(method, tmp_path)


def test_threads_of_one_process_store_one_id_at_once() -> None:
    """What processes do, for the method that no other process sees."""
    architecture = graph(64, 64)
    with METHODS["store memory"](Path()) as method:
        won: list[int] = []

        def write(seed: int) -> None:
            with contextlib.suppress(ModelExistsError):
                method.store(1, architecture, values(architecture, seed))
                won.append(seed)

        threads = [threading.Thread(target=write, args=[seed]) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        (winner,) = won
        assert equal(method.get(1), values(architecture, winner))
        assert method.nbytes() == architecture.nbytes


def test_a_writer_killed_before_any_step_leaves_a_whole_model_or_nothing(
    open_again: Callable[[], TransferMethod], tmp_path: Path
) -> None:
    parent, child = graph(16, 16, 4), graph(16, 16, 6)
    first = values(parent, 1)
    with open_again() as method:
        method.store(0, parent, first)
        expected = store_child(method, 99, child, 3, hint=0)
        more = method.nbytes() - parent.nbytes

    def write(method: TransferMethod, model: int) -> None:
        store_child(method, model, child, 3, hint=0, exclude=range(1, 100))

    steps = spread(count_steps(open_again, lambda method: write(method, 98)), most=12)
    for count, step in enumerate(steps, start=3):
        die_before_step(step, open_again, partial(write, model=step))
        with open_again() as method:
            visible = method.models()
            method.sweep()
            assert method.models() == visible
            assert method.sweep() == 0
            if step not in visible:
                write(method, step)
            assert equal(method.get(step), expected)
            assert method.nbytes() == parent.nbytes + count * more
    with open_again() as method:
        assert equal(method.get(0), first)
        assert nothing_remains(method, tmp_path)


def test_a_retirement_killed_before_any_step_is_done_by_a_sweep_or_not_begun(
    open_again: Callable[[], TransferMethod], tmp_path: Path
) -> None:
    parent, child = graph(16, 16, 4), graph(16, 16, 6)
    first = values(parent, 1)
    with open_again() as method:
        method.store(0, parent, first)
        for model in range(1, 9):
            store_child(method, model, child, 3, hint=0, exclude=range(1, 9))
        each = (method.nbytes() - parent.nbytes) // 8
    steps = spread(count_steps(open_again, lambda method: method.retire(8)), most=6)
    for model, step in enumerate(steps, start=1):
        die_before_step(step, open_again, partial(type(method).retire, model=model))
        with open_again() as method:
            visible = method.models()
            method.sweep()
            assert method.models() == visible
            assert method.sweep() == 0
            method.retire(model)
            assert method.nbytes() == parent.nbytes + (7 - model) * each
            with pytest.raises(RetiredError):
                method.get(model)
            assert equal(method.get(0), first)
    with open_again() as method:
        assert nothing_remains(method, tmp_path)


def test_pins_of_a_dead_process_are_swept(open_again: Callable[[], TransferMethod]) -> None:
    with open_again() as method:
        family(method)
    pid = os.fork()
    if not pid:
        method = open_again()
        method.retain(1)
        method.retain(2)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    with open_again() as method:
        kept = method.retain(1)
        method.retire(1)
        method.retire(2)
        assert method.nbytes() > 0
        assert method.sweep() == 2
        assert method.models() == []
        assert method.nbytes() == graph(16, 16, 4).nbytes
        method.release(1, kept)
        assert method.nbytes() == 0


@pytest.mark.parametrize("name", ["file", "file hdf5", "file direct", "redis_scan", "store files"])
def test_on_a_full_disk_nothing_remains(name: str, make_small_disk: Callable[[int], Path]) -> None:
    disk = make_small_disk(8)
    small, large = graph(16), graph(2048, 2048)
    with METHODS[name](disk / "models") as method:
        method.store(1, small, values(small, 1))
        before = method.nbytes()
        with pytest.raises((SaveError, StoreError), match="not written"):
            method.store(2, large, values(large, 2))
        assert method.models() == [1]
        assert method.nbytes() == before
        assert method.sweep() == 0
        method.store(2, small, values(small, 2))
        assert equal(method.get(2), values(small, 2))
        method.retire(1)
        method.retire(2)
        assert nothing_remains(method, disk / "models")


@given(st.data())
@settings(max_examples=10, deadline=None)
def test_all_methods_that_search_find_the_same_donors_and_the_same_bytes(
    data: st.DataObject,
) -> None:
    drawn = st.one_of(chains(), graphs())
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        methods = [stack.enter_context(METHODS[n](Path(folder, n))) for n in SEARCHING]
        hinted = stack.enter_context(METHODS["file"](Path(folder, "file")))
        live: list[int] = []
        for step in range(data.draw(st.integers(1, 7))):
            if live and data.draw(st.integers(0, 3)) == 0:
                model = live.pop(data.draw(st.integers(0, len(live) - 1)))
                for method in (*methods, hinted):
                    method.retire(model)
                continue
            architecture = data.draw(drawn)
            accuracy = data.draw(st.sampled_from([None, 0.1, 0.2, float("nan")]))
            exclude = data.draw(st.sets(st.sampled_from(live))) if live else set()
            results = [_step(m, step, architecture, accuracy, exclude) for m in methods]
            match, tensors = results[0]
            hint = None if match is None else match.donor
            results.append(_step(hinted, step, architecture, accuracy, exclude, hint))
            for other, others in results[1:]:
                assert other == match
                assert equal(others, tensors)
            live.append(step)
            for method in (*methods, hinted):
                assert method.models() == live
        for method in (*methods, hinted):
            for model in live:
                method.retire(model)
            assert method.nbytes() == method.sweep() == 0


def test_without_transfer_nothing_is_found_and_nothing_is_kept() -> None:
    architecture = graph(16)
    with METHODS["noop"](Path()) as method:
        stored = method.store(1, architecture, values(architecture, 1), accuracy=0.5)
        assert (stored.bytes_logical, stored.bytes_physical) == (architecture.nbytes, 0)
        with method.retained(architecture, hint=1) as match:
            assert match is None
        assert method.models() == []
        assert method.retire(1) == method.nbytes() == method.sweep() == 0
        for call in (method.get, method.retain):
            with pytest.raises(UnknownModelError, match="1"):
                call(1)
        with pytest.raises(TensorNotFoundError, match=r"0\.weight"):
            method.store(2, architecture, {})


def _step(
    method: TransferMethod,
    model: int,
    architecture: ArchitectureGraph,
    accuracy: float | None,
    exclude: Collection[int],
    hint: int | None = None,
) -> tuple[Match | None, dict[str, torch.Tensor]]:
    """Transfer, store and read back; return the donor and the model's bytes."""
    tensors = values(architecture, model)
    with method.retained(architecture, exclude=exclude, hint=hint) as match:
        if match is not None:
            method.fetch(match, architecture, tensors)
        method.store(model, architecture, tensors, match=match, accuracy=accuracy)
    assert equal(method.get(model), tensors)
    return match, tensors


@contextlib.contextmanager
def _ending_the_process() -> Iterator[None]:
    """Run a forked child's block; it ends with 0 or, if anything was raised, with 1."""
    try:
        yield
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(1)
    os._exit(0)


def _ended_well(pid: int) -> bool:
    return os.waitpid(pid, 0)[1] == 0
