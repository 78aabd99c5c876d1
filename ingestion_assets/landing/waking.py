"""Waking runs at once: a thread that asks for a run as soon as a lane has work, so that nobody waits for a sensor."""

import json
from collections.abc import Callable, Iterable, Sequence
from queue import SimpleQueue
from threading import Thread

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.landing.dispatch import Dispatch, lane_states, lanes_to_dispatch, lose, request
from ingestion_assets.landing.drops import Lane

log = structlog.get_logger(__name__)


class Waker:
    """Decides like the sensor does and has `launch` start the runs. Failures are left to the sensor."""

    def __init__(self, *, engine: sa.Engine, launch: Callable[[Dispatch], None], at_most: int = 16) -> None:
        self._engine = engine
        self._launch = launch
        self._at_most = at_most
        self._lanes: SimpleQueue[tuple[str, str] | None] = SimpleQueue()
        self._thread = Thread(target=self._run, name="waker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._lanes.put(None)
        self._thread.join(timeout=10)

    def wake(self, lanes: Iterable[Lane]) -> None:
        """These lanes may have work. Returns at once."""
        for lane in lanes:
            self._lanes.put((lane.flow, lane.name))

    def lane_freed(self, payload: str) -> None:
        """Take a notification on the channel `ingestion_lane_free`."""
        freed = json.loads(payload)
        self._lanes.put((freed["flow"], freed["lane"]))

    def _run(self) -> None:
        while (lane := self._lanes.get()) is not None:
            lanes = {lane}
            while not self._lanes.empty():
                more = self._lanes.get()
                if more is None:
                    return
                lanes.add(more)
            self._dispatch(sorted(lanes))

    def _dispatch(self, lanes: Sequence[tuple[str, str]]) -> None:
        flows, names = {flow for flow, _ in lanes}, {name for _, name in lanes}
        try:
            with self._engine.begin() as connection:
                states = lane_states(connection, flows=sorted(flows), lanes=sorted(names))
                dispatched = request(connection, lanes_to_dispatch(states, at_most=self._at_most))
        except SQLAlchemyError as error:
            log.warning("wake_failed", error=str(error).splitlines()[0])
            return
        for dispatch in dispatched:
            self._start(dispatch)

    def _start(self, dispatch: Dispatch) -> None:
        try:
            self._launch(dispatch)
        except Exception as error:
            log.warning("wake_failed", lane=dispatch.lane.name, error=str(error))
            try:
                with self._engine.begin() as connection:
                    lose(connection, [dispatch.id])
            except SQLAlchemyError as ledger_error:
                log.warning("wake_failed", error=str(ledger_error).splitlines()[0])
