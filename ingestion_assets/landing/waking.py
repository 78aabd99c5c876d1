"""Waking runs at once: a thread that asks for a run as soon as a lane has work, so that nobody waits for a sensor."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from types import MappingProxyType, TracebackType
from typing import Self
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.landing.channels import freed_lane
from ingestion_assets.landing.dispatch import (
    Dispatch,
    LaneState,
    lane_states,
    lanes_to_dispatch,
    priorities,
    request,
    room,
)
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.flows import Flow
from ingestion_assets.landing.open_dispatches import withdraw
from ingestion_assets.stores.error_text import text_of

RETRY_S = 1.0
BREATH_S = 0.03
_NO_FLOWS: Mapping[str, Flow] = MappingProxyType({})

log = structlog.get_logger(__name__)

Place = tuple[str, str | None]
"""A flow and one of its lanes; None for all of them."""


class LaneDemand:
    """Somebody waits for the outcomes of some lanes, which do not rest meanwhile; until `end`, or the end of the block."""

    def __init__(self, waited_for: "Counter[Place]", lock: Lock) -> None:
        self._waited_for = waited_for
        self._lock = lock
        self._places: list[Place] | None = []

    def add(self, flow: str, lane: str) -> None:
        """This lane too, from now on; may be called in any thread, and after the end."""
        with self._lock:
            if self._places is not None:
                self._places.append((flow, lane))
                self._waited_for[flow, lane] += 1

    def end(self) -> None:
        with self._lock:
            for place in self._places or ():
                self._waited_for[place] -= 1
                if not self._waited_for[place]:
                    del self._waited_for[place]
            self._places = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.end()


class Waker:
    """Decides like the sensor does and has `launch` start the runs. What fails is tried again after `RETRY_S`. Where nothing can be
    launched from here, `launch` is None, and it does nothing.

    A call to wake is followed at once; those that come within `BREATH_S` of a look share the next one. Who waits for an outcome
    here is known here: lanes rest for `rest_s`, but not those. The sensor need not know, it is only later by that rest. `flows` say
    what there is to say of their runs; where only so many go on at once, a lane that is free again lets any other of its flow go on.
    """

    def __init__(
        self,
        *,
        engine: sa.Engine,
        launch: Callable[[Dispatch], None] | None,
        rest_s: float = 0.0,
        at_most: int = 16,
        flows: Mapping[str, Flow] = _NO_FLOWS,
    ) -> None:
        self._engine = engine
        self._launch = launch
        self._rest_s = rest_s
        self._at_most = at_most
        self._flows = flows
        self._places: SimpleQueue[Place | None] = SimpleQueue()
        self._failed: list[UUID] = []
        self._lock = Lock()
        self._waited_for: Counter[Place] = Counter()
        self._asked_after: set[Place] = set()
        self._thread = Thread(target=self._run, name="waker", daemon=True)

    def start(self) -> None:
        if self._launch is not None:
            self._thread.start()

    def stop(self) -> None:
        self._places.put(None)
        if self._thread.ident is not None:
            self._thread.join(timeout=10)

    def wake(self, lanes: Iterable[Lane]) -> None:
        """These lanes may have work. Returns at once."""
        for lane in lanes:
            self._look_at((lane.flow, lane.name))

    def lane_freed(self, payload: str) -> None:
        """Take a notification of `channels.LANE_FREE`."""
        self._look_at(freed_lane(payload))

    def wake_all(self, flows: Iterable[str]) -> None:
        """Any lane of these flows may have work: for whoever may have missed that. Returns at once."""
        for flow in flows:
            self._look_at((flow, None))

    def demand(self) -> LaneDemand:
        """For no lane yet."""
        return LaneDemand(self._waited_for, self._lock)

    def asked_after(self, flow: str, lane: str) -> None:
        """Somebody wants to know what became of a payload that has landed there: its next run comes without a rest."""
        with self._lock:
            if self._launch is not None:
                self._asked_after.add((flow, lane))
        self._look_at((flow, lane))

    def _look_at(self, place: Place) -> None:
        if self._launch is not None:
            self._places.put(place)

    def _run(self) -> None:
        due: dict[Place, float] = {}
        looked = 0.0
        while True:
            places: set[Place | None] = set()
            with suppress(Empty):
                places.add(self._places.get(timeout=_until(min(due.values())) if due else None))
            if (early := looked + BREATH_S - time.monotonic()) > 0:
                time.sleep(early)
            while not self._places.empty():
                places.add(self._places.get())
            known = {place for place in places if place is not None}
            if len(known) < len(places):
                return
            known |= {place for place, at in due.items() if at <= time.monotonic()}
            if known:
                due = {place: at for place, at in due.items() if place not in known}
                due |= self._dispatch_each(known)
                looked = time.monotonic()

    def _dispatch_each(self, places: Collection[Place]) -> dict[Place, float]:
        """As `_dispatch`. A flow whose own words fail (its keys, its bounds) holds up no other, and this thread lives on."""
        try:
            return self._dispatch(places)
        except Exception as error:
            first, *others = sorted({flow for flow, _ in places})
            if not others:
                log.exception("wake_failed", flow=first, error=text_of(error))
                return dict.fromkeys(places, time.monotonic() + RETRY_S)
        due: dict[Place, float] = {}
        for flow in (first, *others):
            due |= self._dispatch_each({place for place in places if place[0] == flow})
        return due

    def _dispatch(self, places: Collection[Place]) -> dict[Place, float]:
        """Start what must be started; gives the places to look at again, and when: where that failed, and where lanes rest."""
        runs = {flow: self._flows[flow].runs for flow, _ in places if flow in self._flows}
        try:
            with self._engine.begin() as connection:
                if self._failed:
                    withdraw(connection, self._failed)
                left = room(connection, runs)
                places = {(flow, name) for flow, name in places if left.get(flow) != 0}
                flows, names = {flow for flow, _ in places}, {name for _, name in places if name is not None}
                everywhere = any(name is None or flow in left for flow, name in places)
                states = lane_states(
                    connection,
                    flows=sorted(flows),
                    lanes=None if everywhere else sorted(names),
                    rest_s=self._rest_s,
                )
                waited_for = self._waited_for_now(places, states)
                lanes = lanes_to_dispatch(
                    states,
                    at_most=self._at_most,
                    waited_for=waited_for,
                    runs=runs,
                    room=left,
                )
                dispatched = request(connection, lanes, priorities(states, runs), self._flows)
        except SQLAlchemyError as error:
            log.warning("wake_failed", error=text_of(error))
            return dict.fromkeys(places, time.monotonic() + RETRY_S)
        self._failed.clear()
        due: dict[Place, float] = {
            (state.lane.flow, state.lane.name): time.monotonic() + state.rest_s
            for state in states
            if state.rest_s and state.lane not in lanes
        }
        for one in dispatched:
            place = (one.lane.flow, one.lane.name)
            if self._start(one):
                with self._lock:
                    self._asked_after.discard(place)
            else:
                due[place] = time.monotonic() + RETRY_S
        return due

    def _waited_for_now(self, places: Collection[Place], states: Collection[LaneState]) -> set[Place]:
        with self._lock:
            # What was asked after may have been taken since.
            self._asked_after -= set(places) - {(state.lane.flow, state.lane.name) for state in states}
            return self._asked_after | self._waited_for.keys()

    def _start(self, dispatch: Dispatch) -> bool:
        try:
            if self._launch is not None:
                self._launch(dispatch)
            return True
        except Exception as error:
            log.warning("wake_failed", lane=dispatch.lane.name, error=text_of(error))
            self._failed.append(dispatch.id)
        try:
            with self._engine.begin() as connection:
                withdraw(connection, self._failed)
            self._failed.clear()
        except SQLAlchemyError as error:  # the ledger is down too: noted with the next try
            log.warning("wake_failed", error=text_of(error))
        return False


def _until(at: float) -> float:
    return max(0.0, at - time.monotonic())
