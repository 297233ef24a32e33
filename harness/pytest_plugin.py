"""Runs the benchmark classes under pytest-benchmark, with asv's ids and the harness's records.

``pytest benchmarks --benchmark-only`` collects every module in the folders that the ini option
``bench_core_benchmarks`` names. Each case becomes one test whose name is asv's id; its samples are
in ``extra_info["records"]``. A project opts in with ``pytest_plugins = ["harness.pytest_plugin"]``
in its root conftest.py, or a run with ``-p harness.pytest_plugin``; others are not touched.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from harness.benchmark import data_dir
from harness.clock import StampClock
from harness.discovery import Case, load_package, module_cases
from harness.errors import HarnessError, RefusedError

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

QUICK_ROUNDS: Final = 2

MOMENTARY: Final = ("git", "load_average")
"""What `harness.machine` says of a moment, not of the machine."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--quick`` and the folders' ini option."""
    parser.getgroup("bench-core").addoption(
        "--quick",
        action="store_true",
        help=f"run only the quick form of each benchmark class, {QUICK_ROUNDS} samples a case",
    )
    parser.addini(
        "bench_core_benchmarks",
        "packages of benchmark classes, relative to the ini file (default: benchmarks)",
        type="paths",
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect the modules of the benchmark packages, whatever pytest's own file patterns are."""
    if parent.session.isinitpath(file_path):
        return None  # pytest collects what was named on the command line through the hook below
    return _benchmark_file(file_path, parent)


def pytest_pycollect_makemodule(
    module_path: Path, parent: pytest.Collector
) -> pytest.Collector | None:
    """Take the place of pytest's own module collector for modules of the benchmark packages."""
    return _benchmark_file(module_path, parent)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Put the harness's description of the machine into pytest-benchmark's JSON.

    Without what changes from run to run: pytest-benchmark warns when two machines differ.
    """
    from harness.machine import describe

    described = describe(data_dir())
    machine_info["bench_core"] = {
        name: value for name, value in described.items() if name not in MOMENTARY
    }


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Put the rest of the machine's description, as it is now, beside the benchmarks."""
    from harness.machine import describe

    described = describe(data_dir())
    output_json["bench_core"] = {name: described[name] for name in MOMENTARY}


class BenchmarkFile(pytest.File):
    """One module of a package of benchmarks."""

    folder: Path
    """The package's folder."""

    def collect(self) -> Iterator[BenchmarkItem]:
        """Yield the module's cases; none where benchmarks were not asked for."""
        if not _is_wanted(self.config, self.folder):
            return
        quick = bool(self.config.getoption("quick"))
        parts = self.path.relative_to(self.folder).with_suffix("").parts
        try:
            package = load_package(self.folder)
            module = importlib.import_module(".".join((package.__name__, *parts)))
            cases = module_cases(module, quick)
        except HarnessError as error:
            raise self.CollectError(str(error)) from error
        for case in cases:
            yield BenchmarkItem.from_case(self, case, quick)


class BenchmarkItem(pytest.Function):
    """One case: a test that uses the ``benchmark`` fixture, named as asv names it."""

    case: Case

    @classmethod
    def from_case(cls, parent: BenchmarkFile, case: Case, quick: bool) -> BenchmarkItem:
        """Make the item of a case; its clock is the fixture's timer, and reports to the sample."""
        clock = StampClock()
        rounds = QUICK_ROUNDS if quick else case.cls.repeat
        item: BenchmarkItem = cls.from_parent(
            parent, name=case.id, callobj=functools.partial(run_case, case, clock, rounds)
        )
        item.case = case
        item.add_marker(pytest.mark.benchmark(group=case.benchmark, timer=clock))
        return item

    def reportinfo(self) -> tuple[Path, int, str]:
        """Return where the case is written, for pytest's reports."""
        method = inspect.unwrap(getattr(self.case.cls, self.case.method))
        return self.path, method.__code__.co_firstlineno - 1, self.name

    def repr_failure(  # type: ignore[override]  # pytest's own Function takes no style, either
        self, excinfo: pytest.ExceptionInfo[BaseException]
    ) -> Any:
        """Return one line for what the harness raises on purpose; a traceback for the rest."""
        if isinstance(excinfo.value, HarnessError):
            return f"{type(excinfo.value).__name__}: {excinfo.value}"
        return super().repr_failure(excinfo)


def run_case(case: Case, clock: StampClock, rounds: int, benchmark: BenchmarkFixture) -> None:
    """Take a case's samples through pytest-benchmark; ``clock`` is its timer.

    A refused case is skipped with its reason. A failed or unproved sample fails the test, and
    pytest-benchmark leaves the whole case out of its statistics and its JSON.
    """
    instance = case.cls()
    instance.timer, instance.runner, instance.method = clock, "pytest", case.method
    benchmark.params = dict(case.params)
    benchmark.param = ", ".join(map(repr, case.values)) or None
    operation = getattr(instance, case.method)
    try:
        benchmark.pedantic(  # type: ignore[no-untyped-call]
            _timed_anyway(operation, clock) if benchmark.disabled else operation,
            args=case.values,
            setup=functools.partial(instance.setup, *case.values),
            teardown=instance.teardown,
            rounds=rounds,
        )
    except RefusedError as refusal:
        pytest.skip(f"{case.id}: {refusal}")
    finally:
        # pytest-benchmark does not call it after an error, nor when it is disabled.
        try:
            instance.teardown(*case.values)
        finally:
            benchmark.extra_info["records"] = [asdict(record) for record in instance.records]


def _timed_anyway(operation: Any, clock: StampClock) -> Any:
    """Read the clock around an operation that pytest-benchmark, disabled, runs without one."""

    def timed(*params: Any) -> None:
        clock()
        operation(*params)
        clock()

    return timed


def _benchmark_file(path: Path, parent: pytest.Collector) -> BenchmarkFile | None:
    if path.suffix != ".py" or path.name == "__init__.py":
        return None
    for folder in _folders(parent.config):
        if path.is_relative_to(folder):
            file: BenchmarkFile = BenchmarkFile.from_parent(parent, path=path)
            file.folder = folder
            return file
    return None


def _folders(config: pytest.Config) -> list[Path]:
    named: list[Path] = config.getini("bench_core_benchmarks")
    return named or [config.rootpath / "benchmarks"]


def _is_wanted(config: pytest.Config, folder: Path) -> bool:
    """Tell whether benchmarks were asked for: by an option, or by a path on the command line.

    A plain ``pytest``, whose paths come from the ini file, must not take minutes.
    """
    if config.getoption("quick") or config.getoption("benchmark_only", False):
        return True
    if config.args_source is not config.ArgsSource.ARGS:
        return False
    paths = (config.invocation_params.dir / arg.partition("::")[0] for arg in config.args)
    return any(path.resolve().is_relative_to(folder) for path in paths)
