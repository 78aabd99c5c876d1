"""The intake's second stage: groups of durable payloads get their rows, in a thread of their own, and their senders the answer.

The statements that make rows are in `registration`, which what is found late goes by too.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ingestion_assets.landing.drops import Accepted, Header, IdempotencyConflictError, Lane
from ingestion_assets.landing.registration import (
    Known,
    Landed,
    hold_segment,
    is_registered,
    known_key,
    register,
)
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.stores.error_text import text_of

LEDGER_WAIT_S = 5.0  # a ledger that neither takes nor refuses the row must not hold up the answer
RETRY_S = 2.0  # in which a ledger that failed is not asked again
GATHER_S = (
    0.025  # between two writes, where nobody waits: the rows of payloads that come meanwhile go together
)
MOST_BEHIND = 10_000  # rows to come, above which every payload waits for its own
MOST_KEPT = 50_000  # rows to come, above which the sensor is left to write them: the ledger hangs

log = structlog.get_logger(__name__)

Waiting = tuple["asyncio.Future[Accepted]", Header]
"""A payload that is not answered yet."""
Answer = tuple["asyncio.Future[Accepted]", Accepted | BaseException]


def answer_all(answers: Sequence[Answer]) -> None:
    """In the event loop: give the answers to those who still wait for them."""
    for future, answer in answers:
        if future.done():
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def unregistered(waiting: Sequence[Waiting]) -> list[Answer]:
    """Durable, the row comes later."""
    return [(future, Accepted(header.id, header, registered=False)) for future, header in waiting]


def registered(header: Header, known: Known | None) -> Accepted | Exception:
    """Durable, with a row of its own or that of `known`, which had the same idempotency key."""
    if known is None:
        return Accepted(header.id, header)
    try:
        return replayed(header, known)
    except IdempotencyConflictError as error:
        return error


def replayed(header: Header, known: Known) -> Accepted:
    """The receipt that was given out for the same key. Raises `IdempotencyConflictError`."""
    if known.body_sha256 != header.sha256:
        raise IdempotencyConflictError(str(known.id))
    return Accepted(known.id, header, replayed=True)


class Registrar:
    """`register` and `close` are for one thread, the rest for any.

    Rows are committed without waiting for PostgreSQL's disk: what a crash of it loses is registered late, from the segment.
    """

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None
        self._down_until = 0.0

    def is_down(self) -> bool:
        """Whether the ledger failed less than `RETRY_S` seconds ago."""
        return time.monotonic() < self._down_until

    def went_down(self, error: Exception | str) -> None:
        """The ledger failed."""
        self._down_until = time.monotonic() + RETRY_S
        log.warning("ledger_unavailable", error=error if isinstance(error, str) else text_of(error))

    def known(self, header: Header) -> Known | None:
        """The payload that used the same idempotency key before. Raises `SQLAlchemyError`."""
        with self._engine.connect() as connection:
            return known_key(connection, header)

    def take_back(self, storage: LandingStorage, path: str) -> bool:
        """Whether a segment that may not be durable is gone for certain: nobody has found it, and nobody will."""
        if self.is_down():
            return False
        try:
            with self._engine.begin() as connection:
                hold_segment(connection, path)
                return not is_registered(connection, path) and storage.take_back(path)
        except SQLAlchemyError as error:
            self.went_down(error)
            return False

    def register(self, landed: Sequence[Landed]) -> dict[UUID, Known] | None:
        """As `registration.register`; None while the ledger is down."""
        if self.is_down():
            return None
        try:
            return self._once_more_where_lost(landed)
        except (SQLAlchemyError, psycopg.Error) as error:
            self.close()
            self.went_down(error)
            return None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.close()

    def _once_more_where_lost(self, landed: Sequence[Landed]) -> dict[UUID, Known]:
        fresh = self._connection is None
        try:
            return _registered(self._connected(), landed)
        except (DBAPIError, psycopg.OperationalError) as error:
            self.close()
            if fresh or (isinstance(error, DBAPIError) and not error.connection_invalidated):
                raise
        return _registered(self._connected(), landed)

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()  # the setting below is not for others
            connection.execute(sa.text("SET synchronous_commit = off"))
            self._connection = connection
        return self._connection


def _registered(connection: sa.Connection, landed: Sequence[Landed]) -> dict[UUID, Known]:
    """In one statement, or in one transaction where a key that was used before may take more."""
    if not any(one.header.idempotency_key for one in landed):
        return register(connection, landed)
    driver: Any = connection.connection.dbapi_connection
    with driver.transaction():
        return register(connection, landed)


@dataclass(slots=True, eq=False)
class _Group:
    """Payloads that share a segment, durable since `durable_at` (monotonic seconds), on their way to the ledger.

    Without their bodies: a slow ledger must not hold these in memory.
    """

    landed: Sequence[Landed]
    waiting: Sequence[Waiting]
    durable_at: float


class Registering:
    """`on_registered` and `resolve` are called in the stage's thread: with lanes that got new drops, with answers."""

    def __init__(
        self,
        registrar: Registrar,
        *,
        on_registered: Callable[[set[Lane]], None],
        resolve: Callable[[Sequence[Answer]], None],
    ) -> None:
        self._registrar = registrar
        self._on_registered = on_registered
        self._resolve = resolve
        self._groups: SimpleQueue[_Group | None] = SimpleQueue()
        self._under_way: set[_Group] = set()
        self._hurry = Event()  # a group under way is waited for
        self._put = self._settled = 0  # payloads so far, each counted by one thread
        self._thread = Thread(target=self._register_groups, name="intake-register", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, landed: Sequence[Landed], waiting: Sequence[Waiting]) -> None:
        """Payloads that share a segment, and which of them are still to be answered, once they have their rows."""
        if self._put - self._settled >= MOST_KEPT:
            self._resolve(unregistered(waiting))
            return
        group = _Group(landed, waiting, time.monotonic())
        self._put += len(landed)
        self._under_way.add(group)
        if waiting:
            self._hurry.set()
        self._groups.put(group)

    def end(self) -> None:
        """No more will be put."""
        self._hurry.set()
        self._groups.put(None)

    def join(self) -> None:
        self._thread.join()

    def is_behind(self) -> bool:
        """Whether so many rows are to come that it is time to wait for them."""
        return self._put - self._settled >= MOST_BEHIND

    async def answer_for_slow_ledger(self) -> None:
        """Answer those who wait for their row for too long, until cancelled; in the event loop."""
        while True:
            await asyncio.sleep(LEDGER_WAIT_S / 5)
            late = time.monotonic() - LEDGER_WAIT_S
            for group in list(self._under_way):
                if group.durable_at > late:
                    continue
                self._under_way.discard(group)
                if group.waiting:
                    log.warning("ledger_slow", drops=len(group.waiting))
                    answer_all(unregistered(group.waiting))

    def _register_groups(self) -> None:
        written_at = 0.0
        while (group := self._groups.get()) is not None:
            if not group.waiting:
                self._hurry.wait(max(0.0, written_at + GATHER_S - time.monotonic()))
            self._hurry.clear()
            groups = [group]
            while not self._groups.empty():
                if (more := self._groups.get()) is None:
                    self._groups.put(None)
                    break
                groups.append(more)
            try:
                answers = self._register_all(groups)
            except BaseException as error:  # a panic of an extension, too, must not end the thread
                log.exception("intake_failed")
                answers = [(future, error) for group in groups for future, _ in group.waiting]
            written_at = time.monotonic()
            self._under_way.difference_update(groups)
            self._settled += sum(len(group.landed) for group in groups)
            if answers:
                self._resolve(answers)
        self._registrar.close()

    def _register_all(self, groups: Sequence[_Group]) -> list[Answer]:
        landed = [one for group in groups for one in group.landed]
        waiting = [one for group in groups for one in group.waiting]
        known = self._registrar.register(landed)
        if known is None:
            return unregistered(waiting)
        headers = (one.header for one in landed)
        lanes = {(header.flow, header.partition, header.lane) for header in headers if header.id not in known}
        self._on_registered({Lane(*lane) for lane in lanes})
        return [(future, registered(header, known.get(header.id))) for future, header in waiting]
