"""The base class: what one sample does, records and refuses."""

from __future__ import annotations

import gc
import json
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness import cache, inputs
from harness.benchmark import Benchmark, data_dir
from harness.errors import (
    HarnessError,
    InputError,
    RefusedError,
    UnprovedError,
    WrongResultError,
)
from harness.records import Record, read_records


class Logged(Benchmark):
    """Writes down what is called, in order."""

    params = (("a", "b"), (1, 2))
    param_names = ("kind", "times")

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []
        clock = self.timer

        class Clock(type(clock)):  # type: ignore[misc]
            def __call__(clock) -> float:
                self.log.append("clock")
                return float(super().__call__())

        self.timer = Clock()

    def prepare(self, kind: str, times: int) -> None:
        self.log.append("prepare")

    def time_it(self, kind: str, times: int) -> str:
        self.log.append(f"time_it {'without' if not gc.isenabled() else 'with'} gc")
        return kind * times

    def needed_bytes(self) -> int:
        return 1000

    def verify(self) -> None:
        self.log.append("verify")
        self.note(checked=True, return_seconds=0.25)

    def clean(self) -> None:
        self.log.append("clean")


def test_a_sample_runs_in_the_stated_order_and_leaves_one_record() -> None:
    instance = Logged()
    record = instance.sample("time_it", "b", 2)
    assert instance.log == [
        "prepare",
        "clock",
        "time_it without gc",
        "clock",
        "verify",
        "clean",
    ]
    assert gc.isenabled()
    assert instance.records == [record]
    assert record.status == "ok"
    assert dict(record.params) == {"kind": "b", "times": 2}
    assert list(record.params) == ["kind", "times"]
    assert record.unit == "seconds"
    assert record.value is not None and 0 < record.value < 1
    assert record.bytes == 1000
    assert record.return_seconds == 0.25
    assert record.extra == {"checked": True}
    assert record.started_at.endswith("+00:00")


def test_the_value_is_what_lies_between_the_two_newest_stamps() -> None:
    class Sleeps(Benchmark):
        def prepare(self) -> None:
            time.sleep(0.05)

        def time_sleep(self) -> None:
            time.sleep(0.01)

        def verify(self) -> None:
            time.sleep(0.05)

    value = Sleeps().sample("time_sleep").value
    assert value is not None
    assert 0.01 <= value < 0.05


def test_the_result_lives_until_the_sample_is_over_and_no_longer() -> None:
    class Loaded:
        pass

    class Loads(Benchmark):
        def time_load(self) -> Loaded:
            return Loaded()

        def verify(self) -> None:
            self.seen = weakref.ref(self.result)
            assert self.seen() is not None

    instance = Loads()
    assert instance.sample("time_load").status == "ok"
    assert instance.seen() is None


def test_a_time_method_hands_nothing_to_its_runner_so_that_none_frees_it_in_the_clock() -> None:
    instance = Logged()
    instance.setup("a", 2)
    instance.timer()
    assert instance.time_it("a", 2) is None
    instance.timer()
    assert instance.result == "aa"
    instance.teardown("a", 2)


def test_a_track_method_returns_its_number_and_needs_no_clock() -> None:
    class Size(Benchmark):
        unit = "bytes"

        def track_size(self) -> int:
            return 4096

    instance = Size()
    instance.setup()
    assert instance.track_size() == 4096
    instance.teardown()
    assert instance.last_record is not None
    assert (instance.last_record.value, instance.last_record.unit) == (4096.0, "bytes")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_a_number_that_is_none_is_a_failed_sample(number: str) -> None:
    class Strays(Benchmark):
        def track_stray(self) -> float:
            return float(number)

    instance = Strays()
    record = instance.sample("track_stray")
    assert (record.status, record.value) == ("failed", None)
    assert record.reason == f"the result is {number}, a finite number expected"
    instance.setup()
    instance.track_stray()
    with pytest.raises(WrongResultError, match="a finite number expected"):
        instance.teardown()


class Wrong(Benchmark):
    def time_wrong(self) -> int:
        return 41

    def verify(self) -> None:
        if self.result != 42:
            raise WrongResultError(f"the answer is {self.result}, expected 42")


