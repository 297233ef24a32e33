"""CANDLE's NT3: a network for gene expressions in which one dense layer holds nearly all bytes."""

from __future__ import annotations

from typing import Final

import torch
from torch import nn

N_GENES: Final = 60_483
_FILTERS: Final = 128


class Nt3(nn.Module):
    """Two convolutions over the gene axis and three dense layers (ECP-CANDLE, Pilot1/NT3).

    The first dense layer has 773,760 inputs, so its width sets the model's size: 200, CANDLE's
    own, gives 154,922,918 parameters (620 MB in float32); 16 gives 50 MB. The layer mix, one
    huge tensor among tiny ones, stays the same.
    """

    def __init__(self, dense: int) -> None:
        super().__init__()
        n_positions = (N_GENES - 20 + 1 - 10 + 1) // 10
        self.conv1 = nn.Conv1d(1, _FILTERS, kernel_size=20)
        self.conv2 = nn.Conv1d(_FILTERS, _FILTERS, kernel_size=10)
        self.pool = nn.MaxPool1d(10)
        self.dense1 = nn.Linear(n_positions * _FILTERS, dense)
        self.dense2 = nn.Linear(dense, 20)
        self.output = nn.Linear(20, 2)

    def forward(self, genes: torch.Tensor) -> torch.Tensor:
        """Return the two class probabilities for ``genes`` of shape (batch, 1, 60483)."""
        x = torch.relu(self.conv1(genes))
        x = self.pool(torch.relu(self.conv2(x))).flatten(1)
        x = torch.relu(self.dense2(torch.relu(self.dense1(x))))
        return torch.softmax(self.output(x), dim=1)
