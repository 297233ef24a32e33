"""Small searches that take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench_core.weight_transfer import spaces
from bench_core.weight_transfer.evolution import Evolution, MethodRecipe, SearchResult, Setup
from bench_core.weight_transfer.tasks import TaskRecipe
from bench_core.weight_transfer.training import TrainingPlan

TASK = TaskRecipe.of("generated", shapes=((8,),), outputs=3, n_train=96, n_validation=64)
SETTINGS = Evolution(candidates=14, population=5, sample=3, beta=None, seed=3)


def setup(folder: Path | None = None, **changes: Any) -> Setup:
    """A search over four dense layers; models in memory, or in files that processes share."""
    method = (
        MethodRecipe("store", servers=("memory:",))
        if folder is None
        else MethodRecipe("store", servers=(f"files:{folder / 'models'}",))
    )
    space = spaces.get("feed-forward", inputs=8, outputs=3, layers=4)
    plan = TrainingPlan(batch_size=32)
    return Setup(**{"space": space, "task": TASK, "method": method, "plan": plan, **changes})


def history(result: SearchResult) -> list[tuple[Any, ...]]:
    """All of a search but times and ids: who came, from whom, with which layers, how good."""
    births = {one.candidate.model: one.candidate.birth for one in result.arrivals}
    return [
        (
            one.candidate.birth,
            one.candidate.arch,
            one.candidate.parent,
            None if one.candidate.match is None else births[one.candidate.match.donor],
            None if one.candidate.match is None else one.candidate.match.positions,
            one.outcome.accuracy,
            one.outcome.bytes_physical,
        )
        for one in result.arrivals
    ]