def test_a_wrong_answer_is_a_failed_sample_without_a_speed() -> None:
    record = Wrong().sample("time_wrong")
    assert record.status == "failed"
    assert record.value is None
    assert record.reason == "the answer is 41, expected 42"


def test_a_wrong_answer_raises_for_a_runner_that_asks_for_it_but_only_once() -> None:
    instance = Wrong()
    instance.setup()
    instance.timer()
    instance.time_wrong()
    instance.timer()
    with pytest.raises(WrongResultError):
        instance.teardown()
    instance.teardown()
    assert len(instance.records) == 1


def test_an_error_in_the_operation_is_a_failed_sample_and_is_cleaned_up() -> None:
    class Breaks(Logged):
        def time_break(self, kind: str, times: int) -> None:
            raise OSError(28, "No space\nleft on device")

    instance = Breaks()
    record = instance.sample("time_break", "a", 1)
    assert record.status == "failed"
    assert record.reason == "OSError: [Errno 28] No space left on device"
    assert instance.log[-1] == "clean"
    assert "verify" not in instance.log
    assert gc.isenabled()


class Litters(Logged):
    """Cannot be cleaned up."""

    def clean(self) -> None:
        super().clean()
        raise OSError("the folder is not empty")


LEFT = "clean-up: OSError: the folder is not empty"


def test_what_cannot_be_cleaned_up_is_a_failed_sample_and_raises() -> None:
    instance = Litters()
    record = instance.sample("time_it", "a", 1)
    assert instance.records == [record]
    assert (record.status, record.value, record.reason) == ("failed", None, LEFT)
    assert "verify" in instance.log
    assert gc.isenabled()
    instance.setup("a", 1)
    instance.timer()
    instance.time_it("a", 1)
    instance.timer()
    with pytest.raises(OSError, match="the folder is not empty"):
        instance.teardown("a", 1)
    instance.teardown("a", 1)
    assert [kept.reason for kept in instance.records] == [LEFT, LEFT]


def test_the_first_failure_comes_before_that_of_the_clean_up() -> None:
    class WrongToo(Litters):
        def verify(self) -> None:
            raise WrongResultError("the answer is wrong")

    instance = WrongToo()
    assert instance.sample("time_it", "a", 1).reason == f"the answer is wrong; {LEFT}"
    instance.setup("a", 1)
    instance.timer()
    instance.time_it("a", 1)
    instance.timer()
    with pytest.raises(WrongResultError):
        instance.teardown("a", 1)


def test_a_set_up_that_broke_and_cannot_be_cleaned_up_leaves_its_record() -> None:
    class Breaks(Litters):
        def prepare(self, kind: str, times: int) -> None:
            raise ZeroDivisionError("division by zero")

    instance = Breaks()
    with pytest.raises(ZeroDivisionError):
        instance.setup("a", 1)
    (record,) = instance.records
    assert record.status == "failed"
    assert record.reason == f"set-up: ZeroDivisionError: division by zero; {LEFT}"


def test_a_refused_case_that_cannot_be_cleaned_up_is_no_skip() -> None:
    class Lacks(Litters):
        def prepare(self, kind: str, times: int) -> None:
            raise RefusedError("no CUDA device")

    instance = Lacks()
    with pytest.raises(OSError, match="the folder is not empty"):
        instance.setup("a", 1)
    (record,) = instance.records
    assert (record.status, record.reason) == ("failed", f"no CUDA device; {LEFT}")


@pytest.mark.parametrize("where", ["prepare", "time_it", "verify"])
@pytest.mark.parametrize("base", [Logged, Litters])
def test_an_interrupt_is_never_hidden_and_leaves_nothing_behind(
    where: str, base: type[Logged]
) -> None:
    class Interrupted(base):  # type: ignore[misc, valid-type]
        def time_it(self, kind: str, times: int) -> None:
            self.stop("time_it")

        def prepare(self, kind: str, times: int) -> None:
            self.stop("prepare")

        def verify(self) -> None:
            self.stop("verify")

        def stop(self, here: str) -> None:
            if here == where:
                raise KeyboardInterrupt

    instance = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        instance.sample("time_it", "a", 1)
    assert instance.log[-1] == "clean"
    assert gc.isenabled()


