"""The search: wishes are asked for here, computed by workers, and what they cost is told to the sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from build_tools.search.job import Job
from build_tools.search.sensitivity import LayerScan, scan, scan_layer
from build_tools.search.storage import Storage
from build_tools.search.trial import Failure, Outcome, as_attributes, run_trial
from build_tools.search.workers import Lost, Workers, each

Told = Callable[[str], None]
"""Told of what happens, a line at a time."""


def scanned(job: Job, storage: Storage, workers: Workers, told: Told) -> list[LayerScan]:
    """The sensitivity scan: kept, or made now.

    Raises:
        SearchError: a layer's scan was lost for good.
    """
    kept = storage.scans()
    if kept is not None:
        told(f"sensitivity of {len(kept)} layers: kept from before")
        return kept

    def on_workers(names: list[str]) -> Iterator[LayerScan]:
        told(f"sensitivity of {len(names)} layers")
        return each(workers, scan_layer, names, lambda done: told(f"sensitivity {done}/{len(names)}"))

    found = scan(job, on_workers)
    storage.keep_scans(found)
    return found


def search(storage: Storage, scans: Sequence[LayerScan], workers: Workers, trials: int, told: Told) -> None:
    """Go on until the storage has `trials` trials that count.

    Whenever this is stopped, the storage can be resumed: what was running is done again.
    """
    done = len(storage.done())
    running: set[int] = set()
    idle = False
    while done < trials:
        slots = workers.slots()
        if not slots and not idle:
            told("no worker at the moment: waiting for one (`dask worker ADDRESS --nthreads 1` starts one)")
        idle = not slots
        while len(running) < min(slots, trials - done):
            number, wish = storage.ask()
            running.add(number)
            workers.submit(number, run_trial, list(scans), wish)
        for number, result in workers.finished(1.0):
            running.discard(number)
            if isinstance(result, Outcome):
                done += 1
                storage.tell(number, (result.bytes, result.ratio, result.loss), as_attributes(result))
                told(
                    f"trial {done}/{trials}: {result.bytes:,} bytes, {result.ratio:.2f} of the time, "
                    f"loss {result.loss:.2%} ({', '.join(t['kind'] for t in result.tables)}; {result.seconds:.1f} s)"
                )
            elif isinstance(result, Failure):
                done += 1
                storage.fail(number, result.reason)
                told(f"trial {done}/{trials}: cannot be had: {result.reason}")
            elif isinstance(result, Lost):
                storage.again(number)
                told(f"trial lost, its wish will be tried again: {result.reason}")
