"""Leases: one run at a time in a lane. Which drops a run works on is the matter of `claims`.

A lease belongs to the run that lives, is renewed by its worker's heartbeat and ends by itself when the worker does.
"""

from collections.abc import Sequence

import sqlalchemy as sa

from ingestion_assets.landing.channels import announce
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.tables import dispatches, leases


class LaneBusyError(Exception):
    """Another live run holds the lane."""


def take_lease(connection: sa.Connection, lane: Lane, *, run_id: str, lease_s: float) -> None:
    """Hold the lane for a run, for `lease_s` from now unless it is renewed. Raises `LaneBusyError`."""
    taken = connection.execute(
        sa.text("""
            INSERT INTO ingestion.leases AS lease (flow, lane, holder, expires_at)
            VALUES (:flow, :lane, :run_id, clock_timestamp() + make_interval(secs => :lease_s))
            ON CONFLICT (flow, lane) DO UPDATE
                SET holder = excluded.holder, expires_at = excluded.expires_at
                WHERE lease.holder = excluded.holder OR lease.expires_at < clock_timestamp()
            RETURNING holder
        """),
        {"flow": lane.flow, "lane": lane.name, "run_id": run_id, "lease_s": lease_s},
    ).one_or_none()
    if taken is None:
        holder = connection.scalar(
            sa.select(leases.c.holder).where(leases.c.flow == lane.flow, leases.c.lane == lane.name)
        )
        raise LaneBusyError(f"run {holder} is working on the lane {lane.name} of {lane.flow}")


def renew(connection: sa.Connection, *, run_ids: Sequence[str], lease_s: float) -> None:
    """Keep the leases of live runs; the workers' heartbeat calls it."""
    connection.execute(
        sa.text("""
            UPDATE ingestion.leases SET expires_at = clock_timestamp() + make_interval(secs => :lease_s)
            WHERE holder = ANY(:run_ids)
        """),
        {"run_ids": list(run_ids), "lease_s": lease_s},
    )


def release(connection: sa.Connection, run_id: str) -> None:
    """End the run's leases and dispatch, and tell whoever starts the next run that its lanes are free."""
    lanes = connection.execute(
        sa.delete(leases).where(leases.c.holder == run_id).returning(leases.c.flow, leases.c.lane)
    ).all()
    connection.execute(
        sa.update(dispatches)
        .where(dispatches.c.run_id == run_id, dispatches.c.state == "claimed")
        .values(state="finished", ended_at=sa.func.clock_timestamp())
    )
    announce(connection, [(lane.flow, lane.lane) for lane in lanes])
