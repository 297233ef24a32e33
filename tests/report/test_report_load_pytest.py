from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from report_builders import machine, pytest_benchmark, record, write_pytest

from harness.errors import InputError
from harness.report.load import load


def test_the_harness_records_are_taken_where_there_are_some(tmp_path: Path) -> None:
    records = [asdict(record(0.2, runner="pytest")), asdict(record(0.3, runner="pytest", round=1))]
    item = pytest_benchmark("case", [9.0, 9.0], extra_info={"records": records})
    path = write_pytest(tmp_path / "out.json", [item], bench_core=machine())

    results = load([path])

    assert list(results.samples["value"]) == [0.2, 0.3]
    assert list(results.samples["round"]) == [0, 1]
    assert set(results.samples["runner"]) == {"pytest"}
    assert results.runs[0].machine == "amd-epyc-2c-vm"
    assert results.runs[0].setting["torch"] == "2.13.0"


def test_other_suites_are_read_from_their_rounds(tmp_path: Path) -> None:
    item = pytest_benchmark(
        "test_load[direct-1]",
        [0.1, 0.2],
        params={"format": "direct", "size": 1},
        extra_info={"bytes": 1e9},
    )
    path = write_pytest(tmp_path / "out.json", [item])

    table = load([path]).samples

    assert list(table["case"]) == ["test_x.py::test_load('direct', 1)"] * 2
    assert list(table["gb_per_s"]) == [10.0, 5.0]


def test_without_data_a_row_stands_for_the_rounds(tmp_path: Path) -> None:
    item = pytest_benchmark("test_x", [0.1, 0.2, 0.3])
    del item["stats"]["data"]
    path = write_pytest(tmp_path / "out.json", [item])

    row = load([path]).samples.iloc[0]

    assert (row["n"], row["value"]) == (3, 0.2)
    assert (row["q25"], row["q75"]) == pytest.approx((0.15, 0.25))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"stats": {"data": ["x"]}}, r"benchmarks\[0\]: stats.data\[0\]: found a string \('x'\)"),
        ({"stats": {}}, r"stats: median: found null, expected a number"),
        ({"fullname": 3}, r"benchmarks\[0\]: fullname: found 3, expected a string"),
        ({"extra_info": {"bytes": True}}, r"extra_info.bytes: found True, expected a number"),
        ({"extra_info": {"records": [{"benchmark": "x"}]}}, r"records\[0\]: a sample line lacks"),
    ],
)
def test_errors_name_file_field_found_and_expected(
    tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    path = write_pytest(tmp_path / "out.json", [pytest_benchmark("test_x", [0.1], **change)])

    with pytest.raises(InputError, match=expected) as caught:
        load([path])

    assert str(caught.value).startswith(str(path))


def test_what_pytest_benchmark_itself_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "test_real.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('size', [1, 2])\n"
        "def test_sum(benchmark, size):\n"
        "    benchmark.pedantic(sum, args=([size],), rounds=4)\n"
    )
    options = ["-p", "no:cacheprovider", "--benchmark-json=out.json", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout

    results = load([tmp_path / "out.json"])

    content = json.loads((tmp_path / "out.json").read_text())
    expected = [value for item in content["benchmarks"] for value in item["stats"]["data"]]
    assert list(results.samples["value"]) == expected
    assert list(results.samples["param_size"]) == [1] * 4 + [2] * 4
    assert results.runs[0].setting["python"].count(".") == 2
