"""Ray actors that search: started on this machine or in a cluster, waited for, and ended."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Final

from bench_core.data import DataRecipe, SearchData
from bench_core.errors import BenchCoreError
from bench_core.model_search.batches import Batch
from bench_core.model_search.engines.search_worker import Found, Setup, Worker
from bench_core.model_search.errors import SearchError
from bench_core.model_search.meter import Work
from bench_core.model_search.partition import Part
from bench_core.optional import require

_RETRIES: Final = 2
"""How often Ray starts a worker again that was lost, and what it was doing."""
_START_SECONDS: Final = 300
_ANSWER_SECONDS: Final = 10
_POLL_SECONDS: Final = 1.0


class RayCrew:
    """Workers of one search."""

    def __init__(
        self, setup: Setup, data: SearchData | DataRecipe, n_workers: int, address: str | None
    ) -> None:
        """Start the workers, and a Ray of this machine where there is none and no address.

        Raises:
            SearchError: the data cannot be sent, or the cluster has no room for the workers.
            MissingExtraError: Ray is not installed.
        """
        self._ray: Any = require("ray", "ray")
        self._actors: list[Any] = []
        # As references: each worker fetches them once, and again where it is started again.
        self._sent: list[Any] = []
        self._is_own = not self._ray.is_initialized()
        if self._is_own:
            _begin(self._ray, address, n_workers * setup.n_threads)
        try:
            self._start(setup, data, n_workers)
        except BaseException:
            self.close()
            raise

    def _start(self, setup: Setup, data: SearchData | DataRecipe, n_workers: int) -> None:
        needs = {"num_cpus": setup.n_threads, "num_gpus": float(not setup.device.startswith("cpu"))}
        self._check_room(needs, n_workers)
        actor = self._ray.remote(max_restarts=_RETRIES, max_task_retries=_RETRIES, **needs)(_Actor)
        self._sent = [self._ray.put(setup), _sent(self._ray, data)]
        self._actors = [actor.remote() for _ in range(n_workers)]

    def _check_room(self, needs: dict[str, float], n_workers: int) -> None:
        has = self._ray.cluster_resources()
        for kind, number in (("CPU", needs["num_cpus"]), ("GPU", needs["num_gpus"])):
            if has.get(kind, 0) < number * n_workers:
                raise SearchError(
                    f"{n_workers} workers of {number:g} {kind}s each, but Ray has "
                    f"{has.get(kind, 0):g} in all; ask for fewer workers, or fewer threads of torch"
                )

    def environments(self) -> list[str]:
        """Return what computes in each worker, once all are there.

        Raises:
            SearchError: they do not come up.
        """
        asked = [actor.environment.remote(self._sent) for actor in self._actors]
        try:
            found: list[str] = self._ray.get(asked, timeout=_START_SECONDS)
        except self._ray.exceptions.GetTimeoutError as error:
            raise SearchError(
                f"{len(asked)} workers are not there after {_START_SECONDS} s; ask for fewer, or "
                "wait until Ray has room for them"
            ) from error
        except self._ray.exceptions.RayError as error:
            raise _reason(error) from error
        return found

    def extract(self, parts: Sequence[tuple[int, Part]]) -> Iterator[tuple[Part, Found | Work]]:
        """Let workers, by number, take parts; yield what comes back, as it comes.

        Where one fails the others finish first, so that their work is not lost.

        Raises:
            BenchCoreError: what a worker raised; `SearchError` where it was lost too often.
        """
        asked = {self._stream(worker, part): part for worker, part in parts}
        failure: BenchCoreError | None = None
        while asked:
            ready, _ = self._ray.wait(list(asked), num_returns=1, timeout=_POLL_SECONDS)
            for stream in ready:
                try:
                    yield asked[stream], self._ray.get(next(stream))
                except StopIteration:
                    del asked[stream]
                except self._ray.exceptions.RayError as error:
                    failure = failure or _reason(error)
                    del asked[stream]
        if failure is not None:
            raise failure

    def _stream(self, worker: int, part: Part) -> Any:
        return self._actors[worker].extract.remote(self._sent, part.models, part.batches)

    def close(self) -> None:
        """End the workers, whatever they do, and the Ray that was started for them."""
        for actor in self._actors:
            self._ray.kill(actor)
        self._actors.clear()
        self._sent.clear()
        if self._is_own:
            self._ray.shutdown()


class _Actor:
    """A worker that fetches what it works with when it is first asked, also after it was lost."""

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def environment(self, sent: list[Any]) -> str:
        """See `Worker.environment`."""
        return self._opened(sent).environment()

    def extract(
        self, sent: list[Any], models: Sequence[int], batches: Sequence[Batch]
    ) -> Iterator[Found | Work]:
        """See `Worker.extract`."""
        yield from self._opened(sent).extract(models, batches)

    def _opened(self, sent: list[Any]) -> Worker:
        if self._worker is None:
            self._worker = Worker(*require("ray", "ray").get(sent))
        return self._worker


def _begin(ray: Any, address: str | None, n_cpus: int) -> None:
    """Connect to a running Ray, or start one of this machine.

    Raises:
        SearchError: there is none at the address.
    """
    quiet = {"log_to_driver": False, "logging_level": logging.WARNING}
    if address is None:
        # Said outright, so that an address in the environment does not count.
        ray.init(address="local", num_cpus=n_cpus, include_dashboard=False, **quiet)
        return
    host, _, port = address.rpartition(":")
    try:
        if port.isdecimal() and "/" not in host:
            # Ray itself would try for minutes.
            socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
        ray.init(address=address, **quiet)
    except (OSError, ValueError, RuntimeError) as error:
        raise SearchError(
            f"no Ray answers at {address} ({_first_line(error)}); start one there, or leave the "
            "address out for one of this machine"
        ) from error


def _sent(ray: Any, data: SearchData | DataRecipe) -> Any:
    """Return the data where every worker can fetch them."""
    try:
        return ray.put(data)
    # Anything may be raised: each class decides for itself how it is pickled.
    except Exception as error:
        raise SearchError(
            f"the data cannot be sent to workers ({' '.join(str(error).split())[:200]}); give a "
            "DataRecipe, or data sets that can be pickled"
        ) from error


def _reason(error: Exception) -> BenchCoreError:
    """Return what a worker raised, or in one line that it was lost."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BenchCoreError):
        return cause
    if cause is not None:
        return SearchError(f"a worker failed: {type(cause).__name__}: {_first_line(cause)}")
    return SearchError(
        f"a worker was lost more than {_RETRIES} times ({_first_line(error)}); what came back is "
        "in the journal, if there is one: search again"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
