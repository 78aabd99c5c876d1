"""The intake's second stage: groups of durable payloads get their rows, in a thread of their own."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event, Thread

import structlog

from ingestion_assets.landing.acknowledgement import Answer, Waiting, answer_all, registered, unregistered
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.registrar import Registrar
from ingestion_assets.landing.registration import Landed

LEDGER_WAIT_S = 5.0  # a ledger that neither takes nor refuses the row must not hold up the answer
GATHER_S = 0.025  # payloads whose rows nobody waits for get them together
MOST_BEHIND = 10_000  # rows to come, above which every payload waits for its own
MOST_KEPT = 50_000  # rows to come, above which the sensor is left to write them: the ledger hangs

log = structlog.get_logger(__name__)


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
        while (group := self._groups.get()) is not None:
            if not group.waiting:
                self._hurry.wait(GATHER_S)
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
