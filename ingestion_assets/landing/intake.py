"""Accepting payloads: requests that arrive together share one segment and one fsync.

Two threads work behind the event loop: one writes segments, one registers them, so that the next group is being
synced while the last gets its rows. A payload is acknowledged when its segment is durable, and, where somebody waits for
its outcome or it has an idempotency key, the ledger was asked; a ledger that is down only means that the row comes later
(`Accepted.registered`).
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from threading import Thread

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.landing import registering
from ingestion_assets.landing.clock import LedgerClock
from ingestion_assets.landing.drops import (
    Accepted,
    Header,
    LandingUnavailableError,
    Lane,
    NewDrop,
    UncertainLandingError,
)
from ingestion_assets.landing.registering import (
    Answer,
    Registrar,
    Waiting,
    answer_all,
    replayed,
    unregistered,
)
from ingestion_assets.landing.registration import Known, Landed
from ingestion_assets.landing.segments import Packed, encode, pack
from ingestion_assets.landing.storage import ANSWERS_WITHIN_S, LandingStorage, segment_path

GROUP_BYTES = 16 * 2**20
GATHERED_BYTES = 2**20
PACKING = 2  # threads; half of packing holds the interpreter's lock, more of them would wait for each other
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


class Intake:
    """The one way in. `on_registered` is called (in a thread) with the lanes that got new drops."""

    def __init__(
        self,
        *,
        storage: LandingStorage,
        engine: sa.Engine,
        on_registered: Callable[[set[Lane]], None],
    ) -> None:
        self.clock = LedgerClock(engine)
        self._storage = storage
        self._registrar = Registrar(engine)
        self._gathered: list[_Offered] = []
        self._gathered_bytes = 0
        self._to_write: SimpleQueue[list[_Offered] | None] = SimpleQueue()
        self._registering = registering.Registering(
            self._registrar, on_registered=on_registered, resolve=self._resolve
        )
        self._patience: asyncio.Task[None] | None = None
        self._threads = ThreadPoolExecutor(PACKING, thread_name_prefix="intake")
        self._askers = ThreadPoolExecutor(2, thread_name_prefix="intake-known")
        self._writing = Thread(target=self._write_groups, name="intake-write", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._writing_since: float | None = None

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self.clock.keep)
        self._writing.start()
        self._registering.start()
        self._patience = asyncio.create_task(self._registering.answer_for_slow_ledger())

    async def stop(self) -> None:
        """Finish what was handed over, then end the threads."""
        self._hand_over()
        self._to_write.put(None)
        await asyncio.to_thread(self._writing.join)
        await asyncio.to_thread(self._registering.join)
        if self._patience is not None:
            self._patience.cancel()
            await asyncio.gather(self._patience, return_exceptions=True)
        self.clock.stop()
        self._threads.shutdown()
        self._askers.shutdown(wait=False)

    async def accept(self, drop: NewDrop, *, early: bool = False) -> Accepted:
        """Make one payload durable.

        `early` is for payloads whose outcome nobody waits for: those without idempotency key are acknowledged as soon as they
        are durable, their rows follow within about 25 ms, if the ledger answers.

        Raises `IdempotencyConflictError`, `LandingUnavailableError`.
        """
        keyed = drop.idempotency_key is not None
        return await self.accept_made(lambda: drop, size=len(drop.body), keyed=keyed, early=early)

    async def accept_made(
        self,
        make: Callable[[], NewDrop],
        *,
        size: int,
        keyed: bool,
        early: bool,
        within_s: float = ANSWERS_WITHIN_S,
    ) -> Accepted:
        """The same for a payload of `size` bytes that is still to be made, `keyed` if it has an idempotency key.

        An object store that has not answered `within_s` seconds, nor after `ANSWERS_WITHIN_S`, is waited for no longer.

        `make` is called in a thread; what it raises is raised here. Small payloads are made and packed one after the other where
        they are written: so they take half the time that they take between the other steps of their requests.
        """
        payload = make
        if size >= SMALL or keyed:
            loop = asyncio.get_running_loop()
            payload = await loop.run_in_executor(self._threads, lambda: self._prepared(make()))
            size = len(payload.body)
            if keyed and (known := await self._known(payload.header)) is not None:
                return replayed(payload.header, known)
        if (since := self._writing_since) is not None and time.monotonic() - since > ANSWERS_WITHIN_S:
            raise LandingUnavailableError("landing storage does not answer")
        offered = self._offer(payload, size, early=early and not keyed)
        if not self._storage.remote:
            return await offered
        try:
            async with asyncio.timeout(min(within_s, ANSWERS_WITHIN_S)):
                return await offered
        except TimeoutError as error:
            raise UncertainLandingError("landing storage has not answered in time") from error

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
        self._gathered_bytes += size
        if len(self._gathered) == 1:
            loop.call_soon(loop.call_soon, self._hand_over)
        elif self._gathered_bytes >= GATHERED_BYTES:
            self._hand_over()
        return future

    def _hand_over(self) -> None:
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if gathered:
            self._to_write.put(gathered)

    async def _known(self, header: Header) -> Known | None:
        if self._registrar.is_down():
            return None
        try:
            async with asyncio.timeout(registering.LEDGER_WAIT_S):
                return await asyncio.get_running_loop().run_in_executor(
                    self._askers, self._registrar.known, header
                )
        except SQLAlchemyError as error:
            self._registrar.went_down(error)
        except TimeoutError:
            self._registrar.went_down(f"no answer within {registering.LEDGER_WAIT_S:g} s")
        return None

    # In the writing thread

    def _write_groups(self) -> None:
        while self._write_next():
            pass
        self._registering.end()

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
        except BaseException as error:
            log.exception("intake_failed")
            self._resolve([(offered.answered, error) for offered in group])
        return not last

    def _write_group(self, group: list[_Offered]) -> None:
        packed, offered = self._packed(group)
        if not packed:
            return
        # By the time at which it is written, however long ago its payloads came: late ones are looked for in the last minutes.
        path = segment_path(self.clock.new_id(), self.clock.now())
        data, entries = encode(packed, path)
        try:
            self._writing_since = time.monotonic()
            self._storage.write(path, data)
        except LandingUnavailableError as error:
            taken_back = isinstance(error, UncertainLandingError) and self._taken_back(path)
            told = LandingUnavailableError(str(error)) if taken_back else error
            log.error("landing_unavailable", error=str(error), drops=len(packed))
            self._resolve([(one.answered, told) for one in offered])
            return
        finally:
            self._writing_since = None
        self.clock.wait_past_ids()
        behind = self._registering.is_behind()
        early: list[Waiting] = []
        waiting: list[Waiting] = []
        for one, entry in zip(offered, entries, strict=True):
            (early if one.early and not behind else waiting).append((one.answered, entry.header))
        if early:
            self._resolve(unregistered(early))
        self._registering.put([Landed(path, entry) for entry in entries], waiting)

    def _taken_back(self, path: str) -> bool:
        try:
            taken_back = self._askers.submit(self._registrar.take_back, self._storage, path)
            return taken_back.result(registering.LEDGER_WAIT_S)
        except TimeoutError:  # nobody knows, then
            return False

    def _packed(self, group: list[_Offered]) -> tuple[list[Packed], list[_Offered]]:
        """The payloads, and what they were offered as; those that cannot be made are told so."""
        packed: list[Packed] = []
        kept: list[_Offered] = []
        for offered in group:
            payload = offered.payload
            try:
                packed.append(payload if isinstance(payload, Packed) else self._prepared(payload()))
            except BaseException as error:  # a panic of an extension, too, must not end the thread
                self._resolve([(offered.answered, error)])
            else:
                kept.append(offered)
        return packed, kept

    def _prepared(self, drop: NewDrop) -> Packed:
        """A drop with its id and time, hashed and compressed."""
        return pack(drop, drop_id=self.clock.new_id(), received_at=self.clock.now())

    def _resolve(self, answers: Sequence[Answer]) -> None:
        if self._loop is None or self._loop.is_closed():
            raise RuntimeError("the intake was not started")
        self._loop.call_soon_threadsafe(answer_all, answers)
