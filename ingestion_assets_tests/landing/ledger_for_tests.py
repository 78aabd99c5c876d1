"""A flow of notes, its payloads through a real intake into a real ledger, and a run's claim of them."""

import asyncio
from collections.abc import Callable
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing import claims
from ingestion_assets.landing.drop_outcomes import DropOutcome, RecordOutcome
from ingestion_assets.landing.drops import Lane, NewDrop
from ingestion_assets.landing.flows import Body, Flow, RefusedError
from ingestion_assets.landing.intake import Intake
from ingestion_assets.landing.local_storage import LocalStorage

LANE = Lane("notes", "2026-01-31", "2026-01-31")


def note(body: bytes = b"[1]", key: str | None = None, lane: str = LANE.name) -> NewDrop:
    return NewDrop(
        flow="notes",
        partition=LANE.partition,
        lane=lane,
        principal="test",
        body=body,
        records=1,
        idempotency_key=key,
    )


def read_inbox(name: str, content: bytes) -> list[tuple[Body, dict[str, str]]]:
    if name.endswith(".bad"):
        raise RefusedError("not a note")
    return [(Body(line, 1), {}) for line in content.splitlines()]


NOTES = Flow(
    name="notes",
    read_inbox=read_inbox,
    compose=lambda records, _attributes: Body(b"".join(records), len(records)),
)


def with_intake(engine: sa.Engine, storage: LocalStorage, work: Callable):
    """Run `work(intake)` in an event loop and give its result and the lanes that were woken."""
    woken: set[Lane] = set()

    async def run():
        intake = Intake(storage=storage, engine=engine, on_registered=woken.update)
        await intake.start()
        try:
            return await work(intake)
        finally:
            await intake.stop()

    return asyncio.run(run()), woken


def accept_all(engine: sa.Engine, storage: LocalStorage, drops: list[NewDrop]) -> list[UUID]:
    async def work(intake: Intake) -> list[UUID]:
        return [accepted.id for accepted in await asyncio.gather(*map(intake.accept, drops))]

    return with_intake(engine, storage, work)[0]


def take(
    engine: sa.Engine,
    run_id: str,
    *,
    max_bytes: int = 2**20,
    dispatch_id: UUID | None = None,
    lane: Lane = LANE,
) -> claims.Claim:
    with engine.begin() as connection:
        return claims.claim_landed(
            connection,
            lane,
            claim_id=run_id,
            run_id=run_id,
            dispatch_id=dispatch_id,
            max_bytes=max_bytes,
            lease_s=30,
        )


def done(claim: claims.Claim) -> list[DropOutcome]:
    return [DropOutcome(drop.id, {"fine": True}, [RecordOutcome("stored", "a")]) for drop in claim.drops]
