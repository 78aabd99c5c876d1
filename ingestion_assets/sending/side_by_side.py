"""Does several things at the same time; the first that fails ends all."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from ingestion_assets.sending.endings import StoppedError

TICK_S = 0.2

ResultT = TypeVar("ResultT")


def side_by_side(
    jobs: Iterable[Callable[[], ResultT]],
    *,
    concurrency: int,
    stop: threading.Event,
    tick: Callable[[], None],
) -> list[ResultT]:
    """What each gives, in the order of the jobs. `tick` is called a few times a second, and may raise as well.

    `stop` is set when one fails. Raises what it raised; StoppedError where `stop` was set.
    """
    with ThreadPoolExecutor(concurrency, thread_name_prefix="send") as pool:
        work = [pool.submit(job) for job in jobs]
        pending: set[Future[ResultT]] = set(work)
        try:
            while pending:
                done, pending = wait(pending, timeout=TICK_S, return_when=FIRST_EXCEPTION)
                tick()
                for future in done:
                    future.result()
                if pending and stop.is_set():
                    raise StoppedError
        except BaseException:
            stop.set()
            for future in pending:
                future.cancel()
            raise
    return [future.result() for future in work]
