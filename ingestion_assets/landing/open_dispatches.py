"""Dispatches that have not ended: runs that are asked for, or at work; and those of which nothing will come."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.tables import dispatches


@dataclass(frozen=True, slots=True)
class OpenDispatch:
    """A dispatch that did not end, `age_s` seconds old; `run_id` is known once the run has claimed its lane."""

    id: UUID
    lane: Lane
    run_id: str | None
    age_s: float


def open_dispatches(connection: sa.Connection) -> list[OpenDispatch]:
    """The dispatches whose runs are asked for or at work."""
    age = sa.extract("epoch", sa.func.clock_timestamp() - dispatches.c.requested_at)
    query = sa.select(dispatches, age.label("age_s")).where(dispatches.c.state.in_(("pending", "claimed")))
    return [
        OpenDispatch(row.id, Lane(row.flow, row.partition, row.lane), row.run_id, float(row.age_s))
        for row in connection.execute(query)
    ]


def lose(connection: sa.Connection, ids: Sequence[UUID]) -> int:
    """Note that no run will come of these dispatches, so that their lanes can be dispatched again. Gives how many were open."""
    return connection.execute(
        sa.update(dispatches)
        .where(dispatches.c.id.in_(ids), dispatches.c.state.in_(("pending", "claimed")))
        .values(state="lost", ended_at=sa.func.clock_timestamp())
    ).rowcount


def withdraw(connection: sa.Connection, ids: Sequence[UUID]) -> None:
    """Forget dispatches whose runs could not be asked for: that says nothing about the lanes."""
    connection.execute(sa.delete(dispatches).where(dispatches.c.id.in_(ids), dispatches.c.state == "pending"))
