"""The header check: what is wrong is refused by name, and safetensors itself is the oracle."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open

from bench_core.errors import CorruptFileError, UnsupportedError
from bench_core.formats.direct import Direct
from bench_core.formats.direct.header import Header, read_header
from bench_core.formats.direct.open_file import OpenFile

A = {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}
PLAIN = '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'


def read_header_of(path: Path) -> Header:
    file = OpenFile(path)
    try:
        return read_header(file)
    finally:
        file.close()


def file_bytes(header: object, data: bytes = b"abcd") -> bytes:
    if isinstance(header, bytes):
        text = header
    else:
        text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + data


def with_field(field: str) -> str:
    return PLAIN.replace("[0,4]}", "[0,4]," + field + "}")


CORRUPT = {
    "empty file": b"",
    "seven bytes": b"1234567",
    "length above the limit": struct.pack("<Q", 100_000_001) + b"x" * 10,
    "length above the limit of 64 bits signed": struct.pack("<Q", 2**63) + b"x" * 10,
    "header longer than the file": struct.pack("<Q", 50) + b"{}",
    "no text": file_bytes(b"", b""),
    "not UTF-8": file_bytes(b'{"\xff":1}'),
    "byte order mark": file_bytes(b"\xef\xbb\xbf" + PLAIN.encode()),
    "not JSON": file_bytes("{"),
    "text after the JSON": file_bytes(PLAIN + "x"),
    "zero byte after the JSON": file_bytes(PLAIN + "\0"),
    "a list": file_bytes("[]", b""),
    "control character in a name": file_bytes('{"a\x01":' + json.dumps(A) + "}"),
    "half a surrogate pair": file_bytes('{"\\ud800":' + json.dumps(A) + "}"),
    "half a surrogate pair in metadata": file_bytes('{"__metadata__":{"k":"\\udc00"},' + PLAIN[1:]),
    "metadata not strings": file_bytes({"__metadata__": {"k": 1}, "a": A}),
    "metadata a list": file_bytes({"__metadata__": ["k"], "a": A}),
    "metadata twice": file_bytes('{"__metadata__":{},"__metadata__":{},' + PLAIN[1:]),
    "name twice": file_bytes(PLAIN[:-1] + "," + PLAIN[1:]),
    "field twice": file_bytes(with_field('"dtype":"U8"')),
    "tensor null": file_bytes('{"b":null,' + PLAIN[1:]),
    "tensor a list": file_bytes('{"a":["U8",[4],[0,4]]}'),
    "no dtype": file_bytes({"a": {"shape": [4], "data_offsets": [0, 4]}}),
    "no shape": file_bytes({"a": {"dtype": "U8", "data_offsets": [0, 4]}}),
    "no offsets": file_bytes({"a": {"dtype": "U8", "shape": [4]}}),
    "unknown dtype": file_bytes({"a": A | {"dtype": "u8"}}),
    "dtype a list": file_bytes({"a": A | {"dtype": ["U8"]}}),
    "shape a number": file_bytes({"a": A | {"shape": 4}}),
    "negative length": file_bytes({"a": A | {"shape": [-4]}}),
    "two negative lengths": file_bytes({"a": A | {"shape": [-2, -2]}}),
    "length minus zero": file_bytes('{"a":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}', b""),
    "length a float": file_bytes({"a": A | {"shape": [4.0]}}),
    "length true": file_bytes({"a": A | {"shape": [True], "data_offsets": [0, 1]}}, b"a"),
    "length of 5000 digits": file_bytes(PLAIN.replace("[4]", "[" + "9" * 5000 + "]")),
    "product of lengths overflows": file_bytes({"a": A | {"shape": [2**62, 4, 0]}}),
    "many huge lengths": file_bytes({"a": A | {"shape": [2**63] * 2000}}),
    "no length fits 64 bits": file_bytes(
        {"a": A | {"shape": [0, 2**63], "data_offsets": [0, 0]}}, b""
    ),
    "shape does not fit the offsets": file_bytes({"a": A | {"shape": [5]}}),
    "dtype does not fit the offsets": file_bytes({"a": A | {"dtype": "F32"}}),
    "offsets reversed": file_bytes({"a": A | {"data_offsets": [4, 0]}}),
    "three offsets": file_bytes({"a": A | {"data_offsets": [0, 4, 8]}}),
    "offset true": file_bytes({"a": A | {"shape": [1], "data_offsets": [False, True]}}, b"a"),
    "offset beyond 64 bits": file_bytes({"a": A | {"data_offsets": [2**64, 2**64 + 4]}}),
    "gap at the start": file_bytes({"a": A | {"data_offsets": [1, 5]}}, b"abcde"),
    "gap between": file_bytes({"a": A, "b": A | {"data_offsets": [5, 9]}}, b"abcdefghi"),
    "overlap": file_bytes({"a": A, "b": A | {"data_offsets": [2, 6]}}, b"abcdef"),
    "the same bytes twice": file_bytes({"a": A, "b": A}),
    "data too short": file_bytes({"a": A}, b"abc"),
    "data too long": file_bytes({"a": A}, b"abcde"),
    "NaN": file_bytes(with_field('"x":NaN')),
    "infinity": file_bytes(with_field('"x":1e400')),
    "nested 126 deep": file_bytes(with_field('"x":' + "[" * 126 + "]" * 126)),
    "nested 100,000 deep": file_bytes(with_field('"x":' + "[" * 100_000 + "]" * 100_000)),
}

# Where this reader is stricter than the library, by the words of the format.
STRICTER = {"name twice", "tensor a list"}


@pytest.mark.parametrize("what", CORRUPT)
def test_corrupt_headers_are_refused_by_name(tmp_path: Path, what: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(CORRUPT[what])
    with pytest.raises(CorruptFileError) as caught:
        read_header_of(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 500
    if what not in STRICTER:
        with pytest.raises((SafetensorError, TypeError)), safe_open(path, "pt") as file:
            file.get_tensor("a")


ACCEPTED = {
    "plain": file_bytes({"a": A}),
    "no tensors": file_bytes("{}", b""),
    "metadata alone": file_bytes({"__metadata__": {"k": "v"}}, b""),
    "metadata null": file_bytes({"__metadata__": None, "a": A}),
    "white space around": file_bytes(" \n" + PLAIN + "\t\r\n  "),
    "unknown fields": file_bytes(with_field('"x":[1,{"y":null}],"z":-0')),
    "unknown field nested 125 deep": file_bytes(with_field('"x":' + "[" * 125 + "]" * 125)),
    "empty name": file_bytes({"": A}),
    "zero in a name": file_bytes({"a\0": A}),
    "surrogate pair": file_bytes('{"\\ud83d\\ude00":' + PLAIN[5:]),
    "out of order": file_bytes({"b": A | {"data_offsets": [4, 8]}, "a": A}, b"abcdefgh"),
    "empty tensors between": file_bytes(
        {
            "z": {"dtype": "F32", "shape": [3, 0], "data_offsets": [4, 4]},
            "b": A | {"data_offsets": [4, 8]},
            "a": A,
            "y": {"dtype": "F32", "shape": [0, 2**62, 4], "data_offsets": [0, 0]},
        },
        b"abcdefgh",
    ),
    "scalar": file_bytes({"a": {"dtype": "F32", "shape": [], "data_offsets": [0, 4]}}),
    "misaligned": file_bytes(
        {
            "a": {"dtype": "U8", "shape": [3], "data_offsets": [0, 3]},
            "b": {"dtype": "F64", "shape": [2], "data_offsets": [3, 19]},
            "c": {"dtype": "I16", "shape": [1], "data_offsets": [19, 21]},
        },
        bytes(range(21)),
    ),
    "many dimensions": file_bytes({"a": {**A, "shape": [1] * 64 + [4]}}),
}


def assert_same_bytes(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.dtype == theirs.dtype
    assert ours.shape == theirs.shape
    assert torch.equal(ours.reshape(-1).view(torch.uint8), theirs.reshape(-1).view(torch.uint8))


def assert_reads_as_safetensors(path: Path) -> None:
    with Direct().open(path) as reader, safe_open(path, "pt") as oracle:
        tensors = reader.read()
        assert set(tensors) == set(oracle.keys())
        for name, tensor in tensors.items():
            assert_same_bytes(tensor, oracle.get_tensor(name))
        assert (reader.header.metadata or None) == (oracle.metadata() or None)


@pytest.mark.parametrize("what", ACCEPTED)
def test_what_safetensors_accepts_reads_the_same(tmp_path: Path, what: str) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(ACCEPTED[what])
    assert_reads_as_safetensors(path)


@pytest.mark.parametrize(("code", "nbytes"), [("F4", 2), ("F6_E2M3", 3), ("F6_E3M2", 3)])
def test_packed_types_are_unsupported_not_corrupt(tmp_path: Path, code: str, nbytes: int) -> None:
    path = tmp_path / "model.safetensors"
    header = {"a": {"dtype": code, "shape": [4], "data_offsets": [0, nbytes]}}
    path.write_bytes(file_bytes(header, bytes(nbytes)))
    with pytest.raises(UnsupportedError, match=f"'a' has type {code}"):
        read_header_of(path)


def test_a_header_longer_than_a_page_and_a_chunk(tmp_path: Path) -> None:
    count = 40_000
    header = {
        f"tensor.{i:06d}": {"dtype": "U8", "shape": [1], "data_offsets": [i, i + 1]}
        for i in range(count)
    }
    path = tmp_path / "model.safetensors"
    path.write_bytes(file_bytes(header, bytes(i % 251 for i in range(count))))
    assert path.stat().st_size > 2 << 20
    with Direct().open(path) as reader:
        tensors = reader.read()
    assert [int(tensor) for tensor in tensors.values()] == [i % 251 for i in range(count)]


# Fuzzing: values near what a header holds, and mutations of the bytes of a valid file.

sizes = st.one_of(
    st.integers(0, 9), st.sampled_from([-1, -0.0, 4.0, True, None, "4", 2**31, 2**63, 2**64])
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["U8", "F32", "BF16", "BOOL", "F8_E4M3", "C64", "F4", "u8", 8]),
        "shape": st.one_of(st.lists(sizes, max_size=3), st.just(4)),
        "data_offsets": st.one_of(st.lists(sizes, max_size=3), st.just([0, 4])),
        "other": st.just([1]),
    },
)
headers = st.dictionaries(
    st.sampled_from(["a", "b", "__metadata__", ""]), st.one_of(fields, st.just({"k": "v"}))
)


def assert_agrees_with_oracle(content: bytes) -> None:
    """Refused by safetensors: refused here. Accepted there: the same tensors, or unsupported."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        path.write_bytes(content)
        try:
            with safe_open(path, "pt") as oracle:
                for name in oracle.keys():  # noqa: SIM118
                    oracle.get_tensor(name)
        except (SafetensorError, TypeError, RuntimeError, OverflowError):
            with pytest.raises((CorruptFileError, UnsupportedError)):
                read_header_of(path)
            return
        try:
            assert_reads_as_safetensors(path)
        except UnsupportedError as error:
            assert "has type F4" in str(error)
        except CorruptFileError as error:
            assert " twice" in str(error) or "an object expected" in str(error)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(header=headers, data=st.binary(max_size=12))
