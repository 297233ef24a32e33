"""A distributed search where no Ray runs yet: one is started, and ended with the search."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from search_sets import items, store_of

from bench_core.model_search import SearchError, search

ray: Any = pytest.importorskip("ray", reason="the extra ray is not installed")


@pytest.mark.slow
def test_ray_is_started_for_a_search_and_ended_with_it(tmp_path: Path) -> None:
    assert not ray.is_initialized()
    store = store_of(tmp_path, [(0, 1), (0, 2), (1, 1)])
    result = search(store, items(60), engine="distributed", workers=2)
    assert result.table == search(store, items(60)).table
    assert not ray.is_initialized()


OTHER = """
import ray
print(ray.init(num_cpus=2, include_dashboard=False).address_info["gcs_address"], flush=True)
input()
"""


@pytest.mark.slow
def test_a_running_ray_is_used_and_left_running(tmp_path: Path) -> None:
    store = store_of(tmp_path, [(0, 1), (0, 2), (1, 1)])
    expected = search(store, items(60)).table
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", OTHER], stdin=pipe, stdout=pipe, text=True) as p:
        assert p.stdin is not None and p.stdout is not None
        options: dict[str, Any] = {"workers": 2, "ray_address": p.stdout.readline().strip()}
        for _ in range(2):
            assert search(store, items(60), engine="distributed", **options).table == expected
        p.stdin.write("\n")
        p.stdin.close()
        assert p.wait(60) == 0


@pytest.mark.slow
def test_an_address_without_a_ray_is_refused_in_one_line(tmp_path: Path) -> None:
    store = store_of(tmp_path, [(0, 1)])
    with pytest.raises(SearchError, match="no Ray answers at") as caught:
        search(store, items(60), engine="distributed", ray_address="127.0.0.1:1")
    assert "\n" not in str(caught.value)
