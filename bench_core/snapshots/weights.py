"""State dicts from others' files: safetensors, whole or in shards, and pickles without code."""

from __future__ import annotations

import json
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import safe_open

from bench_core.errors import BenchCoreError, CorruptFileError, UnsupportedError
from bench_core.formats.reading import corrupt_file_errors
from bench_core.snapshots.errors import UnsafeFileError

SAFETENSORS: Final = "model.safetensors"
PICKLE: Final = "pytorch_model.bin"
INDEX: Final = ".index.json"

_ELSEWHERE: Final = {
    "adapter_config.json": "an adapter without its base model; merge the two and save the result",
    "tf_model.h5": "weights of TensorFlow alone; save them with PyTorch",
    "flax_model.msgpack": "weights of Flax alone; save them with PyTorch",
}
"""Files that say why a folder has no weights of ours."""

_CODE: Final = re.compile(r"(?:GLOBAL|function|instance of type) (\S+)")
"""In torch's refusals: the name of what a pickle wanted to import or to call."""


def weights_files(folder: Path) -> list[Path]:
    """Return the files that hold a folder's weights: one, or all shards that its index names.

    Safetensors are preferred to pickles, as transformers does.

    Raises:
        UnsupportedError: there are none that can be read here.
        CorruptFileError: a shard is missing, or the index is damaged.
    """
    for name in (SAFETENSORS, PICKLE):
        if (folder / name).is_file():
            return [folder / name]
        index = folder / f"{name}{INDEX}"
        if index.is_file():
            return _shards(index)
    for name, reason in _ELSEWHERE.items():
        if (folder / name).is_file():
            raise UnsupportedError(f"{folder}: {reason}")
    raise UnsupportedError(f"{folder}: no weights; expected {SAFETENSORS} or {PICKLE}")


def read_folder(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a folder in Hugging Face layout, mapped and not yet read.

    Raises:
        UnsupportedError: there are none that can be read here.
        UnsafeFileError: a pickle has code in it.
        CorruptFileError: a file is damaged, a shard missing, or a tensor in two shards.
    """
    state: dict[str, torch.Tensor] = {}
    for path in weights_files(folder):
        tensors = read_state(path)
        twice = next((name for name in tensors if name in state), None)
        if twice is not None:
            raise CorruptFileError(f"{path}: tensor {twice!r} is in another shard, too")
        state.update(tensors)
    return state


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of one file, mapped and not yet read where its format can be mapped.

    Args:
        path: ``*.safetensors``, or whatever `torch.save` wrote: a state dict, also under the key
            ``state_dict``. No code of a pickle is executed.

    Raises:
        FileNotFoundError: there is no such file.
        UnsafeFileError: a pickle has code in it.
        CorruptFileError: the file is damaged, or no state dict.
    """
    if not path.is_file():
        raise FileNotFoundError(2, "no such file", str(path))
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)


def _shards(index: Path) -> list[Path]:
    try:
        places: dict[str, str] = json.loads(index.read_bytes())["weight_map"]
        names = sorted(set(places.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptFileError(
            f"{index}: no index of shards, {type(error).__name__}: {error}"
        ) from error
    for name in names:
        if Path(name).name != name:
            raise CorruptFileError(f"{index}: names {name!r}, expected a file beside the index")
        if not (index.parent / name).is_file():
            raise CorruptFileError(
                f"{index.parent}: shard {name} is missing, one of {len(names)} that {index.name} "
                "names; fetch the model anew"
            )
    return [index.parent / name for name in names]


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    with corrupt_file_errors(path), safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _read_pickle(path: Path) -> dict[str, torch.Tensor]:
    # Only the archives that torch writes since 1.6 can be mapped.
    can_map = zipfile.is_zipfile(path)
    with corrupt_file_errors(path):
        try:
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=can_map)
        except pickle.UnpicklingError as error:
            raise _refusal(path, error) from error
    return _state_dict(path, content)


def _refusal(path: Path, error: pickle.UnpicklingError) -> BenchCoreError:
    """Return what to say of a pickle that torch refuses: it has code in it, or is damaged."""
    wanted = _CODE.search(str(error))
    if wanted is None:
        return CorruptFileError(f"{path}: no file of torch.save, or damaged")
    return UnsafeFileError(
        f"{path}: the pickle asks for {wanted.group(1)}, which could run code; nothing was "
        "executed; save the tensors alone, as safetensors"
    )


def _state_dict(path: Path, content: Any) -> dict[str, torch.Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping):
        raise CorruptFileError(
            f"{path}: holds a {type(content).__name__}, expected a dictionary of tensors by name"
        )
    strange = next((name for name, item in content.items() if not torch.is_tensor(item)), None)
    if strange is not None:
        raise CorruptFileError(
            f"{path}: {strange!r} is a {type(content[strange]).__name__}, expected tensors only"
        )
    return {str(name): tensor.detach() for name, tensor in content.items()}
