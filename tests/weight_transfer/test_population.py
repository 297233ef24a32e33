"""Populations: names, independence of the workers, going on after a stop, files."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_core.errors import CorruptFileError, SaveError, UnsupportedError
from bench_core.weight_transfer import SpaceError, spaces
from bench_core.weight_transfer.population import evolve, generate
from bench_core.weight_transfer.population_chunks import CHUNK, Chunk
from bench_core.weight_transfer.population_files import Population, load
from bench_core.weight_transfer.prefix_names import prefix_names

SPACE = spaces.get("feed-forward", layers=5, widths=(8, 16))
N = 2 * CHUNK + 77


def equal(one: Population, other: Population) -> bool:
    return (
        one.space == other.space
        and one.archs.tobytes() == other.archs.tobytes()
        and one.names.tobytes() == other.names.tobytes()
    )


@given(
    st.lists(
        st.tuples(*[st.one_of(st.integers(0, 2), st.integers(0, 65535))] * 4),
        min_size=1,
        max_size=20,
    )
)
@settings(deadline=None)
def test_names_are_equal_exactly_where_the_prefixes_are(rows: list[tuple[int, ...]]) -> None:
    names = prefix_names(np.asarray(rows, dtype=np.uint16))
    prefix_of: dict[int, tuple[int, ...]] = {}
    name_of: dict[tuple[int, ...], int] = {}
    for row, row_names in zip(rows, names.tolist(), strict=True):
        for end, name in enumerate(row_names, start=1):
            assert prefix_of.setdefault(name, row[:end]) == row[:end]
            assert name_of.setdefault(row[:end], name) == name


def test_all_prefixes_of_many_rows_have_names_of_their_own() -> None:
    population = generate(spaces.get("dense-skip"), 20_000, seed=3)
    for end in (1, 2, 5, 9, 37):
        prefixes = np.unique(population.archs[:, :end], axis=0)
        assert len(np.unique(population.names[:, end - 1])) == len(prefixes)
    whole = [len(np.unique(column)) for column in population.names.T]
    assert len(np.unique(population.names)) == sum(whole)


def test_names_behind_a_changed_choice_have_half_of_their_bits_flipped() -> None:
    rng = np.random.default_rng(0)
    rows = spaces.get("dense-skip").random(2000, rng)
    other = rows.copy()
    other[:, 0] ^= 1
    flipped = (prefix_names(rows) ^ prefix_names(other)).view(np.uint8)
    per_bit = np.unpackbits(flipped.reshape(2000, 37, 8), axis=-1).mean(axis=0)
    # Of 2,000 rows, whose prefixes all differ from there on; the standard deviation is 0.011.
    assert (np.abs(per_bit[9:] - 0.5) < 0.07).all()


def test_the_result_does_not_depend_on_workers_or_executor() -> None:
    one = generate(SPACE, N, seed=4)
    assert one.archs.shape == one.names.shape == (N, 5)
    assert equal(one, generate(SPACE, N, seed=4, workers=3))
    children = evolve(one, N - 5, seed=9)
    assert equal(children, evolve(one, N - 5, seed=9, workers=3))
    with ProcessPoolExecutor(2) as executor:
        assert equal(one, generate(SPACE, N, seed=4, executor=executor))
        assert equal(children, evolve(one, N - 5, seed=9, executor=executor))
    assert not equal(one, generate(SPACE, N, seed=5))


def test_chunks_differ_from_each_other() -> None:
    archs = generate(spaces.get("dense-skip"), 2 * CHUNK, seed=0).archs
    assert not (archs[:CHUNK] == archs[CHUNK:]).all(axis=1).any()


@pytest.mark.parametrize("n", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1])
def test_no_remainder_is_lost(n: int) -> None:
    population = generate(SPACE, n, seed=1, workers=2)
    assert len(population) == n
    assert population.names.shape == (n, 5)
    assert len(evolve(population, n, seed=1)) == n


def test_children_stand_where_their_parents_stood() -> None:
    parents = generate(SPACE, N, seed=4)
    children = evolve(parents, CHUNK + 10, seed=9, beta=3)
    changed = (parents.archs != children.archs).sum(axis=1)
    assert (changed[: CHUNK + 10] == 1).all()
    assert not changed[CHUNK + 10 :].any()
    assert (children.names == prefix_names(children.archs)).all()


def test_a_stopped_run_goes_on_with_what_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = generate(SPACE, N, seed=4)
    drawn: list[int] = []
    random = type(SPACE).random

    def stops(space: spaces.SearchSpace, n: int, rng: np.random.Generator) -> spaces.Archs:
        if len(drawn) == 2:
            raise KeyboardInterrupt
        drawn.append(n)
        return random(space, n, rng)

    monkeypatch.setattr(type(SPACE), "random", stops)
    with pytest.raises(KeyboardInterrupt):
        generate(SPACE, N, seed=4, folder=tmp_path / "chunks")
    assert len(list((tmp_path / "chunks").iterdir())) == 2
    drawn[:] = [0]
    assert equal(whole, generate(SPACE, N, seed=4, folder=tmp_path / "chunks"))
    assert drawn == [0, 77]
    monkeypatch.undo()
    # Nothing of it is taken for another seed's, and a damaged chunk is made again.
    other = generate(SPACE, N, seed=5, folder=tmp_path / "chunks")
    assert equal(other, generate(SPACE, N, seed=5))
    for chunk in (tmp_path / "chunks").iterdir():
        chunk.write_bytes(chunk.read_bytes()[:-40])
    assert equal(whole, generate(SPACE, N, seed=4, folder=tmp_path / "chunks"))


def test_kept_chunks_of_children_are_those_of_their_parents(tmp_path: Path) -> None:
    one, other = generate(SPACE, 100, seed=1), generate(SPACE, 100, seed=2)
    for parents in (one, other, one):
        kept = evolve(parents, 50, seed=3, folder=tmp_path)
        assert equal(kept, evolve(parents, 50, seed=3))
    assert len(list(tmp_path.iterdir())) == 2


def test_chunks_are_told_apart_by_all_that_decides_them() -> None:
    def digest(space: spaces.SearchSpace = SPACE, size: int = 3, seed: int = 0) -> bytes:
        return Chunk(space, size, np.random.SeedSequence(seed)).digest()

    other = spaces.get("feed-forward", layers=5, widths=(8, 17))
    assert len({digest(), digest(size=4), digest(seed=1), digest(other)}) == 4
    assert digest() == digest()


@pytest.mark.parametrize("n", [0, 300])
def test_a_saved_population_is_read_back(tmp_path: Path, n: int) -> None:
    population = generate(SPACE, n, seed=1)
    path = tmp_path / "population.npz"
    population.save(path)
    assert equal(load(path), population)


def test_equal_populations_make_equal_files(tmp_path: Path) -> None:
    for name in ("one.npz", "other.npz"):
        generate(SPACE, 300, seed=1).save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "other.npz").read_bytes()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_flipped_byte_is_noticed_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("flipped") / "population.npz"
    population = generate(SPACE, 20, seed=1)
    population.save(path)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        read = load(path)
    except CorruptFileError as error:
        assert "\n" not in str(error)
    else:
        assert equal(read, population)


def test_foreign_files_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "population.npz"
    population = generate(SPACE, 20, seed=1)
    population.save(path)
    content = path.read_bytes()
    with np.load(path) as archive:
        parts = dict(archive)
    for wrong in (b"", b"PK", b"something else entirely", content[: len(content) // 2]):
        path.write_bytes(wrong)
        with pytest.raises(CorruptFileError):
            load(path)
    replaced = {
        "archs": [parts["archs"].astype(float), parts["archs"][:, :3], parts["archs"] + 2],
        "names": [parts["names"] + 1, parts["names"][:5]],
        "space": [np.frombuffer(b"{}", np.uint8), np.frombuffer(b'{"name": "x"}', np.uint8)],
    }
    for name, values in replaced.items():
        for value in values:
            np.savez(path, **{**parts, name: value})
            with pytest.raises(CorruptFileError) as caught:
                load(path)
            assert "\n" not in str(caught.value)


def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    population = generate(SPACE, 10, seed=1)
    with pytest.raises(UnsupportedError, match=r"expected \.npz"):
        population.save(tmp_path / "population.csv")
    with pytest.raises(SaveError, match="no such folder"):
        population.save(tmp_path / "none" / "population.npz")
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "population.npz")
    with pytest.raises(SpaceError, match="at most the population's 10"):
        evolve(population, 11, seed=1)
    with pytest.raises(SpaceError, match="beta is 0"):
        evolve(population, 1, seed=1, beta=0)
    with pytest.raises(SpaceError, match="-1 architectures"):
        generate(SPACE, -1, seed=1)
    with pytest.raises(SpaceError, match="seed -1"):
        generate(SPACE, 1, seed=-1)
    with pytest.raises(SpaceError, match="0 workers"):
        generate(SPACE, 1, seed=1, workers=0)
