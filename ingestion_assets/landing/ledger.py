"""Reading the ledger: receipts, outcomes of records, and the figures for health and metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from ingestion_assets.landing.drops import Receipt
from ingestion_assets.landing.pace import NO_BOUND, expected_waits
from ingestion_assets.landing.record_outcomes import FIELDS, unpack
from ingestion_assets.landing.tables import drops, progress, receipt_records, unreadable_segments

Item = TypeVar("Item")

_TOLD = sa.func.json_build_object("number", progress.c.number, "at", progress.c.at, "state", progress.c.state)
_RECEIPT = [
    *(drops.c[name] for name in Receipt.__struct_fields__ if name != "progress"),
    sa.case((progress.c.drop_id.is_not(None), _TOLD)).label("progress"),
]
_WITH_PROGRESS = drops.outerjoin(progress, progress.c.drop_id == drops.c.id)


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """One page of a list in stable order; `next` is the cursor of the following page."""

    items: list[Item]
    next: str | None


async def receipt(engine: AsyncEngine, drop_id: UUID) -> Receipt | None:
    """One receipt; an alias answers with the receipt it stands for."""
    return (await receipts(engine, [drop_id])).get(drop_id)


async def receipts(engine: AsyncEngine, ids: Sequence[UUID]) -> dict[UUID, Receipt]:
    """Receipts by the id that was asked for."""
    async with engine.connect() as connection:
        return await connection.run_sync(lambda sync: read_receipts(sync, ids))


def read_receipts(connection: sa.Connection, ids: Sequence[UUID]) -> dict[UUID, Receipt]:
    rows = connection.execute(
        sa.select(*_RECEIPT)
        .select_from(_WITH_PROGRESS)
        .where(drops.c.id == sa.any_(sa.literal(list(ids), sa.ARRAY(sa.UUID))))
    )
    found = {row.id: Receipt(**row._mapping) for row in rows}
    aliases = {
        one.id: UUID(one.attributes["alias_of"])
        for one in found.values()
        if one.state == "done" and "alias_of" in one.attributes
    }
    if aliases:
        originals = read_receipts(connection, list(aliases.values()))
        found |= {alias: originals[target] for alias, target in aliases.items() if target in originals}
    return found


async def list_receipts(
    engine: AsyncEngine,
    *,
    flow: str | None = None,
    state: str | None = None,
    principal: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page[Receipt]:
    """Receipts, newest first."""
    query = sa.select(*_RECEIPT).select_from(_WITH_PROGRESS).order_by(drops.c.id.desc()).limit(limit + 1)
    for column, value in ((drops.c.flow, flow), (drops.c.state, state), (drops.c.principal, principal)):
        if value is not None:
            query = query.where(column == value)
    if cursor is not None:
        query = query.where(drops.c.id < UUID(cursor))
    async with engine.connect() as connection:
        rows = (await connection.execute(query)).all()
    items = [Receipt(**row._mapping) for row in rows[:limit]]
    return Page(items, str(items[-1].id) if len(rows) > limit else None)


async def record_outcomes(
    engine: AsyncEngine, drop_id: UUID, *, offset: int = 0, limit: int = 1000
) -> list[dict[str, Any]] | None:
    """What became of a payload's records, in input order; None if nothing is known (yet)."""
    async with engine.connect() as connection:
        known = (await connection.run_sync(lambda sync: read_receipts(sync, [drop_id]))).get(drop_id)
        if known is None:
            return None
        packed = await connection.scalar(
            sa.select(receipt_records.c.outcomes).where(receipt_records.c.drop_id == known.id)
        )
    if packed is None:
        return None
    outcomes = unpack(packed)
    return [
        {"index": index}
        | {name: value for name, value in zip(FIELDS, outcome, strict=False) if value is not None}
        for index, outcome in enumerate(outcomes[offset : offset + limit], start=offset)
    ]


@dataclass(frozen=True, slots=True)
class LedgerStatistics:
    """Figures for `/metrics`, `/health` and admission.

    `waiting_s`: by flow, for how long its first payload has been waiting for a run (what a run works on does not wait, however
    long that takes); `expected_wait_s`: how long the next one will.
    """

    unfinished: dict[tuple[str, str], int]
    finished_last_hour: dict[tuple[str, str], int]
    open_rejects: dict[tuple[str, str], int]
    waiting_s: dict[str, float]
    expected_wait_s: Mapping[str, float]
    unreadable: Sequence[dict[str, Any]] = ()
    """Segments that cannot be read as a whole: path, reason, since when."""

    @property
    def oldest_unprocessed_s(self) -> float | None:
        """Of the payload that waits longest; None when none does."""
        return max(self.waiting_s.values(), default=None)


_STATISTICS = sa.text("""
    SELECT 'unfinished' AS what, flow, state AS key, count(*) AS n, min(coalesce(queued_at, received_at)) AS oldest
    FROM ingestion.drops WHERE state = 'landed' GROUP BY flow, state
    UNION ALL
    SELECT 'unfinished', flow, state, count(*), NULL
    FROM ingestion.drops WHERE state = 'claimed' GROUP BY flow, state
    UNION ALL
    SELECT 'finished', flow, state, count(*), NULL
    FROM ingestion.drops WHERE finished_at > now() - interval '1 hour' AND NOT attributes ? 'alias_of' GROUP BY flow, state
    UNION ALL
    SELECT 'rejects', flow, kind, count(*), NULL
    FROM ingestion.rejects WHERE redriven_at IS NULL GROUP BY flow, kind
""")


async def statistics(
    engine: AsyncEngine, *, behind_s: float = 10.0, at_once: Mapping[str, int] = NO_BOUND
) -> LedgerStatistics:
    """The ledger's figures; reads only what is open or recent. A second name of a receipt (an idempotency key that was used
    before) is no payload. `behind_s`: how long a flow's payloads wait before it is asked for how long new ones will;
    `at_once`: how many runs side by side a flow may have, where that is bounded.
    """
    async with engine.connect() as connection:
        rows = (await connection.execute(_STATISTICS)).all()
        now = await connection.scalar(sa.select(sa.func.clock_timestamp()))
        columns = [unreadable_segments.c[name] for name in ("path", "reason", "since")]
        unreadable = await connection.execute(sa.select(*columns).order_by(unreadable_segments.c.since))
        waiting = _waiting(rows, now)
        behind = [flow for flow, seconds in waiting.items() if seconds > behind_s]
        expected = (
            await connection.run_sync(lambda sync: expected_waits(sync, behind, at_once)) if behind else {}
        )
    by_kind: dict[str, dict[tuple[str, str], int]] = {"unfinished": {}, "finished": {}, "rejects": {}}
    for row in rows:
        by_kind[row.what][row.flow, row.key] = row.n
    return LedgerStatistics(
        unfinished=by_kind["unfinished"],
        finished_last_hour=by_kind["finished"],
        open_rejects=by_kind["rejects"],
        waiting_s=waiting,
        unreadable=[dict(row._mapping) for row in unreadable],
        expected_wait_s=expected,
    )


def _waiting(rows: Sequence[sa.Row[Any]], now: datetime | None) -> dict[str, float]:
    return {
        row.flow: (now - row.oldest).total_seconds()
        for row in rows
        if row.oldest is not None and now is not None
    }
