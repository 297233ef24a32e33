"""From bytes of colour to what an image model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from bench_core.data.errors import DataError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Pixels:
    """Scaling to [0, 1], then normalisation of each colour: ``(x / 255 - mean) / std``.

    The defaults are those of models trained on ImageNet (Strassenburg et al., "Alsatian", SIGMOD
    2025, section 5: ToTensor, then Normalize).
    """

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @classmethod
    def of(cls, mean: Sequence[float], std: Sequence[float]) -> Pixels:
        """Return the normalisation by these.

        Raises:
            DataError: they are not three numbers each, or a deviation is not above 0.
        """
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise DataError(
                f"mean {tuple(mean)} and std {tuple(std)} of colours, expected three numbers each "
                "and every deviation above 0"
            )
        return cls((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))

    def finished(self, images: torch.Tensor) -> torch.Tensor:
        """Return float32 of the same shape, from uint8 of shape ``(n, 3, height, width)``.

        Looked up for each of the 256 values, by numpy: this runs beside a computation, and a
        second team of torch's threads would make both wait for the cores.
        """
        levels = torch.arange(256, dtype=torch.float32).div_(255)
        finished = np.empty(images.shape, dtype=np.float32)
        for colour, (mean, std) in enumerate(zip(self.mean, self.std, strict=True)):
            table = levels.sub(mean).div_(std).numpy()
            np.take(table, images[:, colour].numpy(), out=finished[:, colour], mode="clip")
        return torch.from_numpy(finished)

    def as_json(self) -> dict[str, Any]:
        """Return what belongs into a digest."""
        return {"mean": list(self.mean), "std": list(self.std)}
