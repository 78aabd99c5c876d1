"""Stands in for the orchestrator: a dispatched run claims its lane and finishes every drop at once."""

import threading
import uuid
from collections.abc import Callable

import msgspec
import sqlalchemy as sa

from ingestion_assets.landing import claims, finishing, leases
from ingestion_assets.landing.dispatch import Dispatch
from ingestion_assets.landing.drop_outcomes import DropOutcome, RecordOutcome, Reject

Outcome = Callable[[claims.DropRef], DropOutcome]


def stored(drop: claims.DropRef) -> DropOutcome:
    """Every record was stored."""
    stats = {
        "messages_received": drop.records, "messages_processed": drop.records, "messages_skipped": 0, "messages_failed": 0,
        "sessions_created": 1, "sessions_updated": 0, "todos_processed": 0, "config_updated": False,
        "projects_created": [], "duration_ms": 1,
    }  # fmt: skip
    records = [RecordOutcome("stored", f"record-{index}") for index in range(drop.records)]
    return DropOutcome(drop.id, {"success": True, "stats": stats, "message": "stored"}, records)


def first_rejected(drop: claims.DropRef) -> DropOutcome:
    """The first record was rejected, the others stored."""
    outcome = stored(drop)
    records = [RecordOutcome("rejected", code="no_type", reason="the type is missing"), *outcome.records[1:]]
    reject = Reject(0, "invalid", "no_type", "the type is missing", b'{"uuid":"a"}')
    return DropOutcome(drop.id, outcome.result, records, [reject])


def failed(drop: claims.DropRef) -> DropOutcome:
    """The payload failed for good."""
    reason = "ZeroDivisionError: division by zero"
    return DropOutcome(drop.id, {}, (), (), [{"code": "run_failed", "reason": reason}], True)


class InstantRuns:
    """Called with a dispatch like the real launcher. Between `pause` and `resume`, dispatches are lost."""

    def __init__(self, *, engine: sa.Engine) -> None:
        self._engine = engine
        self.outcome: Outcome = stored
        self.launched: list[Dispatch] = []
        self._paused = False
        self._at_work = 0
        self._changed = threading.Condition()

    def pause(self) -> None:
        """Returns when no run is at work any more."""
        with self._changed:
            self._paused = True
            if not self._changed.wait_for(lambda: self._at_work == 0, timeout=20):
                raise TimeoutError("a run of the test does not end")

    def resume(self) -> None:
        self._paused = False

    def __call__(self, dispatch: Dispatch) -> None:
        with self._changed:
            if self._paused:
                raise ConnectionError("the orchestrator is down")
            self._at_work += 1
        try:
            self._run(dispatch)
        finally:
            with self._changed:
                self._at_work -= 1
                self._changed.notify_all()

    def _run(self, dispatch: Dispatch) -> None:
        self.launched.append(dispatch)
        run_id = str(uuid.uuid4())
        with self._engine.begin() as connection:
            claim = claims.claim_landed(
                connection, dispatch.lane, claim_id=run_id, run_id=run_id, dispatch_id=dispatch.id,
                max_bytes=2**28, lease_s=30,
            )  # fmt: skip
        with self._engine.begin() as connection:
            finishing.finish(connection, claim, [self.outcome(drop) for drop in claim.drops])
        with self._engine.begin() as connection:
            leases.release(connection, run_id)


def encode(body: object) -> bytes:
    return msgspec.json.encode(body)
