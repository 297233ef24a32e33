"""What makes a result weak: each weakness is found, told with its mend, and has its exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_builders import (
    LIMITS,
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
from harness.records import Record
from harness.report.analysis import analyse
from harness.report.load import load
from harness.report.summary import summarise
from harness.report.weak_cases import two_modes
from harness.report.weaknesses import Weakness, exit_code, find, together

MEDIANS = {"direct": 0.12, "safetensors": 0.2, "torch": 0.4}


def weaknesses(path: Path, records: list[Record], **changed: Any) -> dict[str, Weakness]:
    """Write a run, and return its worst weakness of each kind."""
    limits = changed.pop("limits", [("begin", LIMITS), ("end", LIMITS)])
    results = load([write_run(path / "run.jsonl", records, header(**changed), limits)])
    found = find(results, summarise(results.samples))
    return {item.kind: item for item in reversed(found)}


def several_processes(**changed: Any) -> list[Record]:
    """Return samples without any weakness: each case was measured by two processes."""
    both = (interleaved(MEDIANS, process=number, repetition=number) for number in (0, 1))
    return [item for samples in both for item in samples]


def test_a_sound_run_has_none(tmp_path: Path) -> None:
    assert weaknesses(tmp_path, several_processes()) == {}


@pytest.mark.parametrize(
    ("facts", "kind", "severity", "found"),
    [
        ({"load_average": [7.5, 1, 1]}, "load", "weak", "load average 7.5 on 2 cores"),
        ({"build": {"dev_mode": True}}, "debug build", "weak", "development mode (-X dev)"),
        ({"build": {"tracing": "coverage"}}, "debug build", "weak", "was traced (coverage)"),
        ({"git": {"commit": "c" * 40, "dirty": True}}, "changes", "note", "commit cccccccccc"),
        ({"cpu_governor": "powersave"}, "governor", "note", "governor is powersave"),
        ({"cpu_clock": {"turbo": True}}, "turbo", "note", "may exceed its base clock"),
        (
            {"cpu_clock": {"highest_hz": 2_000_000_000, "rated_hz": 3_500_000_000}},
            "capped clock",
            "note",
            "2,000,000,000 Hz of 3,500,000,000 Hz",
        ),
        ({"swapped_bytes": 5_000_000}, "swap", "note", "5.00 MB of memory lay in swap space"),
    ],
)
def test_what_a_machine_says_of_itself(
    tmp_path: Path, facts: dict[str, Any], kind: str, severity: str, found: str
) -> None:
    (weakness,) = weaknesses(tmp_path, several_processes(), machine=machine(**facts)).values()

    assert (weakness.kind, weakness.severity) == (kind, severity)
    assert found in weakness.found
    assert weakness.subject == "20261121T081500Z-abcd"
    assert weakness.mend


@pytest.mark.parametrize(
    "facts",
    [
        {"cpu_governor": "performance"},
        {"cpu_clock": {"turbo": False, "highest_hz": 3_500_000_000, "rated_hz": 3_500_000_000}},
        {"build": {}, "swapped_bytes": 0, "load_average": [2.0, 9, 9]},
        {"build": None, "cpu_clock": None, "swapped_bytes": None, "load_average": None},
    ],
)
def test_a_machine_as_it_should_be_is_not_blamed(tmp_path: Path, facts: dict[str, Any]) -> None:
    assert weaknesses(tmp_path, several_processes(), machine=machine(**facts)) == {}


def test_processes_that_measure_at_once_are_a_weakness(tmp_path: Path) -> None:
    found = weaknesses(tmp_path, several_processes(), settings={"jobs": 4})

    assert found["at once"].found == "4 processes measured at once on this machine"
    assert weaknesses(tmp_path / "b", several_processes(), settings={"jobs": 1}) == {}


@pytest.mark.parametrize(
    ("last", "found"),
    [
        ({"quota": 5, "thermal": 9}, None),
        ({"quota": 12, "thermal": 9}, "slowed 7 times by its container's share"),
        ({"quota": 5, "thermal": 10}, "slowed 1 time by heat"),
        ({}, None),
    ],
)
def test_throttling_is_what_was_counted_between_the_probes(
    tmp_path: Path, last: dict[str, int], found: str | None
) -> None:
    first = {"quota": 5, "thermal": 9}
    limits = [("begin", {**LIMITS, "throttling": first}), ("end", {**LIMITS, "throttling": last})]

    weakness = weaknesses(tmp_path, several_processes(), limits=limits).get("throttled")

    assert (weakness is None) == (found is None)
    assert weakness is None or weakness.found.startswith(str(found))


def test_limits_that_moved_or_were_not_probed_to_the_end(tmp_path: Path) -> None:
    ended = {**LIMITS, "sequential_read": 1.1e9}

    moved = weaknesses(tmp_path, several_processes(), limits=[("begin", LIMITS), ("end", ended)])
    cut = weaknesses(tmp_path / "b", several_processes(), limits=[("begin", LIMITS)])

    assert moved["drift"].severity == "weak"
    assert moved["drift"].found.endswith("during the run: sequential_read -50%")
    assert [*cut] == ["no probe"]


def test_what_makes_a_case_weak(tmp_path: Path) -> None:
    def samples(name: str, values: list[float], **changed: Any) -> list[Record]:
        return [record(value, params={"format": name}, **changed) for value in values]

    steady = [0.2, 0.21, 0.2, 0.19, 0.2, 0.21]
    found = weaknesses(
        tmp_path,
        [
            *samples("few", steady[:3]),
            *samples("fast", [0.05] * 6),
            *samples("wide", [0.2, 0.3, 0.25, 0.2, 0.35, 0.3]),
            *samples("unproved", steady),
            *samples("unproved", [0.1, 0.1], status="unproved", reason="12 % resident"),
            *samples("failed", steady),
            record(None, status="failed", reason="tensor differs", params={"format": "failed"}),
            record(None, status="skipped", reason="absent", params={"format": "absent"}),
        ],
    )

    told = {kind: (item.severity, item.found.split(":")[0]) for kind, item in found.items()}
    assert told == {
        "failed": ("broken", "1 of 7 samples failed"),
        "unproved": ("weak", "2 of 8 samples not proved to be in its cache state"),
        "few samples": ("weak", "3 samples, fewer than 6"),
        "beyond the limit": ("weak", "faster than the ideal time (233 %)"),
        "wide spread": ("weak", "the quartiles are 32 % of the median apart"),
        "one process": ("note", "one process took all samples of a case"),
    }
    for kind in told.keys() - {"one process"}:
        name = kind.split()[0] if kind != "beyond the limit" else "fast"
        assert f"'{name}'" in found[kind].subject


def test_the_worst_severity_comes_first_and_the_worst_of_a_kind_too(tmp_path: Path) -> None:
    failed = record(None, status="failed", reason="x", params={"format": "npz"})
    records = [*interleaved({"direct": 0.2}, rounds=2), record(), failed]
    results = load([write_run(tmp_path / "run.jsonl", records)])

    found = find(results, summarise(results.samples))

    assert [item.severity for item in found] == ["broken", "weak", "note"]
    few = [item for item in found if item.kind == "few samples"]
    assert [item.size for item in few] == sorted((item.size for item in few), reverse=True)


def test_a_round_in_which_everything_was_slow_is_named(tmp_path: Path) -> None:
    records = [
        record(value * (1.6 if number == 3 else 1.0), params={"format": name}, round=number)
        for number in range(6)
        for name, value in MEDIANS.items()
    ]

    found = weaknesses(tmp_path, records)

    assert found["slow round"].found == "round 3 took 1.6 times as long over 3 cases"


def test_one_slow_case_is_not_a_slow_round(tmp_path: Path) -> None:
    records = [*several_processes(), record(9.9, params={"format": "torch"}, round=3)]

    assert "slow round" not in weaknesses(tmp_path, records)


def test_two_modes_are_seen(tmp_path: Path) -> None:
    values = [0.2, 0.21, 0.2, 0.2, 0.4, 0.41, 0.4, 0.4]
    found = weaknesses(tmp_path, [record(value) for value in values])

    assert found["two modes"].found == "two modes: 50 % of the samples take 2 times as long"


@given(
    st.integers(8, 50),
    st.integers(0, 2**32 - 1),
    st.floats(1.2, 5.0),
    st.floats(0.3, 0.7),
)
def test_two_modes_are_seen_whatever_their_sizes(
    n: int, seed: int, apart: float, share: float
) -> None:
    random = np.random.default_rng(seed)
    upper = round(n * share)
    values = np.exp(random.uniform(-0.01, 0.01, n))
    values[:upper] *= apart
    random.shuffle(values)

    found = two_modes(values)

    assert found is not None
    assert found[1] / found[0] == pytest.approx(apart, rel=0.05)
    assert found[2] == pytest.approx(upper / n)


@pytest.mark.parametrize("shape", ["normal", "uniform", "lognormal"])
def test_one_mode_is_seldom_taken_for_two(shape: str) -> None:
    random = np.random.default_rng(3)
    draws = {
        "normal": lambda n: random.normal(1, 0.1, n),
        "uniform": lambda n: random.uniform(0.8, 1.2, n),
        "lognormal": lambda n: random.lognormal(0, 0.2, n),
    }
    wrong = [two_modes(draws[shape](n)) for n in (8, 12, 30) for _ in range(200)]

    assert sum(found is not None for found in wrong) <= 6  # of 600


def test_equal_values_have_one_mode() -> None:
    assert two_modes(np.full(12, 0.5)) is None
    assert two_modes(np.zeros(12)) is None


def test_one_line_a_kind_names_the_worst() -> None:
    items = [
        Weakness("weak", "wide spread", name, f"{name} wide", "mend", size)
        for name, size in (("a", 1.0), ("b", 3.0), ("c", 2.0))
    ]

    assert together([*items, Weakness("note", "swap", "run", "some", "mend")]) == [
        "wide spread, 3 times, such as b: b wide",
        "run: some",
    ]


def test_the_page_says_the_same_but_for_what_it_lists_elsewhere(tmp_path: Path) -> None:
    records = [record(), record(None, status="failed", reason="x", params={"format": "npz"})]
    results = load([write_run(tmp_path / "run.jsonl", records)])

    analysis = analyse(results)

    told = [item for item in find(results, analysis.cases) if item.kind == "few samples"]
    assert list(analysis.warnings) == [f"{told[0].subject}: {told[0].found}"]


def weakness(severity: Any) -> Weakness:
    return Weakness(severity, "kind", "subject", "found", "mend")


@pytest.mark.parametrize(
    ("severities", "code"),
    [([], 0), (["note"], 0), (["note", "weak"], 4), (["weak", "broken"], 3)],
)
def test_the_exit_code_is_that_of_the_worst(severities: list[str], code: int) -> None:
    assert exit_code(map(weakness, severities)) == code


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["check", *map(str, arguments)])
    captured = capsys.readouterr()
    return int(caught.value.code or 0), captured.out, captured.err


def test_the_command_tells_sound_weak_broken_and_bad_input_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = record(None, status="failed", reason="x")
    sound = write_run(tmp_path / "a.jsonl", several_processes(), header("a"))
    weak = write_run(tmp_path / "b.jsonl", interleaved(MEDIANS, rounds=2), header("b"))
    broken = write_run(tmp_path / "c.jsonl", [*several_processes(), failed], header("c"))

    code, out, err = check(capsys, sound)
    assert (code, out, err) == (0, "sound: 0 broken, 0 weak, 0 notes; 3 cases\n", "")
    code, out, _ = check(capsys, weak)
    assert code == 4
    assert out.splitlines()[0] == "weak: cannot be relied on as it stands"
    line = next(line for line in out.splitlines() if "'torch'" in line)
    assert line.startswith("  few samples: layer_loading.WholeModel.time_load('torch', ")
    assert line.endswith(
        "2 samples, fewer than 6; to mend it: measure with --set rounds=6, or more"
    )
    assert out.splitlines()[-1] == "weak: 0 broken, 3 weak, 1 note; 3 cases"
    assert check(capsys, broken)[0] == 3
    code, out, err = check(capsys, tmp_path / "absent")
    assert (code, out, len(err.splitlines())) == (2, "", 1)


def test_the_command_speaks_to_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run.jsonl", interleaved({"direct": 0.2}, rounds=2))

    code, out, _ = check(capsys, run, "--json")

    content = json.loads(out)
    assert content["exit_code"] == code == 4
    assert content["cases"] == 1
    first = content["weaknesses"][0]
    assert first["severity"] == "weak"
    assert first.keys() == {"severity", "kind", "subject", "found", "mend"}


def test_commits_that_took_no_turns_are_noted_once(tmp_path: Path) -> None:
    entry = asv_entry(((1,),), [1.0], [[1.0, 1.1, 1.0, 1.1, 1.0, 1.1]])
    for name in "ab":
        write_asv(tmp_path, {"m.time_x": entry}, {"m.time_x": ("size",)}, commit=name * 40)
    results = load([tmp_path])

    (found,) = find(results, summarise(results.samples))

    assert (found.kind, found.severity, found.subject) == ("in a row", "note", "2 commits")


def test_many_of_a_kind_are_cut_unless_all_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [record(params={"format": f"f{number}"}) for number in range(20)]
    run = write_run(tmp_path / "run.jsonl", records)

    short, long = (check(capsys, run, *more)[1] for more in ((), ("--all",)))

    assert "  few samples: 8 more; --all prints them" in short
    assert (short.count("fewer than 6"), long.count("fewer than 6")) == (12, 20)


def test_every_kind_of_result_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = asv_entry(((1,),), [1.0], [[1.0, 1.1, 1.0]])
    asv = write_asv(tmp_path / "asv", {"m.time_x": entry}, {"m.time_x": ("size",)})
    other = write_pytest(tmp_path / "out.json", [pytest_benchmark("test_y", [0.1, 0.1])])

    code, out, _ = check(capsys, asv, other)

    assert code == 4
    assert "m.time_x(1): 3 samples, fewer than 6; to mend it: bench-core commits" in out
    assert "test_x.py::test_y: 2 samples, fewer than 6" in out
