"""Where trials are computed: processes here, or a Dask cluster; a worker that dies costs time, not a trial."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from build_tools.errors import SearchError
from build_tools.search.job import Job

TRIES = 3
"""A task is given up when workers died over it this many times."""
CONNECT_S = 15
POLL_S = 0.02
Task = Callable[..., Any]
"""A function of this package; its first argument is the job, which lies with the workers already."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A task that could not be computed: every worker that had it died. `reason` is one line."""

    reason: str


class Workers(Protocol):
    """Computes tasks elsewhere."""

    def slots(self) -> int:
        """How many tasks are worth handing out at a time; 0 while there is no worker."""

    def submit(self, key: int, task: Task, *arguments: Any) -> None:
        """Hand out `task(job, *arguments)` under a key of the caller's, to be found again in `finished`."""

    def finished(self, timeout_s: float) -> list[tuple[int, Any]]:
        """Key and result (or `Lost`) of every task that ended since, after waiting for one at the most so long."""


def each(workers: Workers, task: Task, arguments: Sequence[Any], told: Callable[[int], None]) -> Iterator[Any]:
    """`task(job, argument)` for every argument, as they are done.

    Raises:
        SearchError: a task was lost for good.
    """
    for key, argument in enumerate(arguments):
        workers.submit(key, task, argument)
    done = 0
    while done < len(arguments):
        for key, result in workers.finished(1.0):
            if isinstance(result, Lost):
                raise SearchError(f"{arguments[key]}: {result.reason}")
            done += 1
            told(done)
            yield result


class DaskWorkers:
    """Workers of a Dask cluster. The job is copied to each of them; the storage stays here.

    Args:
        client: connected `distributed.Client`.
        job: first argument of every task.
    """

    def __init__(self, client: Any, job: Job) -> None:
        self._client, self._job = client, job
        self._sent: Any = None
        self._running: dict[Any, _Handed] = {}
        self._waiting: list[_Handed] = []

    def slots(self) -> int:
        return int(sum(self._client.nthreads().values()))

    def submit(self, key: int, task: Task, *arguments: Any) -> None:
        self._hand_out(_Handed(key, task, arguments))

    def finished(self, timeout_s: float) -> list[tuple[int, Any]]:
        if self._waiting and self.slots():
            waiting, self._waiting = self._waiting, []
            for handed in waiting:
                self._hand_out(handed)
        # Not `distributed.wait`: it raises when one of them was cancelled, whatever became of the others.
        until = time.monotonic() + timeout_s
        while not (ended := [future for future in self._running if future.done()]) and time.monotonic() < until:
            time.sleep(POLL_S)
        results = []
        for future in ended:
            handed = self._running.pop(future)
            if future.status == "finished":
                results.append((handed.key, future.result()))
                continue
            reason = self._why(future)
            self._sent = None  # it may be lost with the worker, which is not told in every case
            handed.tries += 1
            if handed.tries >= TRIES:
                results.append((handed.key, Lost(f"given up after {TRIES} workers died over it: {reason}")))
            else:
                self._hand_out(handed)
        return results

    def _hand_out(self, handed: _Handed) -> None:
        if self._sent is None:
            try:  # to all workers: it is lost only with the last of them
                self._sent = self._client.scatter(self._job, broadcast=True, hash=False)
            except TimeoutError:  # no worker at the moment
                self._waiting.append(handed)
                return
        future = self._client.submit(handed.task, self._sent, *handed.arguments, pure=False, retries=0)
        self._running[future] = handed

    def _why(self, future: Any) -> str:
        """The reason of a task that ended badly.

        Raises:
            Exception: what the task itself raised: it would raise that again.
        """
        from distributed import CancelledError, KilledWorker

        try:
            error = future.exception()
        except CancelledError as cancelled:
            error = cancelled
        if isinstance(error, (KilledWorker, CancelledError)) or future.status in ("cancelled", "lost"):
            return str(error).splitlines()[0][:200] if str(error) else "its worker is gone"
        if isinstance(error, ImportError):
            raise SearchError(f"a worker has not all that trials need ({error}); install edge-runtime[search] there")
        raise error


@dataclass(slots=True)
class _Handed:
    """A task on its way."""

    key: int
    task: Task
    arguments: tuple[Any, ...]
    tries: int = field(default=0)


@contextmanager
def local_workers(job: Job, count: int) -> Iterator[DaskWorkers]:
    """Processes of this machine, each with one thread; a process that dies is started anew."""
    import dask
    import distributed

    settings: dict[str, Any] = {
        "n_workers": count, "threads_per_worker": 1, "processes": True, "dashboard_address": None,
        "memory_limit": None, "silence_logs": "CRITICAL",
    }  # fmt: skip
    make: Any = distributed.LocalCluster
    connect: Any = distributed.Client
    with dask.config.set(_QUIET):
        with _deaf():
            cluster = make(**settings)
        with cluster, connect(cluster) as client:
            yield DaskWorkers(client, job)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that start meanwhile do not hear Ctrl-C, which reaches all of a terminal: this one ends them."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set what signals do
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def cluster_workers(job: Job, address: str) -> Iterator[DaskWorkers]:
    """The workers of a cluster that someone started (`dask scheduler`, `dask worker`).

    Raises:
        SearchError: no scheduler at this address.
    """
    import dask
    import distributed

    connect: Any = distributed.Client
    with dask.config.set(_QUIET):
        try:
            client = connect(address, timeout=CONNECT_S)
        except (OSError, ValueError) as error:  # distributed's time-outs are OSErrors
            line = (str(error).splitlines() or ["no answer"])[0][:160]
            raise SearchError(
                f"--cluster {address}: no Dask scheduler answers ({line}); start one with `dask scheduler` and give "
                "the address it prints"
            ) from None
        with client:
            yield DaskWorkers(client, job)


_QUIET = {
    "distributed.worker.daemon": True,
    "distributed.comm.timeouts.connect": f"{CONNECT_S}s",
    # A worker that compiles or clusters a large layer on a busy machine is silent for long, and not dead.
    "distributed.scheduler.worker-ttl": None,
}