def test_an_interrupt_before_the_operation_is_not_hidden_by_the_missing_result() -> None:
    instance = Logged()
    instance.setup("a", 1)
    with pytest.raises(KeyboardInterrupt):
        try:
            raise KeyboardInterrupt
        finally:
            instance.teardown("a", 1)


def test_an_operation_that_was_never_run_is_no_sample() -> None:
    instance = Logged()
    instance.setup("a", 1)
    with pytest.raises(HarnessError, match="not run to its end"):
        instance.teardown("a", 1)
    assert instance.records[-1].status == "failed"


def test_teardown_does_nothing_when_there_is_no_sample() -> None:
    instance = Logged()
    instance.teardown("a", 1)
    assert instance.records == []
    assert instance.log == []


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RefusedError("no CUDA device"), "no CUDA device"),
        (NotImplementedError("only on Linux"), "NotImplementedError: only on Linux"),
        (ModuleNotFoundError("No module named 'lmdb'"), "No module named 'lmdb'"),
    ],
)
def test_what_cannot_run_here_is_skipped_with_the_reason(error: Exception, reason: str) -> None:
    class Lacks(Logged):
        def prepare(self, kind: str, times: int) -> None:
            raise error

    instance = Lacks()
    with pytest.raises(RefusedError):
        instance.setup("a", 1)
    assert instance.records[-1].status == "skipped"
    assert (instance.records[-1].reason or "").endswith(reason)
    assert instance.log == ["clean"]


def test_asv_is_not_let_on_to_time_an_unprepared_statement() -> None:
    class LacksLater(Logged):
        def prepare(self, kind: str, times: int) -> None:
            if self.records:
                raise RefusedError("the device went away")

    instance = LacksLater()
    instance.sample("time_it", "a", 1)
    with pytest.raises(HarnessError, match="the device went away") as raised:
        instance.setup("a", 1)
    assert not isinstance(raised.value, NotImplementedError)


def test_a_broken_set_up_is_a_failed_sample_and_no_skip() -> None:
    class Broken(Logged):
        def prepare(self, kind: str, times: int) -> None:
            raise ZeroDivisionError("division by zero")

    instance = Broken()
    with pytest.raises(ZeroDivisionError):
        instance.setup("a", 1)
    assert instance.records[-1].status == "failed"
    assert instance.records[-1].reason == "set-up: ZeroDivisionError: division by zero"


class Reads(Benchmark):
    """Reads a file that starts in the cache state its parameter names."""

    params = (("warm", "cold_file"),)
    param_names = ("cache",)
    path: Path

    def files(self) -> list[Path]:
        return [self.path]

    def time_read(self, cache: str) -> bytes:
        return self.path.read_bytes()


def reader(folder: Path) -> Reads:
    instance = Reads()
    instance.path = folder / "file.bin"
    instance.path.write_bytes(bytes(1 << 20))
    return instance


def test_the_cache_state_is_made_and_its_proof_recorded(tmp_path: Path) -> None:
    record = reader(tmp_path).sample("time_read", "warm")
    assert record.status == "ok"
    assert record.cache is not None
    assert record.cache["state"] == "warm"
    assert record.cache["resident_before"] == 1.0


def test_a_sample_that_is_not_proved_cold_is_kept_apart_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache.CacheBefore(cache.CacheState.COLD_FILE, 1 << 20, 0.5, "half of it is resident")
    monkeypatch.setattr(cache, "prepare", lambda files, state: before)
    instance = reader(tmp_path)
    record = instance.sample("time_read", "cold_file")
    assert record.status == "unproved"
    assert record.reason == "cold_file is not proved: half of it is resident"
    assert record.value is not None

    instance.setup("cold_file")
    instance.timer()
    instance.time_read("cold_file")
    instance.timer()
    with pytest.raises(UnprovedError):
        instance.teardown("cold_file")


