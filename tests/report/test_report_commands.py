from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from report_builders import (
    asv_entry,
    header,
    interleaved,
    machine,
    pytest_benchmark,
    record,
    write_asv,
    write_pytest,
    write_run,
)

from harness.cli import main

MEDIANS = {"direct": 0.12, "safetensors": 0.2, "torch": 0.4}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Return the exit code, standard output and standard error of ``bench-core``."""
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def test_report_as_a_process_ends_with_the_path_of_the_page(tmp_path: Path) -> None:
    write_run(tmp_path / "results" / "runs" / "a.jsonl", interleaved(MEDIANS))

    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", "report"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "layer_loading.WholeModel.time_load" in lines[0]
    assert lines[-1] == "results/report/index.html"
    assert (tmp_path / lines[-1]).exists()


def test_report_reads_all_kinds_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skipped = record(None, status="skipped", reason="no lmdb", params={"format": "lmdb"})
    runs = write_run(tmp_path / "run.jsonl", [*interleaved(MEDIANS), skipped])
    asv = write_asv(tmp_path / "asv", {"m.time_x": asv_entry(((1, 2),), [1.0, 2.0])}, None)
    other = write_pytest(tmp_path / "out.json", [pytest_benchmark("test_y", [0.1, 0.2])])

    code, out, err = run(
        capsys, "report", runs, asv, other, "--out", tmp_path / "out", "--figures", 1
    )

    assert (code, err) == (0, "")
    for words in (
        "m.time_x",
        "test_x.py::test_y",
        "skipped, 1 sample: no lmdb",
        "are kept apart because they differ: machine: amd-epyc-2c-vm against testbox",
        "figures not drawn; --figures sets how many are",
    ):
        assert words in out
    assert len(list((tmp_path / "out" / "figures").iterdir())) == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["report", "absent"], "absent does not exist"),
        (["report"], "no runs under results/runs; take one with: bench-core run quick"),
        (["report", "--figures", "-1"], "-1 is not in the range"),
        (["compare", "absent", "absent"], "absent: no such file, and no commit"),
        (["compare", "a.jsonl"], "name two results, or one result and --by PARAM --base VALUE"),
        (["compare", "a.jsonl", "--by", "format"], "--by and --base belong together"),
        (["compare", "a.jsonl", "a.jsonl", "--select", "("], "'(' is no regular expression"),
        (["compare", "a.jsonl", "a.jsonl", "--select", "nix"], "there is nothing to compare"),
        (["compare", "a.jsonl", "a.jsonl", "--bass", "x"], "No such option"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(
    arguments: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "a.jsonl", interleaved(MEDIANS))

    code, out, err = run(capsys, *arguments)

    assert (code, out) == (2, "")
    assert expected in err
    assert len(err.splitlines()) == 1


def two_runs(tmp_path: Path, factor: float, **changed: object) -> tuple[Path, Path]:
    """Write a run before and one after a change that takes ``factor`` times as long."""
    after = {name: factor * median for name, median in MEDIANS.items()}
    facts = header("b", machine=machine(**changed))
    a = write_run(tmp_path / "a.jsonl", interleaved(MEDIANS, rounds=8), header("a"))
    b = write_run(tmp_path / "b.jsonl", interleaved(after, rounds=8, seed=1), facts)
    return a, b


@pytest.mark.parametrize(
    ("factor", "code", "last"),
    [
        (1.0, 0, "3 cases: 3 unchanged"),
        (1.04, 4, "3 cases: 3 cannot tell"),
        (0.5, 0, "3 cases: 3 faster"),
        (1.5, 1, "3 cases: 3 slower"),
    ],
)
def test_compare_tells_slower_by_its_exit_code(
    factor: float, code: int, last: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, out, _ = run(capsys, "compare", *two_runs(tmp_path, factor))

    assert found == code
    assert out.splitlines()[-1] == last


def test_compare_tells_broken_from_slower(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = write_run(tmp_path / "a.jsonl", interleaved(MEDIANS, rounds=8), header("a"))
    after = interleaved({"direct": 0.5, "torch": 0.4}, rounds=8)
    after.append(
        record(None, status="failed", reason="tensor x differs", params={"format": "torch"})
    )
    b = write_run(tmp_path / "b.jsonl", after, header("b"))

    code, out, _ = run(capsys, "compare", a, b)

    assert code == 3
    assert out.splitlines()[-1] == "3 cases: 2 broken, 1 slower"
    assert "1 of 9 samples failed: tensor x differs" in out
    assert "B: missing" in out


def test_compare_refuses_runs_that_differ_unless_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = two_runs(tmp_path, 1.0, kernel="6.1")

    code, out, err = run(capsys, "compare", *paths)
    assert (code, out) == (2, "")
    assert "kernel: 6.18.44 against 6.1" in err

    code, out, err = run(capsys, "compare", *paths, "--allow-different")
    assert (code, err) == (0, "")
    assert "note: A and B differ: kernel: 6.18.44 against 6.1" in out


def test_compare_refuses_a_side_of_several_commits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, _ = two_runs(tmp_path, 1.0, git={"commit": "f" * 40, "dirty": False})

    code, _, err = run(capsys, "compare", a, tmp_path)

    assert code == 2
    assert "holds 2 states of the code (62589e8ee7, ffffffffff); name one of its files" in err


def test_compare_takes_thresholds_from_an_aa_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = two_runs(tmp_path, 1.5)
    noisy = [
        record(0.2 * (1.5 if number % 2 else 1.0), round=number, params={"format": name})
        for number in range(8)
        for name in MEDIANS
    ]
    aa = write_run(tmp_path / "aa.jsonl", noisy, header("aa"))

    code, out, _ = run(capsys, "compare", a, b, "--aa", aa)

    assert code == 4
    assert "100 %" in out


def test_compare_contenders_of_one_run_as_markdown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, _ = two_runs(tmp_path, 1.0)

    code, out, _ = run(
        capsys, "compare", a, "--by", "format", "--base", "safetensors", "--markdown"
    )

    assert code == 1
    assert "| case | safetensors | contender | ratio | threshold | verdict |" in out
    assert out.splitlines()[-1] == "2 cases: 1 slower, 1 faster"


def test_compare_reads_asv_and_pytest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entries = [asv_entry(((1, 2),), [1.0 * factor, 2.0 * factor]) for factor in (1, 2)]
    asv = [
        write_asv(tmp_path / name, {"m.time_x": entry}, {"m.time_x": ("size",)}, commit=name * 40)
        for name, entry in zip("ab", entries, strict=True)
    ]
    tests = [
        write_pytest(tmp_path / f"{factor}.json", [pytest_benchmark("test_y", times)])
        for factor in (1, 2)
        if (times := [factor * (1 + 0.001 * number) for number in range(8)])
    ]

    assert run(capsys, "compare", *asv)[0] == 1
    assert run(capsys, "compare", *reversed(asv))[0] == 0
    code, out, _ = run(capsys, "compare", *tests)
    assert (code, out.splitlines()[-1]) == (1, "1 case: 1 slower")


def test_help_states_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "compare", "--help")

    assert code == 0
    for number in (
        "0  nothing is slower",
        "1  something is slower",
        "2  bad input",
        "3  broken",
        "4  cannot tell",
    ):
        assert number in out
