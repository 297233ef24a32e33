"""Tracing a module with `torch.fx` without leaving anything behind in it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

from torch import fx, nn

from bench_core.weight_transfer.errors import GraphError


@contextlib.contextmanager
def traced(module: nn.Module) -> Iterator[fx.Graph]:
    """Give the trace of a module; constants that tracing put into the module go at the end.

    Raises:
        GraphError: it cannot be traced; the line says why and what to do.
    """
    before = set(vars(module))
    try:
        yield _trace(module)
    finally:
        for name in set(vars(module)) - before:
            delattr(module, name)


def live_nodes(graph: fx.Graph) -> list[fx.Node]:
    """Return the nodes that the output depends on, in the order of the trace."""
    live: set[fx.Node] = set()
    for node in reversed(graph.nodes):
        if node.op == "output" or node in live:
            live.update(node.all_input_nodes)
    return [node for node in graph.nodes if node in live]


def is_leaf(module: nn.Module) -> bool:
    """Whether a module is one layer: one of torch's own that is no container."""
    return fx.Tracer().is_leaf_module(module, "")


def _trace(module: nn.Module) -> fx.Graph:
    try:
        return fx.Tracer().trace(module, concrete_args=_defaults(module))
    except (fx.proxy.TraceError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise GraphError(
            f"{type(module).__name__} cannot be traced ({reason}): its forward must not branch or "
            "loop on values or shapes of its inputs; take such parts out, or mark the function "
            "that holds them with torch.fx.wrap"
        ) from error


def _defaults(module: nn.Module) -> dict[str, Any]:
    """Return the arguments of ``forward`` after the first that have a default, which they keep."""
    _, *others = inspect.signature(module.forward).parameters.values()
    return {p.name: p.default for p in others if p.default is not p.empty}
