"""Settings of traced modules and calls as plain values: the same in every process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import BuiltinFunctionType, EllipsisType, FunctionType
from typing import Any, Final

import torch
from torch import fx, nn

from bench_core.models.chains import Setting
from bench_core.models.digests import tensor_digest
from bench_core.weight_transfer.errors import GraphError

_PLAIN: Final = (bool, int, float, str, type(None))
_SPELLED: Final = (torch.dtype, torch.memory_format, torch.layout, EllipsisType, complex)
# What a module is called, where it is and what is being done with it make no other layer of it.
_NO_SETTINGS: Final = frozenset({"training", "name", "device"})
_COMMON: Final = frozenset({"torch", "_operator", "math", "builtins"})


def module_settings(module: nn.Module, name: str) -> dict[str, Setting]:
    """Return the hyper-parameters of a leaf module, those of its submodules with their names.

    These are its public attributes that are numbers, switches, strings, functions, or tuples.

    Raises:
        GraphError: a tuple holds what has no stable description.
    """
    found: dict[str, Setting] = {}
    for prefix, part in module.named_modules():
        for attribute, value in _attributes(part):
            key = f"{prefix}.{attribute}" if prefix else attribute
            found[key] = _setting(value, f"{name}.{key}")
        if prefix:
            found[f"{prefix}.class"] = type(part).__name__
    return found


def call_name(node: fx.Node) -> str:
    """Return the name of the function or method that a node calls.

    Operators, functions of torch and methods of tensors of one name count as the same.
    """
    if isinstance(node.target, str):
        return node.target
    name = getattr(node.target, "__name__", type(node.target).__name__)
    home = getattr(node.target, "__module__", None) or "torch"
    return name if home.partition(".")[0] in _COMMON else f"{home}.{name}"


def content_digest(root: nn.Module, name: str) -> str:
    """Return the digest of a constant tensor's type, shape and values.

    Raises:
        GraphError: it has no values.
    """
    tensor: Any = root
    for part in name.split("."):
        tensor = getattr(tensor, part)
    if not isinstance(tensor, torch.Tensor) or tensor.is_meta:
        raise GraphError(
            f"the constant {name} of {type(root).__name__} is no tensor with values, expected one: "
            "register it as a buffer, or trace the module on a device with memory"
        )
    return tensor_digest(tensor).hex()


def written(value: Any, place: Callable[[fx.Node], str], where: str) -> str:
    """Return an argument as text; ``place`` writes the nodes in it. Lists and tuples are one.

    Raises:
        GraphError: it holds what has no stable description, an object.
    """
    if isinstance(value, fx.Node):
        return place(value)
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, _SPELLED):
        return str(value)
    if isinstance(value, torch.device):
        return "device"
    if isinstance(value, slice):
        return f"slice{written((value.start, value.stop, value.step), place, where)}"
    if isinstance(value, Mapping):
        items = (f"{key}={written(value[key], place, where)}" for key in sorted(value))
        return f"{{{', '.join(items)}}}"
    if isinstance(value, Sequence):
        return f"({', '.join(written(item, place, where) for item in value)})"
    raise GraphError(
        f"{where} has an argument of type {type(value).__name__}, expected tensors, numbers, "
        "strings and lists of them: make it an attribute of a module"
    )


def _attributes(module: nn.Module) -> Iterator[tuple[str, Any]]:
    kinds = (*_PLAIN, *_SPELLED, tuple, list, FunctionType, BuiltinFunctionType)
    for name, value in vars(module).items():
        if not name.startswith("_") and name not in _NO_SETTINGS and isinstance(value, kinds):
            yield name, value


def _setting(value: Any, where: str) -> Setting:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, FunctionType | BuiltinFunctionType):
        return value.__name__
    if isinstance(value, tuple | list) and all(type(item) is int for item in value):
        return tuple(value)
    return written(value, str, where)
