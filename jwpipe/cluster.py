"""Where the graph runs: threads, one thread, processes on this machine, or a cluster's scheduler over TCP."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import dask
from dask.callbacks import Callback
from dask.system import CPU_COUNT

if TYPE_CHECKING:
    from distributed import Client, Future

Progress = Callable[[int, int], None]

POLL_SECONDS = 0.5
SETTLE_SECONDS = 30
ANSWER_TIMEOUT = "15s"
WORKER_TIMEOUT = 60
UNFINISHED = ("waiting", "no-worker", "queued", "processing")


class SchedulerError(RuntimeError):
    """The scheduler asked for cannot be reached, or has lost its workers."""


class UnknownScheduler(SchedulerError):  # noqa: N818
    """There is no such scheduler."""


class Executor:
    """Computes lazy values on this machine's threads (or in this very thread)."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def compute(self, values: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        """The computed ``values``; ``progress(done, total)`` is called as tasks finish."""
        with _Counter(progress), self._threads():
            return tuple(dask.compute(*values, optimize_graph=True))

    def persist(self, values: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        """``values`` with their chunks computed and kept where they were computed."""
        with _Counter(progress), self._threads():
            return tuple(dask.persist(*values))

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """Threads for one computation: when it is over, also by an error, none of them writes any more."""
        with ThreadPoolExecutor(self.workers) as pool, dask.config.set(pool=pool):
            yield

    def peak_memory(self) -> int:
        """Peak resident bytes of the largest process that computed."""
        return _own_peak()


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
        """The computed ``values``; raises what the tasks raised, `SchedulerError` where all workers are lost."""
        futures = self.client.compute(list(values))
        try:
            self._follow(futures, progress)
            return tuple(self.client.gather(futures))
        except BaseException:
            self._settle(futures)
            raise

    def persist(self, values: Sequence[Any], progress: Progress | None = None) -> tuple[Any, ...]:
        """``values`` with their chunks computed and kept on the workers."""
        from distributed import futures_of

        kept = self.client.persist(list(values))
        self._follow(futures_of(kept), progress)
        return tuple(kept)

    def _follow(self, futures: Sequence[Future], progress: Progress | None) -> None:
        """Wait for ``futures`` and tell how far the scheduler's tasks are."""
        from distributed import wait

        total, alone = 0, 0.0
        while waiting := _pending(futures):
            try:
                wait(waiting, timeout=POLL_SECONDS, return_when="FIRST_COMPLETED")
            except TimeoutError:
                pending, workers = self._state()
                alone = 0.0 if workers else alone + POLL_SECONDS
                total = max(total, pending)
                if progress is not None and total:
                    progress(total - pending, total)
                if alone > WORKER_TIMEOUT:
                    raise _no_workers(self.client) from None

    def _settle(self, futures: Sequence[Future]) -> None:
        """Give up ``futures``, and wait until no worker writes for them any more."""
        with suppress(OSError, SchedulerError):
            self.client.cancel(futures)
            until = time.monotonic() + SETTLE_SECONDS
            while self._state()[0] and time.monotonic() < until:
                time.sleep(POLL_SECONDS)

    def _state(self) -> tuple[int, int]:
        """Unfinished tasks, and workers, as the scheduler knows them."""
        try:
            return self.client.run_on_scheduler(_state)
        except OSError as error:
            raise SchedulerError(
                f"the scheduler at {self.client.scheduler.address} does not answer any more ({error}); "
                "start it again and repeat the run"
            ) from None

    def peak_memory(self) -> int:
        """Peak resident bytes of the largest process: a worker or this one."""
        return max(_own_peak(), *self.client.run(_own_peak).values())


def _pending(futures: Sequence[Future]) -> list[Future]:
    """Those to wait for: none where one has failed."""
    failed = any(future.status == "error" for future in futures)
    return [] if failed else [future for future in futures if future.status == "pending"]


def _state(dask_scheduler: Any) -> tuple[int, int]:
    """Unfinished tasks, and workers, of a scheduler."""
    tasks = sum(task.state in UNFINISHED for task in dask_scheduler.tasks.values())
    return tasks, len(dask_scheduler.workers)


def _no_workers(client: Client) -> SchedulerError:
    return SchedulerError(
        f"the scheduler at {client.scheduler.address} had no worker for {WORKER_TIMEOUT} s; "
        "start workers with 'dask worker'"
    )


def _own_peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check_scheduler(name: str) -> None:
    """Refuse names that no scheduler has.

    Raises
    ------
    UnknownScheduler
        Saying what is expected.
    """
    if name not in ("sync", "threads", "local") and "://" not in name:
        raise UnknownScheduler(
            f"scheduler {name!r} is not known; expected threads, sync, local or tcp://host:port"
        )


def threads_of(scheduler: str, workers: int | None) -> int:
    """Tasks that run at once in one process."""
    check_scheduler(scheduler)
    return (workers or CPU_COUNT) if scheduler == "threads" else 1


@contextmanager
def connect(scheduler: str = "threads", workers: int | None = None) -> Iterator[Executor]:
    """Compute on ``threads``, ``sync`` (one thread), ``local`` (processes) or a ``tcp://`` scheduler.

    ``workers`` is the number of threads or processes, all cores where not given; a scheduler's workers are its own.

    Raises
    ------
    UnknownScheduler
        Where the name is none of these.
    SchedulerError
        Where nobody answers at the address, or no worker comes.
    """
    check_scheduler(scheduler)
    count = workers or CPU_COUNT
    if scheduler == "sync":
        with dask.config.set(scheduler="synchronous"):
            yield Executor(1)
    elif scheduler == "threads":
        with dask.config.set(scheduler="threads", num_workers=count):
            yield Executor(count)
    elif scheduler == "local":
        with _local(count) as executor:
            yield executor
    else:
        with _remote(scheduler) as executor:
            yield executor


@contextmanager
def _local(count: int) -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        client.run(_leave_interrupts_to_us)
        yield ClusterExecutor(client)


def _leave_interrupts_to_us() -> None:
    """Ctrl-C reaches all processes of a terminal; the one that the user started tidies up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def _remote(address: str) -> Iterator[Executor]:
    from distributed import Client

    try:
        client = Client(address, timeout=ANSWER_TIMEOUT)
    except (OSError, TimeoutError, ValueError) as error:
        raise SchedulerError(
            f"no dask scheduler answers at {address} ({error}); start one with 'dask scheduler' "
            "and workers with 'dask worker'"
        ) from None
    with client:
        try:
            client.wait_for_workers(1, timeout=WORKER_TIMEOUT)
        except TimeoutError:
            raise _no_workers(client) from None
        yield ClusterExecutor(client)