@example(header={"a": A | {"dtype": "F4", "shape": [2, 4]}}, data=b"abcd")
def test_random_headers_agree_with_safetensors(header: dict[str, object], data: bytes) -> None:
    assert_agrees_with_oracle(file_bytes(header, data))


VALID = file_bytes(
    '{"__metadata__":{"k":"v"},"a":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]},'
    '"b":{"dtype":"F16","shape":[3],"data_offsets":[4,10]}}   ',
    b"abcdefghij",
)


@settings(max_examples=300, deadline=None)
@given(
    position=st.integers(0, len(VALID) - 1),
    removed=st.integers(0, 3),
    inserted=st.one_of(
        st.binary(max_size=2),
        st.sampled_from([b",", b"{", b"[", b'"', b"\\u", b"0", b"-0", b"1e9"]),
    ),
)
def test_mutated_files_agree_with_safetensors(position: int, removed: int, inserted: bytes) -> None:
    assert_agrees_with_oracle(VALID[:position] + inserted + VALID[position + removed :])


@settings(max_examples=100, deadline=None)
@given(length=st.integers(0, len(VALID) - 1))
def test_truncated_files_are_refused(length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.safetensors")
        path.write_bytes(VALID[:length])
        with pytest.raises(CorruptFileError, match=r"model\.safetensors"):
            read_header_of(path)