def test_a_case_without_files_or_cache_parameter_makes_no_claim_about_the_cache() -> None:
    assert Logged().sample("time_it", "a", 1).cache is None


def test_every_finished_sample_goes_to_the_file_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "samples.jsonl"
    monkeypatch.setenv("BENCH_CORE_SAMPLES", str(path))
    Logged().sample("time_it", "a", 1)
    Wrong().sample("time_wrong")
    found: tuple[Record, ...] = read_records(path)
    assert [record.status for record in found] == ["ok", "failed"]
    assert found[0].params == {"kind": "a", "times": 1}
    assert all(json.loads(line)["kind"] == "sample" for line in path.read_text().splitlines())


def test_the_ideal_time_comes_from_the_limits_of_the_runner_or_of_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.limits import Limits, save

    class Ideal(Benchmark):
        def time_it(self) -> None:
            pass

        def ideal_seconds(self, limits: Limits) -> float | None:
            return limits.seconds("sequential_read", 1000)

    def limits(rate: float) -> Limits:
        return Limits.from_dict({"sequential_read": rate})

    instance = Ideal()
    assert instance.sample("time_it").ideal_seconds is None
    save(tmp_path / "limits.json", limits(2000.0))
    monkeypatch.setenv("BENCH_CORE_LIMITS", str(tmp_path / "limits.json"))
    assert instance.sample("time_it").ideal_seconds == 0.5
    instance.limits = limits(4000.0)
    assert instance.sample("time_it").ideal_seconds == 0.25


def test_inputs_are_made_once_a_process_and_the_oldest_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(inputs, "_memo", type(inputs._memo)())
    made: list[int] = []

    def maker(number: int) -> Callable[[], int]:
        def make() -> int:
            made.append(number)
            return number * 10

        return make

    for number in range(inputs.MEMO_ENTRIES):
        assert Logged().cached(number, maker(number)) == number * 10
    assert Wrong().cached(0, maker(0)) == 0  # another class, and used just now
    Logged().cached("new", maker(-1))
    Logged().cached(0, maker(0))
    Logged().cached(1, maker(1))
    assert made == [*range(inputs.MEMO_ENTRIES), -1, 1]


def test_too_few_parameters_are_the_caller_s_mistake() -> None:
    with pytest.raises(InputError, match="1 parameters were given, expected kind, times"):
        Logged().sample("time_it", "a")


def test_a_method_inherited_from_a_plain_class_is_remembered_like_an_own_one() -> None:
    class Mixin:
        def time_mixed(self) -> int:
            return 7

    class Mixed(Mixin, Benchmark):
        pass

    record = Mixed().sample("time_mixed")
    assert record.status == "ok"
    assert record.benchmark.endswith("Mixed.time_mixed")


def test_asv_times_a_sample_with_the_instance_s_clock() -> None:
    """The timer is looked up on the method, then on the instance; two calls a sample."""
    from asv_runner.benchmarks.time import TimeBenchmark

    instance = Logged()
    timed: Any = TimeBenchmark("x.Logged.time_it", instance.time_it, [instance.time_it, instance])
    timed.set_param_idx(3)
    timed.set_cache(None)
    assert timed.do_setup() is False
    result = timed.do_run()
    timed.do_teardown()
    assert timed.timer is instance.timer
    values = [record.value for record in instance.records]
    assert result["samples"] == pytest.approx(values, abs=1e-9)
    assert len(values) == Logged.repeat
    assert [record.round for record in instance.records] == list(range(Logged.repeat))
    assert instance.log.count("prepare") == instance.log.count("clean") == Logged.repeat
    assert instance.log.count("clock") == 2 * Logged.repeat


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"BENCH_CORE_DATA": "{tmp}/named"}, "named"),
        ({"XDG_CACHE_HOME": "{tmp}/caches"}, "caches/bench-core"),
        ({"HOME": "{tmp}/home"}, "home/.cache/bench-core"),
    ],
)
def test_the_data_folder_is_named_by_the_environment_and_made(
    variables: dict[str, str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BENCH_CORE_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    assert data_dir() == tmp_path / expected
    assert data_dir().is_dir()
