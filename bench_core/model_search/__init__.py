"""Model search: which of many trained models is the best base for a data set."""

from bench_core.model_search.engines import ENGINES
from bench_core.model_search.errors import BudgetError, SearchError
from bench_core.model_search.halving import Halving, Round, plan_rounds
from bench_core.model_search.meter import PHASES, Work
from bench_core.model_search.result import Ranked, RoundResult, Scored, SearchResult
from bench_core.model_search.search import search
from bench_core.model_search.settings import Settings

__all__ = [
    "ENGINES",
    "PHASES",
    "BudgetError",
    "Halving",
    "Ranked",
    "Round",
    "RoundResult",
    "Scored",
    "SearchError",
    "SearchResult",
    "Settings",
    "Work",
    "plan_rounds",
    "search",
]
