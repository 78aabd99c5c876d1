"""Payloads of a zone accepted into a real ledger, and runs that work on them."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing import claims, finishing
from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import Lane, NewDrop
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.zones.record_types import record_type
from ingestion_assets.zones.work import ZoneWork
from ingestion_assets_tests.landing.ledger_for_tests import accept_all, take

LANE = Lane("shop", "2026-01-31", "2026-01-31")


class Runs:
    """A zone, `shop`, whose payloads land and are worked on when a test says so."""

    def __init__(self, engine: sa.Engine, storage: LocalStorage) -> None:
        self.engine = engine
        self.storage = storage
        self._number = 0

    def land(self, *bodies: Any, media_type: str = "application/json", **attributes: str) -> list[UUID]:
        """Accept payloads, in order; those that are no bytes are written as JSON."""
        return [
            accept_all(self.engine, self.storage, [self._drop(one, media_type, attributes)])[0]
            for one in bodies
        ]

    def _drop(self, body: Any, media_type: str, attributes: dict[str, str]) -> NewDrop:
        return NewDrop(
            flow=LANE.flow, partition=LANE.partition, lane=LANE.name, principal="test", records=1,
            body=body if isinstance(body, bytes) else json.dumps(body).encode(),
            attributes={"media_type": media_type, **attributes},
        )  # fmt: skip

    def claim(self, *, again: Claim | None = None) -> Claim:
        """What has landed, for a new run; or what a lost run had claimed."""
        if again is None:
            self._number += 1
        return take(
            self.engine, f"run-{self._number}" if again is None else again.run_id, lane=LANE, max_bytes=2**30
        )

    def join(self, claim: Claim) -> Sequence[DropRef]:
        """What has landed meanwhile joins the claim, however little it is."""
        with self.engine.begin() as connection:
            joined = claims.join_landed(connection, claim, from_drops=1, from_bytes=1, max_bytes=2**30)
        claim.add(joined)
        return joined

    def rebuild(self) -> Claim:
        """All of the partition, for a run that a person started."""
        self._number += 1
        run = f"run-{self._number}"
        with self.engine.begin() as connection:
            return claims.claim_partition(
                connection, [LANE], flow=LANE.flow, partition=LANE.partition, claim_id=run, run_id=run, lease_s=60, take_open=True
            )  # fmt: skip

    def work(self, claim: Claim, deliver: Any, model: object, **options: Any) -> ZoneWork:
        way = {"function" if callable(deliver) else "table": deliver}
        options = {
            "max_bytes": 2**20,
            "is_transient": lambda _: False,
            "records": record_type(model),
            **options,
        }
        return ZoneWork(
            zone=LANE.flow, claim=claim, storage=self.storage, engine=self.engine, **way, **options,
        )  # fmt: skip

    def run(self, deliver: Any, model: object, **options: Any) -> dict[UUID, DropOutcome]:
        """Claim what has landed, work on it, and end the claim."""
        claim = self.claim()
        outcomes = self.work(claim, deliver, model, **options).outcomes()
        self.finish(claim, outcomes)
        return {one.drop_id: one for one in outcomes}

    def finish(self, claim: Claim, outcomes: Sequence[DropOutcome]) -> None:
        with self.engine.begin() as connection:
            finishing.finish(connection, claim, outcomes)


def counts(outcome: DropOutcome) -> dict[str, int]:
    """The counts of a result that are not 0."""
    return {name: number for name, number in outcome.result.items() if isinstance(number, int) and number}
