"""Two things at once, in an order that the test decides: what one does waits for a lock that the test holds."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from ingestion_assets_tests.servers import wait_until

_WAITING = sa.text("""
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND wait_event <> 'advisory' AND position(CAST(:at AS text) IN query) > 0
""")


@contextmanager
def held_up(
    engine: sa.Engine, lock: str, *work: Callable[[], Any], at: str = "documents.connections", **values: Any
) -> Iterator["HeldUp"]:
    """Begin `work` while a transaction holds `lock`, and come here when all of it waits in statements with `at`; behind the block it goes on."""
    with ThreadPoolExecutor() as threads, engine.connect() as connection, connection.begin():
        connection.execute(sa.text(lock), values)
        done = [threads.submit(one) for one in work]
        wait_until(
            lambda: len(_pids(engine, at)) >= len(work) or any(one.done() for one in done),
            seconds=30, what="the work to wait for the lock",
        )  # fmt: skip
        assert len(_pids(engine, at)) >= len(work), [one.result() for one in done if one.done()]
        yield HeldUp(engine, at, connection, threads, done)


class HeldUp:
    """Work that waits. `connection` is the transaction that it waits for."""

    def __init__(
        self,
        engine: sa.Engine,
        at: str,
        connection: sa.Connection,
        threads: ThreadPoolExecutor,
        done: list[Future[Any]],
    ) -> None:
        self._engine, self._at, self._threads, self._done = engine, at, threads, done
        self.connection = connection

    def also(self, work: Callable[[], Any]) -> None:
        """Begin more, and come back when it waits, too, for whatever lock of this flow."""
        self._done.append(self._threads.submit(work))
        wait_until(
            lambda: len(_pids(self._engine, "documents.")) >= len(self._done),
            seconds=30,
            what="more work to wait",
        )

    def cut(self) -> None:
        """End the sessions that wait."""
        with self._engine.begin() as other:
            for pid in _pids(self._engine, self._at):
                other.execute(sa.text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})

    def results(self) -> list[Any]:
        """What came of the work, once it was let go."""
        return [one.result(timeout=60) for one in self._done]


def _pids(engine: sa.Engine, at: str) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(_WAITING, {"at": at}))
