"""The figure kinds of papers, drawn from a table of samples as a section describes them."""

from harness.report.charts.comparable import IncomparableError
from harness.report.charts.declared import Declared, declared
from harness.report.charts.export import SavedChart, save
from harness.report.charts.kinds import draw, plan
from harness.report.charts.published import published_charts

__all__ = [
    "Declared",
    "IncomparableError",
    "SavedChart",
    "declared",
    "draw",
    "plan",
    "published_charts",
    "save",
]
