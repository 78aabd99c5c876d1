"""Accepting payloads: requests that arrive together share one segment, one fsync and one ledger statement.

Two threads work behind the event loop: one writes segments, one registers them, so that the next group is being
synced while the last gets its rows. A payload is acknowledged when its segment is durable, and, where somebody waits for
its outcome or it has an idempotency key, the ledger was asked; a ledger that is down only means that the row comes later
(`Accepted.registered`).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Event, Thread
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
GATHER_S = 0.025  # payloads whose rows nobody waits for get them together
MOST_BEHIND = 10_000  # rows to come, above which every payload waits for its own
SMALL = 64 * 1024  # bytes; larger bodies are made ready each by itself, in a thread

log = structlog.get_logger(__name__)


class _Offered(msgspec.Struct):
    """A payload of about `size` bytes until it is written; one that is not `Packed` is still to be made.

    `early`: acknowledged when it is durable, without its row.
    """

    payload: Packed | Callable[[], NewDrop]
    size: int
    answered: "asyncio.Future[Accepted]"
    early: bool


@dataclass(slots=True, eq=False)
class _Group:
    """Payloads that share a segment, durable since `durable_at` (monotonic seconds), on their way to the ledger.

    Without their bodies: a slow ledger must not hold these in memory. `waiting` are those that are not answered yet.
    """

    landed: list[Landed]
    waiting: "list[tuple[asyncio.Future[Accepted], Header]]"
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
        self._gathered: list[_Offered] = []
        self._to_write: SimpleQueue[list[_Offered] | None] = SimpleQueue()
        self._to_register: SimpleQueue[_Group | None] = SimpleQueue()
        self._unregistered: set[_Group] = set()
        self._hurry = Event()  # a group on its way to the ledger is waited for
        self._written = self._settled = 0  # payloads so far, each counted by the thread of its stage
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
        self._hand_over()
        self._to_write.put(None)
        for thread in self._stages:
            await asyncio.to_thread(thread.join)
        if self._patience is not None:
            self._patience.cancel()
            await asyncio.gather(self._patience, return_exceptions=True)
        self._threads.shutdown()
        self._askers.shutdown(wait=False)

    async def accept(self, drop: NewDrop | Packed, *, early: bool = False) -> Accepted:
        """Make one payload durable. A `prepared` one is not hashed and compressed again.

        `early` is for payloads whose outcome nobody waits for: those without idempotency key are acknowledged as soon as they
        are durable, their rows follow within about `GATHER_S` seconds.

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
        return await self._offer(packed, len(packed.body), early=early and header.idempotency_key is None)

    def accept_made(
        self, make: Callable[[], NewDrop], *, size: int, early: bool
    ) -> "asyncio.Future[Accepted]":
        """The same for a small payload without idempotency key that is still to be made, of about `size` bytes.

        `make` is called in the writing thread; what it raises is raised here. Made and packed one after the other, the payloads of
        a group take half the time that they take between the other steps of their requests.
        """
        return self._offer(make, size, early=early)

    def _offer(
        self, payload: Packed | Callable[[], NewDrop], size: int, *, early: bool
    ) -> "asyncio.Future[Accepted]":
        """Have a payload written; a small one with the others that come within the next two turns of the event loop.

        A thread that is told of the first at once takes turns with the loop while that goes through the rest: both take longer.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Accepted] = loop.create_future()
        offered = _Offered(payload, size, future, early)
        if size >= SMALL:
            self._to_write.put([offered])
            return future
        self._gathered.append(offered)
        if len(self._gathered) == 1:
            loop.call_soon(loop.call_soon, self._hand_over)
        return future

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered:
            self._to_write.put(gathered)

    async def _answer_for_slow_ledger(self) -> None:
        while True:
            await asyncio.sleep(LEDGER_WAIT_S / 5)
            late = time.monotonic() - LEDGER_WAIT_S
            for group in list(self._unregistered):
                if group.durable_at > late:
                    continue
                self._unregistered.discard(group)
                if group.waiting:
                    log.warning("ledger_slow", drops=len(group.waiting))
                    _answer_all(_unregistered(group.waiting))

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
        self._hurry.set()
        self._to_register.put(None)

    def _write_next(self) -> bool:
        """Write what has gathered, once there is something; whether more may come."""
        group: list[_Offered] = []
        size, last = 0, False
        while not last and size < GROUP_BYTES and not (group and self._to_write.empty()):
            gathered = self._to_write.get()
            if gathered is None:
                last = True
            else:
                group += gathered
                size += sum(offered.size for offered in gathered)
        try:
            self._write_group(group)
        except Exception as error:
            log.exception("intake_failed")
            self._resolve([(offered.answered, error) for offered in group])
        return not last

    def _write_group(self, group: list[_Offered]) -> None:
        packed, offered = self._packed(group)
        if not packed:
            return
        data, entries = encode(packed)
        # By the time at which it is written, however long ago its payloads came: late ones are looked for in the last minutes.
        path = segment_path(uuid_utils.compat.uuid7(), datetime.now(UTC))
        try:
            self._storage.write(path, data)
        except LandingUnavailableError as error:
            log.error("landing_unavailable", error=str(error), drops=len(packed))
            self._resolve([(one.answered, error) for one in offered])
            return
        self._written += len(packed)
        behind = self._written - self._settled > MOST_BEHIND
        early, waiting = [], []
        for one, entry in zip(offered, entries, strict=True):
            (early if one.early and not behind else waiting).append((one.answered, entry.header))
        if early:
            self._resolve(_unregistered(early))
        durable = _Group([Landed(path, entry) for entry in entries], waiting, time.monotonic())
        self._unregistered.add(durable)
        if waiting:
            self._hurry.set()
        self._to_register.put(durable)

    def _packed(self, group: list[_Offered]) -> tuple[list[Packed], list[_Offered]]:
        """The payloads, and what they were offered as; those that cannot be made are told so."""
        packed: list[Packed] = []
        kept: list[_Offered] = []
        for offered in group:
            payload = offered.payload
            try:
                packed.append(payload if isinstance(payload, Packed) else prepared(payload()))
            except Exception as error:
                self._resolve([(offered.answered, error)])
            else:
                kept.append(offered)
        return packed, kept

    # In the registering thread

    def _register_groups(self) -> None:
        while (group := self._to_register.get()) is not None:
            if not group.waiting:
                self._hurry.wait(GATHER_S)
            self._hurry.clear()
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
                answers = [(future, error) for group in groups for future, _ in group.waiting]
            self._unregistered.difference_update(groups)
            self._settled += sum(len(group.landed) for group in groups)
            if answers:
                self._resolve(answers)
        self._registrar.close()

    def _register_all(self, groups: list[_Group]) -> "list[_Answer]":
        landed = [one for group in groups for one in group.landed]
        known = self._registrar.register(landed)
        if known is None:
            return [answer for group in groups for answer in _unregistered(group.waiting)]
        headers = [one.header for one in landed]
        lanes = {(header.flow, header.partition, header.lane) for header in headers if header.id not in known}
        self._on_registered({Lane(*lane) for lane in lanes})
        return [
            (future, _answer(header, known.get(header.id)))
            for group in groups
            for future, header in group.waiting
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


def _unregistered(waiting: "list[tuple[asyncio.Future[Accepted], Header]]") -> "list[_Answer]":
    return [(future, _acknowledged(header, header.id, registered=False)) for future, header in waiting]


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
