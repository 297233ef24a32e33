"""Finds the cases of a package of benchmarks, under the same ids and in the same order as asv.

Only public facts about asv are used: a benchmark is a public class's method whose name begins with
its kind, its name is ``module.Class.method`` below the package, and a parametrised one is
``name(repr, repr)`` over the product of ``params``.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import itertools
import pkgutil
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from harness.benchmark import OPERATION, Benchmark
from harness.errors import InputError
from harness.records import Param
from harness.sample import named

ASV_KIND: Final = re.compile(r"(time|timeraw|track|mem|peakmem)_.+")


@dataclass(frozen=True)
class Case:
    """One method of one class with one value for each parameter."""

    module: str
    """Below the package: ``storage_writes``."""
    cls: type[Benchmark]
    method: str
    params: Mapping[str, Param]
    """Parameter name to value, in the class's order."""

    @property
    def benchmark(self) -> str:
        """``module.Class.method``, as asv names the benchmark."""
        return ".".join(part for part in (self.module, self.cls.__name__, self.method) if part)

    @property
    def id(self) -> str:
        """``module.Class.method('value', 3)``, as asv names the case and matches its ``-b``."""
        values = ", ".join(map(repr, self.params.values()))
        return f"{self.benchmark}({values})" if self.params else self.benchmark

    @property
    def values(self) -> tuple[Param, ...]:
        """The parameters' values, as ``setup``, the method and ``teardown`` take them."""
        return tuple(self.params.values())


def load_package(folder: Path) -> ModuleType:
    """Import the package that lies at ``folder``, whatever else of its name can be imported.

    Raises:
        InputError: ``folder`` is no package, or another package of its name is already imported.
    """
    folder = folder.resolve()
    init = folder / "__init__.py"
    loaded = sys.modules.get(folder.name)
    if loaded is not None:
        if Path(loaded.__file__ or "") != init:
            raise InputError(
                f"{folder.name} is already imported from {loaded.__file__}, not {init}"
            )
        return loaded
    spec = importlib.util.spec_from_file_location(
        folder.name, init, submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None or not init.is_file():
        raise InputError(f"{folder} is no package of benchmarks: it has no __init__.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[folder.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[folder.name]
        raise
    return module


def cases(
    package: str | Path = "benchmarks", select: str | None = None, quick: bool = False
) -> list[Case]:
    """Return all cases of a package, in asv's order.

    Args:
        package: the name of an importable package, or its folder.
        select: a regular expression searched in the ids, like asv's ``-b``.
        quick: only the combinations of the classes' ``quick``.

    Raises:
        InputError: the package or the expression is wrong, or a class cannot be run everywhere.
    """
    root = load_package(package) if isinstance(package, Path) else _import(package)
    found = [case for module in _modules(root) for case in module_cases(module, quick)]
    if select is None:
        return found
    try:
        expression = re.compile(select)
    except re.error as error:
        raise InputError(f"{select!r} is no regular expression: {error}") from error
    return [case for case in found if expression.search(case.id)]


def module_cases(module: ModuleType, quick: bool = False) -> list[Case]:
    """Return the cases of one module of a package of benchmarks."""
    return [
        Case(module.__name__.partition(".")[2], cls, method, params)
        for cls in _classes(module)
        for method, _ in inspect.getmembers(cls, inspect.isfunction)
        if OPERATION.fullmatch(method)
        for params in combinations(cls, quick)
    ]


def combinations(cls: type[Benchmark], quick: bool = False) -> list[dict[str, Param]]:
    """Return the combinations of a class's parameters: name to value, in asv's order."""
    axes = parameter_axes(cls)
    if quick:
        if cls.quick is None:
            return []
        axes = _quick_axes(cls, axes)
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def parameter_axes(cls: type[Benchmark]) -> dict[str, tuple[Param, ...]]:
    """Return parameter name to all its values, in the class's order.

    Raises:
        InputError: names and values do not fit, or a value stands twice (asv would rename it).
    """
    axes: Sequence[Any] = cls.params
    if axes and not isinstance(axes[0], list | tuple):
        axes = [axes]
    by_name: dict[str, tuple[Param, ...]] = named(cls.param_names, [tuple(v) for v in axes])
    for name, values in by_name.items():
        if len({repr(value) for value in values}) != len(values):
            raise InputError(f"{cls.__name__}.params: a value of {name} stands there twice")
    return by_name


def _quick_axes(
    cls: type[Benchmark], axes: Mapping[str, tuple[Param, ...]]
) -> dict[str, tuple[Param, ...]]:
    quick = {name: values[:1] for name, values in axes.items()}
    for name, values in (cls.quick or {}).items():
        unknown = [value for value in values if value not in axes.get(name, ())]
        if unknown or name not in axes:
            raise InputError(
                f"{cls.__name__}.quick: {name} = {unknown or list(values)} is not among its params"
            )
        # In the order of params, so that the quick form is a part of the whole.
        quick[name] = tuple(value for value in axes[name] if value in values)
    return quick


def _import(package: str) -> ModuleType:
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        raise InputError(f"there is no package of benchmarks called {package}: {error}") from error


def _modules(root: ModuleType) -> Iterator[ModuleType]:
    """Yield the package and all modules below it, depth first and by name, like asv."""
    yield root
    for found in pkgutil.iter_modules(getattr(root, "__path__", []), f"{root.__name__}."):
        yield from _modules(importlib.import_module(found.name))


def _classes(module: ModuleType) -> Iterator[type[Benchmark]]:
    """Yield the classes in which asv would find benchmarks; like asv, by all public names."""
    for name, value in list(vars(module).items()):
        if name.startswith("_"):
            continue
        found = _asv_names(name, value)
        shared = inspect.isclass(value) and issubclass(value, Benchmark)
        for foreign in found:
            if not shared or not OPERATION.fullmatch(foreign):
                raise InputError(
                    f"{module.__name__}: {foreign} of {name} can be run by asv alone; all runners "
                    "run time_ and track_ methods of subclasses of harness.benchmark.Benchmark"
                )
        if found:
            yield value


def _asv_names(name: str, value: Any) -> list[str]:
    """Return the names of the benchmarks that asv sees in a module's attribute."""
    if inspect.isclass(value) and not inspect.isabstract(value):
        functions = inspect.getmembers(value, inspect.isfunction)
        return [method for method, _ in functions if ASV_KIND.fullmatch(method)]
    return [name] if inspect.isfunction(value) and ASV_KIND.fullmatch(name) else []
