"""Accepting payloads: requests that arrive together share one segment, one fsync and one ledger statement.

Two threads work behind the event loop: one writes segments, one registers them, so that the next group is being
synced while the last gets its rows. A payload is acknowledged when its segment is durable *and* the ledger was asked; a
ledger that is down only means that the row comes later (`Accepted.registered`). For the same reason the rows are committed
without waiting for PostgreSQL's disk: what a crash of it loses is registered late, from the segment.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread
from typing import Any
from uuid import UUID

import psycopg
import sqlalchemy as sa
import structlog
import uuid_utils.compat
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from ingestion_assets.landing.drops import (
    Accepted,
    IdempotencyConflictError,
    LandingUnavailableError,
    Lane,
    NewDrop,
)
from ingestion_assets.landing.registration import Known, Landed, known_key, register
from ingestion_assets.landing.segments import Header, Packed, encode, pack
from ingestion_assets.landing.storage import LandingStorage, segment_path

LEDGER_RETRY_S = 2.0
LEDGER_WAIT_S = 5.0  # a ledger that neither takes nor refuses the row must not hold up the answer
GROUP_BYTES = 16 * 2**20
PACKED_AT_ONCE = 64 * 1024  # bytes; larger bodies are compressed beside the event loop

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Waiting:
    packed: Packed
    future: "asyncio.Future[Accepted]"


@dataclass(slots=True, eq=False)
class _Group:
    """Payloads that share a segment, durable since `durable_at` (monotonic seconds), on their way to the ledger."""

    waiting: list[_Waiting]
    landed: list[Landed]
    durable_at: float


class Intake:
    """The one way in. `on_registered` is called (in a thread) with the lanes that got new drops."""

    def __init__(
        self,
        *,
        storage: LandingStorage,
        engine: sa.Engine,
        on_registered: Callable[[set[Lane]], None],
    ) -> None:
        self._storage = storage
        self._engine = engine
        self._on_registered = on_registered
        self._to_write: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._to_register: SimpleQueue[_Group | None] = SimpleQueue()
        self._unregistered: set[_Group] = set()
        self._patience: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="intake")
        self._askers = ThreadPoolExecutor(2, thread_name_prefix="intake-known")
        self._stages = [
            Thread(target=self._write_groups, name="intake-write", daemon=True),
            Thread(target=self._register_groups, name="intake-register", daemon=True),
        ]
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ledger_down_until = 0.0
        self._connection: sa.Connection | None = None  # of the registering thread
        self.ledger_error: str | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        for thread in self._stages:
            thread.start()
        self._patience = asyncio.create_task(self._answer_for_slow_ledger())

    async def stop(self) -> None:
        """Finish what was handed over, then end the threads."""
        self._to_write.put(None)
        for thread in self._stages:
            await asyncio.to_thread(thread.join)
        if self._patience is not None:
            self._patience.cancel()
            await asyncio.gather(self._patience, return_exceptions=True)
        self._threads.shutdown()
        self._askers.shutdown(wait=False)

    async def accept(self, drop: NewDrop | Packed) -> Accepted:
        """Make one payload durable. A `prepared` one is not hashed and compressed again.

        Raises `IdempotencyConflictError`, `LandingUnavailableError`.
        """
        loop = asyncio.get_running_loop()
        if isinstance(drop, Packed):
            packed = drop
        elif len(drop.body) < PACKED_AT_ONCE:
            packed = prepared(drop)
        else:
            packed = await loop.run_in_executor(self._threads, prepared, drop)
        header = packed.header
        if header.idempotency_key is not None and (known := await self._known(header)) is not None:
            if known.body_sha256 != header.sha256:
                raise IdempotencyConflictError(str(known.id))
            return Accepted(id=known.id, received_at=header.received_at, replayed=True)
        future: asyncio.Future[Accepted] = loop.create_future()
        self._to_write.put(_Waiting(packed, future))
        return await future

    async def _answer_for_slow_ledger(self) -> None:
        while True:
            await asyncio.sleep(LEDGER_WAIT_S / 5)
            late = time.monotonic() - LEDGER_WAIT_S
            for group in list(self._unregistered):
                if group.durable_at > late:
                    continue
                self._unregistered.discard(group)
                log.warning("ledger_slow", drops=len(group.waiting))
                _answer_all([(one, _accepted(one, registered=False)) for one in group.waiting])

    async def _known(self, header: Header) -> Known | None:
        if self._ledger_is_down():
            return None

        def look() -> Known | None:
            with self._engine.connect() as connection:
                return known_key(
                    connection,
                    principal=header.principal,
                    flow=header.flow,
                    idempotency_key=header.idempotency_key or "",
                )

        try:
            async with asyncio.timeout(LEDGER_WAIT_S):
                return await asyncio.get_running_loop().run_in_executor(self._askers, look)
        except (SQLAlchemyError, TimeoutError) as error:
            self._ledger_failed(error)
            return None

    def _ledger_is_down(self) -> bool:
        return time.monotonic() < self._ledger_down_until

    def _ledger_failed(self, error: Exception) -> None:
        self.ledger_error = (str(error) or f"no answer within {LEDGER_WAIT_S:g} s").splitlines()[0]
        self._ledger_down_until = time.monotonic() + LEDGER_RETRY_S
        log.warning("ledger_unavailable", error=self.ledger_error)

    # In the writing thread

    def _write_groups(self) -> None:
        stopping = False
        while not stopping:
            first = self._to_write.get()
            if first is None:
                break
            group, size = [first], len(first.packed.body)
            while not self._to_write.empty() and size < GROUP_BYTES:
                waiting = self._to_write.get()
                if waiting is None:
                    stopping = True
                    break
                group.append(waiting)
                size += len(waiting.packed.body)
            try:
                self._write_group(group)
            except Exception as error:
                log.exception("intake_failed")
                self._resolve([(waiting, error) for waiting in group])
        self._to_register.put(None)

    def _write_group(self, group: list[_Waiting]) -> None:
        data, entries = encode([waiting.packed for waiting in group])
        # By the time at which it is written, however long ago its payloads came: late ones are looked for in the last minutes.
        path = segment_path(uuid_utils.compat.uuid7(), datetime.now(UTC))
        try:
            self._storage.write(path, data)
        except LandingUnavailableError as error:
            log.error("landing_unavailable", error=str(error), drops=len(group))
            self._resolve([(waiting, error) for waiting in group])
            return
        for waiting in group:
            waiting.packed = Packed(
                waiting.packed.header, b""
            )  # a slow ledger must not hold the bodies in memory
        durable = _Group(group, [Landed(path, entry) for entry in entries], time.monotonic())
        self._unregistered.add(durable)
        self._to_register.put(durable)

    # In the registering thread

    def _register_groups(self) -> None:
        while (group := self._to_register.get()) is not None:
            groups = [group]
            while not self._to_register.empty():
                if (more := self._to_register.get()) is None:
                    self._to_register.put(None)
                    break
                groups.append(more)
            waiting = [one for group in groups for one in group.waiting]
            answers: list[tuple[_Waiting, Accepted | Exception]]
            try:
                answers = self._register_group(waiting, [one for group in groups for one in group.landed])
            except Exception as error:
                log.exception("intake_failed")
                answers = [(one, error) for one in waiting]
            self._unregistered.difference_update(groups)
            self._resolve(answers)
        self._disconnect()

    def _register_group(
        self, group: list[_Waiting], landed: list[Landed]
    ) -> list[tuple[_Waiting, Accepted | Exception]]:
        if self._ledger_is_down():
            return [(waiting, _accepted(waiting, registered=False)) for waiting in group]
        try:
            known = self._register(landed)
        except (SQLAlchemyError, psycopg.Error) as error:
            self._disconnect()
            self._ledger_failed(error)
            return [(waiting, _accepted(waiting, registered=False)) for waiting in group]
        self.ledger_error = None
        headers = [one.header for one in landed if one.header.id not in known]
        lanes = {(header.flow, header.partition, header.lane) for header in headers}
        self._on_registered({Lane(*lane) for lane in lanes})
        return [(waiting, _answer(waiting, known.get(waiting.packed.header.id))) for waiting in group]

    def _register(self, landed: list[Landed]) -> dict[UUID, Known]:
        """Once more on a new connection if the kept one was lost meanwhile. Raises `SQLAlchemyError`, `psycopg.Error`."""
        fresh = self._connection is None
        try:
            return self._register_on(self._connected(), landed)
        except (DBAPIError, psycopg.OperationalError) as error:
            self._disconnect()
            if fresh or (isinstance(error, DBAPIError) and not error.connection_invalidated):
                raise
        return self._register_on(self._connected(), landed)

    @staticmethod
    def _register_on(connection: sa.Connection, landed: list[Landed]) -> dict[UUID, Known]:
        """In one statement, or in one transaction where a key that was used before may take more."""
        if not any(one.header.idempotency_key for one in landed):
            return register(connection, landed)
        driver: Any = connection.connection.dbapi_connection
        with driver.transaction():
            return register(connection, landed)

    def _connected(self) -> sa.Connection:
        if self._connection is None:
            connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.detach()  # the setting below is not for others
            connection.execute(sa.text("SET synchronous_commit = off"))
            self._connection = connection
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                connection.close()

    def _resolve(self, answers: list[tuple[_Waiting, Accepted | Exception]]) -> None:
        if self._loop is None or self._loop.is_closed():
            raise RuntimeError("the intake was not started")
        self._loop.call_soon_threadsafe(_answer_all, answers)


def _answer_all(answers: list[tuple[_Waiting, Accepted | Exception]]) -> None:
    for waiting, answer in answers:
        if waiting.future.done():
            continue
        if isinstance(answer, Exception):
            waiting.future.set_exception(answer)
        else:
            waiting.future.set_result(answer)


def prepared(drop: NewDrop) -> Packed:
    """A drop with its id and time, hashed and compressed: what `accept` does first, for callers in a thread anyway."""
    return pack(drop, drop_id=uuid_utils.compat.uuid7(), received_at=datetime.now(UTC))


def _accepted(waiting: _Waiting, *, registered: bool) -> Accepted:
    header = waiting.packed.header
    return Accepted(id=header.id, received_at=header.received_at, registered=registered)


def _answer(waiting: _Waiting, known: Known | None) -> Accepted | Exception:
    if known is None:
        return _accepted(waiting, registered=True)
    header = waiting.packed.header
    if known.body_sha256 != header.sha256:
        return IdempotencyConflictError(str(known.id))
    return Accepted(id=known.id, received_at=header.received_at, replayed=True)
