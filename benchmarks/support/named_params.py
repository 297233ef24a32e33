"""Parameters that name something: they are checked when an experiment is planned."""

from __future__ import annotations

from typing import Any, Final

from benchmarks.support.model_sets import check_source
from harness.benchmark import Benchmark
from harness.errors import InputError
from harness.records import Param

DEVICES: Final = ("cpu", "cuda")


class NamedParams(Benchmark):
    """Base of the workloads whose open parameters name architectures, engines, cache states, …"""

    @classmethod
    def check_param(cls, name: str, value: Param) -> None:
        """Raise where an experiment names something that does not exist."""
        check_names(name, value)


def check_device(name: str) -> str:
    """Return the name of a device.

    Raises:
        ValueError: it is neither the processor nor a CUDA device.
    """
    if name not in DEVICES:
        raise ValueError(f"unknown device {name!r}; expected one of {', '.join(DEVICES)}")
    return name


def check_names(name: str, value: Param) -> None:
    """Raise where an open parameter names something that does not exist.

    Raises:
        InputError: there is no such thing; the text lists what there is.
    """
    from bench_core.errors import UnknownNameError
    from bench_core.model_search import proxies
    from bench_core.model_search.engines import engine_class
    from bench_core.models import chain
    from bench_core.snapshots.draws import distribution_name
    from harness.cache import parse_state

    checks: dict[str, Any] = {
        "engine": engine_class,
        "proxy": proxies.get,
        "architecture": chain,
        "cache": parse_state,
        "distribution": distribution_name,
        "data": check_source,
        "device": check_device,
    }
    try:
        checks[name](str(value))
    except (UnknownNameError, ValueError) as error:
        raise InputError(str(error)) from error
