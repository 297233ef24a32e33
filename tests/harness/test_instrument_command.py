"""``bench-core limits``: what it prints, writes, and how it fails."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from instrument_plans import require_direct_io, use_tiny_plans

from harness import limits
from harness.commands.limits import command, format_value
from harness.limits import fio

BENCH_CORE = Path(sys.executable).with_name("bench-core")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (2.148e9, "B/s", "2.15 GB/s"),
        (1.5e12, "B/s", "1,500.00 GB/s"),
        (17_512.3, "IOPS", "17,512 IOPS"),
        (1.162e-4, "s", "116 µs"),
        (1.44e11, "FLOP/s", "144 GFLOP/s"),
    ],
)
def test_values_are_printed_as_people_read_them(value: float, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


def test_the_table_has_every_limit_and_the_file_every_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_direct_io(tmp_path)
    use_tiny_plans(monkeypatch)
    monkeypatch.setattr(fio, "MOST_ROUNDS", 1)
    json_file = tmp_path / "out" / "limits.json"
    arguments = ["--dir", str(tmp_path), "--quick", "--json", str(json_file)]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    for name in limits.NAMES:
        assert name in result.stdout
    assert "GB/s" in result.stdout and str(json_file) in result.stdout
    content = json.loads(json_file.read_text())
    assert content["machine"]["name"]
    assert limits.load(json_file).memcpy
    if shutil.which("fio") is None:
        assert "fio is not installed" in result.stdout
        assert content["fio"] == []
    else:
        assert "beside fio" in result.stdout
        assert all(isinstance(item["agrees"], bool) for item in content["fio"])
        assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_failing_fio_does_not_take_the_limits_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise fio.FioError("fio failed with exit code 1: no engine")

    use_tiny_plans(monkeypatch)
    monkeypatch.setattr(fio, "compare", fail)
    result = CliRunner().invoke(command, ["--dir", str(tmp_path), "--quick"])
    assert result.exit_code == 0
    assert "memcpy" in result.stdout and "fio failed with exit code 1" in result.stdout


def test_a_wrong_folder_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    folder = tmp_path / "absent"
    done = subprocess.run(
        [str(BENCH_CORE), "limits", "--quick", "--dir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if line.strip()]
    assert str(folder) in line and "choose a folder that exists" in line


@pytest.mark.slow
def test_the_command_probes_this_machine(tmp_path: Path) -> None:
    require_direct_io(tmp_path)
    json_file = tmp_path / "limits.json"
    arguments = ["limits", "--quick", "--dir", str(tmp_path), "--json", str(json_file)]
    done = subprocess.run(
        [str(BENCH_CORE), *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = limits.load(json_file)
    for name in limits.NAMES:
        assert getattr(found, name) is not None or name in found.notes
    assert [path.name for path in tmp_path.iterdir()] == ["limits.json"]
