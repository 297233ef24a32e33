"""Blocks that a later round is sure to need, whichever models are left by then."""

from __future__ import annotations

import numpy as np

from bench_core.model_search.planning.prefix_tree import ROOT, Ints, PrefixTree


def sure_path(prefixes: PrefixTree, through: Ints, n_dropped: int) -> list[int]:
    """Return the nodes, from the input on, that more models share than will have dropped out.

    Of such models at least one is left, so its blocks must run over all that is added later. While
    at most half of the models are left, no two nodes of one depth can be sure; where more are, the
    path follows the node that most of them have.

    Args:
        prefixes: the tree.
        through: for each node how many of the models now in the search have it.
        n_dropped: how many of these will have dropped out by the later round.
    """
    sure = np.flatnonzero(through > n_dropped)
    path: list[int] = []
    node = ROOT
    while True:
        behind = sure[prefixes.parent[sure] == node]
        if not len(behind):
            return path
        node = int(behind[np.argmax(through[behind])])
        path.append(node)
