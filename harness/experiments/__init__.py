"""Experiments: sections of TOML, their grid of cases, and the run that measures them.

``define`` checks a section before anything runs; ``run_section`` takes its samples, interleaved,
one process a comparison, and appends each to the run's file as it ends. A contender may be measured
twice in each round: its twin shows, in the report, what a contender differs from itself by.
"""

from harness.experiments.experiment import Experiment, define, define_again
from harness.experiments.plan import Group, Turn, plan, remaining
from harness.experiments.progress import Progress
from harness.experiments.runner import Outcome, Watcher, run_section
from harness.experiments.sections import Comparison, Section

__all__ = [
    "Comparison",
    "Experiment",
    "Group",
    "Outcome",
    "Progress",
    "Section",
    "Turn",
    "Watcher",
    "define",
    "define_again",
    "plan",
    "remaining",
    "run_section",
]
