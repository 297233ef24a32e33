"""From storage to first use: until the tensors are on the device, or a forward pass is done."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from benchmarks.layer_loading import CACHES, LoadBenchmark
from benchmarks.support.common import COLD, bytes_of, require_cuda, require_equal, tensor_bytes
from benchmarks.support.loaders import is_mapping
from harness.errors import RefusedError, WrongResultError
from harness.records import Param

if TYPE_CHECKING:
    import torch
    from torch import nn

    from harness.limits import Limits


class ToDevice(LoadBenchmark):
    """Inside the clock: open, read all tensors, copy them to the CUDA device, device sync, close.

    ``streamed`` and ``auto`` are policies of `layer_loading`; the others read on the host and copy
    tensor by tensor. Ideal: the slower of the two stages, which can overlap: a direct read (when
    cold) and a copy from pinned memory.
    """

    params = (
        ("auto", "streamed", "direct", "torch", "safetensors", "fastsafetensors", "runai"),
        CACHES,
        ("stack_8x1MiB",),
    )
    param_names = ("format", "cache", "model")

    def prepare(self, format: str, cache: str, model: str) -> None:
        require_cuda()
        self.prepare_load(format, cache, model)

    def time_load(self, format: str, cache: str, model: str) -> Any:
        return self.loader.load(self.path, device="cuda")

    def ideal_seconds(self, limits: Limits) -> float | None:
        nbytes = bytes_of(self.expected)
        copy = limits.seconds("h2d_pinned", nbytes)
        read = limits.seconds("sequential_read", nbytes)
        return max(copy, read) if self.cache in COLD and copy and read else copy


class FirstForward(LoadBenchmark):
    """Inside the clock: open, read, assign the tensors to the module, one forward pass, close.

    Formats that map the file may leave the reading to the forward pass, which then waits for its
    page faults: that is inside. Of embeddings it reads few rows only, so that mapped ones need not
    come. Ideal: cold, the bytes at the probed bandwidth of a direct read; none when warm, for
    mapped tensors need not be copied at all.
    """

    params = (
        ("auto", "direct", "torch", "torch_mmap", "safetensors", "safetensors_pread"),
        CACHES,
        ("stack_8x1MiB",),
    )
    param_names = ("format", "cache", "model")
    quick = {"format": ("auto", "direct", "torch_mmap", "safetensors"), "cache": CACHES}

    module: Any = None

    def prepare(self, format: str, cache: str, model: str) -> None:
        import torch

        from bench_core import models

        self.prepare_load(format, cache, model)
        self.module = self.cached(
            ("module", model, self.seed), lambda: models.build(model, "cpu", self.seed)
        )
        self.input = example_input(self.module, model)
        with torch.inference_mode():
            self.answer = _tensor_of(self.module(self.input))

    def time_forward(self, format: str, cache: str, model: str) -> Any:
        import torch

        with torch.inference_mode():
            loaded = self.loader.load(self.path, arrived=False)
            self.module.load_state_dict(loaded, assign=True)
            return self.module(self.input)

    @classmethod
    def planned_bytes(cls, **params: Param) -> int:
        """Return the bytes of the model; where it is mapped, without its embeddings."""
        model = str(params["model"])
        nbytes = tensor_bytes(model)
        if not is_mapping(str(params["format"]), str(params["cache"])):
            return sum(nbytes.values())
        return sum(nbytes[name] for name in nbytes.keys() - _embeddings_of(model))

    def needed_bytes(self) -> int:
        if not self.loader.is_mapping(self.cache):
            return bytes_of(self.expected)
        looked_up = embeddings(self.module)
        return sum(t.nbytes for name, t in self.expected.items() if name not in looked_up)

    def ideal_seconds(self, limits: Limits) -> float | None:
        if self.cache not in COLD:
            return None
        return limits.seconds("sequential_read", self.needed_bytes())

    def verify(self) -> None:
        """Compare the tensors bit by bit, and the answer with that of the reference tensors.

        The answers may differ in rounding: mapped tensors lie at other alignments.
        """
        import torch

        require_equal(self.module.state_dict(), self.expected)
        answer = _tensor_of(self.result)
        if not torch.allclose(answer, self.answer, rtol=1e-3, equal_nan=True):
            raise WrongResultError("the forward pass on the loaded tensors gives another answer")

    def clean(self) -> None:
        """Let go of the loaded tensors: pages that are mapped cannot be made cold."""
        if self.module is not None:
            self.module.load_state_dict(self.expected, assign=True)


def embeddings(module: nn.Module) -> set[str]:
    """Return the names of the tensors of which a forward pass reads some rows only."""
    from torch import nn

    named = module.named_modules()
    return {f"{name}.weight" for name, part in named if isinstance(part, nn.Embedding)}


@functools.cache
def _embeddings_of(model: str) -> set[str]:
    from bench_core import models

    return embeddings(models.build(model))


def example_input(module: nn.Module, model: str) -> torch.Tensor:
    """Return an input for one example.

    Raises:
        RefusedError: it is not known here what the model takes.
    """
    import torch

    generator = torch.Generator().manual_seed(0)
    if model.startswith("stack_"):
        return torch.randn(1, next(module.parameters()).shape[1], generator=generator)
    if model.startswith(("resnet", "vit_")):
        return torch.randn(1, 3, 224, 224, generator=generator)
    if model in ("bert_base", "gpt2"):
        return torch.randint(0, 1000, (1, 32), generator=generator)
    raise RefusedError(f"no example input is known for {model}")


def _tensor_of(output: Any) -> torch.Tensor:
    """Return the tensor of a module's output; the transformers library wraps it."""
    found: torch.Tensor = output[0] if isinstance(output, tuple | dict) else output
    return found
