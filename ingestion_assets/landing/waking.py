"""Waking runs at once: a thread that asks for a run as soon as a lane has work, so that nobody waits for a sensor."""

import json
import time
from collections.abc import Callable, Collection, Iterable
from queue import Empty, SimpleQueue
from threading import Thread
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.landing.dispatch import Dispatch, lane_states, lanes_to_dispatch, request, withdraw
from ingestion_assets.landing.drops import Lane
from ingestion_assets.stores.error_text import text_of

RETRY_S = 1.0
BREATH_S = 0.03

log = structlog.get_logger(__name__)

Place = tuple[str, str | None]
"""A flow and one of its lanes; None for all of them."""


class Waker:
    """Decides like the sensor does and has `launch` start the runs. What fails is tried again after `RETRY_S`.

    A call to wake is followed at once; those that come within `BREATH_S` of a look share the next one.
    """

    def __init__(self, *, engine: sa.Engine, launch: Callable[[Dispatch], None], at_most: int = 16) -> None:
        self._engine = engine
        self._launch = launch
        self._at_most = at_most
        self._places: SimpleQueue[Place | None] = SimpleQueue()
        self._failed: list[UUID] = []
        self._thread = Thread(target=self._run, name="waker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._places.put(None)
        self._thread.join(timeout=10)

    def wake(self, lanes: Iterable[Lane]) -> None:
        """These lanes may have work. Returns at once."""
        for lane in lanes:
            self._places.put((lane.flow, lane.name))

    def wake_all(self, flows: Iterable[str]) -> None:
        """Any lane of these flows may have work: for whoever may have missed that. Returns at once."""
        for flow in flows:
            self._places.put((flow, None))

    def lane_freed(self, payload: str) -> None:
        """Take a notification on the channel `ingestion_lane_free`."""
        freed = json.loads(payload)
        self._places.put((freed["flow"], freed["lane"]))

    def _run(self) -> None:
        again: set[Place] = set()
        looked = 0.0
        while True:
            places: set[Place | None] = set()
            try:
                places.add(self._places.get(timeout=RETRY_S if again else None))
            except Empty:
                places, again = {*again}, set()
            if (early := looked + BREATH_S - time.monotonic()) > 0:
                time.sleep(early)
            while not self._places.empty():
                places.add(self._places.get())
            known = {place for place in places if place is not None}
            if len(known) < len(places):
                return
            again |= self._dispatch(known)
            looked = time.monotonic()

    def _dispatch(self, places: Collection[Place]) -> set[Place]:
        """Start what must be started; gives the places where that failed."""
        flows, names = {flow for flow, _ in places}, {name for _, name in places if name is not None}
        everywhere = any(name is None for _, name in places)
        try:
            with self._engine.begin() as connection:
                if self._failed:
                    withdraw(connection, self._failed)
                states = lane_states(
                    connection, flows=sorted(flows), lanes=None if everywhere else sorted(names)
                )
                dispatched = request(connection, lanes_to_dispatch(states, at_most=self._at_most))
        except SQLAlchemyError as error:
            log.warning("wake_failed", error=text_of(error))
            return set(places)
        self._failed.clear()
        return {(one.lane.flow, one.lane.name) for one in dispatched if not self._start(one)}

    def _start(self, dispatch: Dispatch) -> bool:
        try:
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
