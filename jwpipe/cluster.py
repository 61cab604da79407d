"""Where the graph runs: threads, one thread, processes on this machine, or a cluster's scheduler over TCP."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import dask
from dask.callbacks import Callback

if TYPE_CHECKING:
    from distributed import Client

Progress = Callable[[int, int], None]


class SchedulerError(RuntimeError):
    """The scheduler asked for cannot be reached."""


class Executor:
    """Computes lazy values on this machine's threads (or in this very thread)."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def compute(self, values: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        """The computed ``values``; ``progress(done, total)`` is called as tasks finish."""
        with _Counter(progress):
            return tuple(dask.compute(*values, optimize_graph=True))

    def persist(self, values: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        """``values`` with their chunks computed and kept where they were computed."""
        with _Counter(progress):
            return tuple(dask.persist(*values))

    def peak_memory(self) -> int:
        """Peak resident bytes of the largest process that computed."""
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _Counter(Callback):
    """Counts finished tasks of the local schedulers."""

    def __init__(self, progress: Progress | None) -> None:
        super().__init__()
        self._progress = progress

    def _posttask(self, key: Any, result: Any, dsk: Any, state: Any, worker_id: Any) -> None:
        if self._progress is not None:
            done, waiting = len(state["finished"]), sum(map(len, _unfinished(state)))
            self._progress(done, done + waiting)


def _unfinished(state: Any) -> tuple[Any, Any, Any]:
    return state["waiting"], state["ready"], state["running"]


class ClusterExecutor(Executor):
    """Computes on the workers of a dask scheduler."""

    def __init__(self, client: Client) -> None:
        super().__init__(max(1, sum(client.nthreads().values())))
        self.client = client

    def compute(self, values: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        """The computed ``values``; raises what the tasks raised."""
        from distributed import as_completed

        futures = self.client.compute(list(values))
        for done, _future in enumerate(as_completed(futures), 1):
            if progress is not None:
                progress(done, len(futures))
        return tuple(self.client.gather(futures))

    def persist(self, values: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        """``values`` with their chunks computed and kept on the workers."""
        from distributed import wait

        kept = self.client.persist(list(values))
        wait(kept)
        return tuple(kept)

    def peak_memory(self) -> int:
        """Peak resident bytes of the largest worker."""
        return max(self.client.run(_own_peak).values(), default=0)


def _own_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextmanager
def connect(scheduler: str = "threads", workers: int | None = None) -> Iterator[Executor]:
    """Compute on ``threads``, ``sync`` (one thread), ``local`` (processes) or a ``tcp://`` scheduler.

    Raises
    ------
    SchedulerError
        Where the name is none of these, or nobody answers at the address.
    """
    count = workers or os.cpu_count() or 1
    if scheduler == "sync":
        with dask.config.set(scheduler="synchronous"):
            yield Executor(1)
    elif scheduler == "threads":
        with dask.config.set(scheduler="threads", num_workers=count):
            yield Executor(count)
    elif scheduler == "local":
        with _local(count) as executor:
            yield executor
    elif "://" in scheduler:
        with _remote(scheduler) as executor:
            yield executor
    else:
        raise SchedulerError(
            f"scheduler {scheduler!r} is not known; expected threads, sync, local or tcp://host:port"
        )


@contextmanager
def _local(count: int) -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        yield ClusterExecutor(client)


@contextmanager
def _remote(address: str) -> Iterator[Executor]:
    from distributed import Client

    try:
        client = Client(address, timeout="15s")
    except (OSError, TimeoutError, ValueError) as error:
        raise SchedulerError(
            f"no dask scheduler answers at {address} ({error}); start one with 'dask scheduler' "
            "and workers with 'dask worker'"
        ) from None
    with client:
        if not client.nthreads():
            client.wait_for_workers(1, timeout="60s")
        yield ClusterExecutor(client)
