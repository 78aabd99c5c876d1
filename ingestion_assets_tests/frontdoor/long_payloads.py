"""Payloads that a run works on for long, by hand: claimed, told of step by step, ended when the test says so."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import httpx
import sqlalchemy as sa

from ingestion_assets.landing import claims, finishing
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.progress import ProgressWriter
from ingestion_assets_tests.frontdoor.conftest import Front


class LongRun:
    """A run that has claimed what waits in a lane."""

    def __init__(self, engine: sa.Engine, lane: Lane) -> None:
        self._engine = engine
        self.run_id = str(uuid.uuid4())
        with engine.begin() as connection:
            self.claim = claims.claim_landed(
                connection, lane, claim_id=self.run_id, run_id=self.run_id, dispatch_id=None, max_bytes=2**28, lease_s=60
            )  # fmt: skip
        self._progress = ProgressWriter(engine, self.claim.claim_id, every_s=0)

    def tell(self, drop_id: UUID, step: int) -> None:
        self._progress.note(drop_id, {"step": step})

    def end(self, **how: bool) -> None:
        with self._engine.begin() as connection:
            finishing.finish(
                connection, self.claim, [DropOutcome(one.id, {}, **how) for one in self.claim.drops]
            )


@contextmanager
def no_runs(front: Front) -> Iterator[None]:
    """Dispatched runs are lost, so that payloads stay where they landed."""
    front.runs.pause()
    try:
        yield
    finally:
        front.runs.resume()


def land(client: httpx.Client) -> UUID:
    """A payload that nobody waits for, with its row."""
    answer = client.post(
        "/api/v1/ingest/batch", json={"messages": [{"type": "user", "uuid": str(uuid.uuid4())}]}, headers={"Prefer": "respond-async"}
    )  # fmt: skip
    assert answer.status_code == 202, answer.text
    receipt = client.get(f"/api/v1/receipts/{answer.json()['id']}").json()
    assert receipt["state"] == "landed", receipt
    return UUID(receipt["id"])


def lane_of(engine: sa.Engine, drop_id: UUID) -> Lane:
    with engine.connect() as connection:
        query = sa.text("SELECT flow, partition, lane FROM ingestion.drops WHERE id = :id")
        return Lane(*connection.execute(query, {"id": drop_id}).one())
