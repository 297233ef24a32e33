"""Experiments: sections of TOML, their grid of cells, and the runs that measure them.

``define`` checks a section before anything runs; ``run`` takes the samples that its folder lacks,
contenders interleaved, a process for each cell, on this machine or by another engine. A contender
may be measured twice in each round: its twin shows what a contender differs from itself by.
"""

from harness.experiments.experiment import Call, Experiment, call_for, define
from harness.experiments.plan import Cell, Turn, plan, remaining
from harness.experiments.run_folder import RunFolder, chosen_folder, folder_for
from harness.experiments.runner import Outcome, Part, run
from harness.experiments.sections import Comparison, Section
from harness.experiments.share import Share
from harness.experiments.watcher import Watcher, Watchers

__all__ = [
    "Call",
    "Cell",
    "Comparison",
    "Experiment",
    "Outcome",
    "Part",
    "RunFolder",
    "Section",
    "Share",
    "Turn",
    "Watcher",
    "Watchers",
    "call_for",
    "chosen_folder",
    "define",
    "folder_for",
    "plan",
    "remaining",
    "run",
]
