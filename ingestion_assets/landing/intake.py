"""Accepting payloads: requests that arrive together share one segment, one fsync and one ledger statement.

Two threads work behind the event loop: one writes segments, one registers them, so that the next group is being
synced while the last gets its rows. A payload is acknowledged when its segment is durable *and* the ledger was asked; a
ledger that is down only means that the row comes later (`Accepted.registered`).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Thread
from uuid import UUID

import msgspec
import sqlalchemy as sa
import structlog
import uuid_utils.compat
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.landing.drops import (
    Accepted,
    IdempotencyConflictError,
    LandingUnavailableError,
    Lane,
    NewDrop,
)
from ingestion_assets.landing.registrar import Registrar
from ingestion_assets.landing.registration import Known, Landed
from ingestion_assets.landing.segments import Header, Packed, encode, pack
from ingestion_assets.landing.storage import LandingStorage, segment_path

_Answer = tuple["asyncio.Future[Accepted]", Accepted | Exception]

LEDGER_WAIT_S = 5.0  # a ledger that neither takes nor refuses the row must not hold up the answer
GROUP_BYTES = 16 * 2**20
SMALL = 64 * 1024  # bytes; larger bodies are made ready each by itself, in a thread

log = structlog.get_logger(__name__)


class _Offered(msgspec.Struct):
    """A payload of about `size` bytes until it is written; one that is not `Packed` is still to be made."""

    payload: Packed | Callable[[], NewDrop]
    size: int
    answered: "asyncio.Future[Accepted]"


@dataclass(slots=True, eq=False)
class _Group:
    """Payloads that share a segment, durable since `durable_at` (monotonic seconds), on their way to the ledger.

    Without their bodies: a slow ledger must not hold these in memory.
    """

    landed: list[Landed]
    answered: "list[asyncio.Future[Accepted]]"
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
        self._registrar = Registrar(engine)
        self._on_registered = on_registered
        self._to_write: SimpleQueue[_Offered | None] = SimpleQueue()
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
        elif len(drop.body) < SMALL:
            packed = prepared(drop)
        else:
            packed = await loop.run_in_executor(self._threads, prepared, drop)
        header = packed.header
        if header.idempotency_key is not None and (known := await self._known(header)) is not None:
            return _replayed(header, known)
        future: asyncio.Future[Accepted] = loop.create_future()
        self._to_write.put(_Offered(packed, len(packed.body), future))
        return await future

    async def accept_made(self, make: Callable[[], NewDrop], *, size: int) -> Accepted:
        """The same for a small payload without idempotency key that is still to be made, of about `size` bytes.

        `make` is called in the writing thread; what it raises is raised here. Made and packed one after the other, the payloads of
        a group take half the time that they take between the other steps of their requests.
        """
        future: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._to_write.put(_Offered(make, size, future))
        return await future

    async def _answer_for_slow_ledger(self) -> None:
        while True:
            await asyncio.sleep(LEDGER_WAIT_S / 5)
            late = time.monotonic() - LEDGER_WAIT_S
            for group in list(self._unregistered):
                if group.durable_at > late:
                    continue
                self._unregistered.discard(group)
                log.warning("ledger_slow", drops=len(group.landed))
                _answer_all(_unregistered(group))

    async def _known(self, header: Header) -> Known | None:
        if self._registrar.is_down():
            return None
        try:
            async with asyncio.timeout(LEDGER_WAIT_S):
                return await asyncio.get_running_loop().run_in_executor(
                    self._askers, self._registrar.known, header
                )
        except SQLAlchemyError as error:
            self._registrar.went_down(error)
        except TimeoutError:
            self._registrar.went_down(f"no answer within {LEDGER_WAIT_S:g} s")
        return None

    # In the writing thread

    def _write_groups(self) -> None:
        while self._write_next():
            pass
        self._to_register.put(None)

    def _write_next(self) -> bool:
        """Write what has gathered, once there is something; whether more may come."""
        group: list[_Offered] = []
        size, last = 0, False
        while not last and size < GROUP_BYTES and not (group and self._to_write.empty()):
            offered = self._to_write.get()
            if offered is None:
                last = True
            else:
                group.append(offered)
                size += offered.size
        try:
            self._write_group(group)
        except Exception as error:
            log.exception("intake_failed")
            self._resolve([(offered.answered, error) for offered in group])
        return not last

    def _write_group(self, group: list[_Offered]) -> None:
        packed, answered = self._packed(group)
        if not packed:
            return
        data, entries = encode(packed)
        # By the time at which it is written, however long ago its payloads came: late ones are looked for in the last minutes.
        path = segment_path(uuid_utils.compat.uuid7(), datetime.now(UTC))
        try:
            self._storage.write(path, data)
        except LandingUnavailableError as error:
            log.error("landing_unavailable", error=str(error), drops=len(packed))
            self._resolve([(future, error) for future in answered])
            return
        durable = _Group([Landed(path, entry) for entry in entries], answered, time.monotonic())
        self._unregistered.add(durable)
        self._to_register.put(durable)

    def _packed(self, group: list[_Offered]) -> "tuple[list[Packed], list[asyncio.Future[Accepted]]]":
        """The payloads, and where they are answered for; those that cannot be made are told so."""
        packed: list[Packed] = []
        answered: list[asyncio.Future[Accepted]] = []
        for offered in group:
            payload = offered.payload
            try:
                packed.append(payload if isinstance(payload, Packed) else prepared(payload()))
            except Exception as error:
                self._resolve([(offered.answered, error)])
            else:
                answered.append(offered.answered)
        return packed, answered

    # In the registering thread

    def _register_groups(self) -> None:
        while (group := self._to_register.get()) is not None:
            groups = [group]
            while not self._to_register.empty():
                if (more := self._to_register.get()) is None:
                    self._to_register.put(None)
                    break
                groups.append(more)
            try:
                answers = self._register_all(groups)
            except Exception as error:
                log.exception("intake_failed")
                answers = [(future, error) for group in groups for future in group.answered]
            self._unregistered.difference_update(groups)
            self._resolve(answers)
        self._registrar.close()

    def _register_all(self, groups: list[_Group]) -> "list[_Answer]":
        landed = [one for group in groups for one in group.landed]
        known = self._registrar.register(landed)
        if known is None:
            return [answer for group in groups for answer in _unregistered(group)]
        headers = [one.header for one in landed]
        lanes = {(header.flow, header.partition, header.lane) for header in headers if header.id not in known}
        self._on_registered({Lane(*lane) for lane in lanes})
        futures = [future for group in groups for future in group.answered]
        return [
            (future, _answer(header, known.get(header.id)))
            for future, header in zip(futures, headers, strict=True)
        ]

    def _resolve(self, answers: "Sequence[_Answer]") -> None:
        if self._loop is None or self._loop.is_closed():
            raise RuntimeError("the intake was not started")
        self._loop.call_soon_threadsafe(_answer_all, answers)


def _answer_all(answers: "Sequence[_Answer]") -> None:
    for future, answer in answers:
        if future.done():
            continue
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def prepared(drop: NewDrop) -> Packed:
    """A drop with its id and time, hashed and compressed: what `accept` does first, for callers in a thread anyway."""
    return pack(drop, drop_id=uuid_utils.compat.uuid7(), received_at=datetime.now(UTC))


def _unregistered(group: _Group) -> "list[_Answer]":
    headers = (landed.header for landed in group.landed)
    return [
        (future, _acknowledged(header, header.id, registered=False))
        for future, header in zip(group.answered, headers, strict=True)
    ]


def _answer(header: Header, known: Known | None) -> Accepted | Exception:
    if known is None:
        return _acknowledged(header, header.id)
    try:
        return _replayed(header, known)
    except IdempotencyConflictError as error:
        return error


def _replayed(header: Header, known: Known) -> Accepted:
    if known.body_sha256 != header.sha256:
        raise IdempotencyConflictError(str(known.id))
    return _acknowledged(header, known.id, replayed=True)


def _acknowledged(
    header: Header, drop_id: UUID, *, replayed: bool = False, registered: bool = True
) -> Accepted:
    return Accepted(
        id=drop_id,
        flow=header.flow,
        partition=header.partition,
        subject=header.subject,
        records=header.records,
        size_bytes=header.size,
        received_at=header.received_at,
        replayed=replayed,
        registered=registered,
    )
