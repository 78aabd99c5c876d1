"""Deleting what is finished for long enough: payloads, their rows in the ledger, what flows tell of them, files taken from the inboxes.

Killed anywhere it loses nothing and is simply repeated. The rows of a lane go under the lane's lease, so no run is at work
on them, and in the same transaction the segments they lie in are noted as retired. Only then do files go, and only those
that no row names any more and of which all could be read. A file that outlives its rows for a while is not registered again:
it is noted until it is gone, durably.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from ingestion_assets.landing import leases
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.flows import Flow, Keys
from ingestion_assets.landing.storage import LandingStorage

ROWS_AT_ONCE = 1000
FILES_AT_ONCE = 200

# A reject that nobody dealt with keeps its payload: to redrive it takes the row, and for whole payloads the bytes. A
# conflict is no such thing, as the message that came first stays.
_OLD = """
    flow = ANY(:flows) AND state IN ('done', 'failed') AND finished_at < CAST(:before AS timestamptz)
"""
_OPEN_REJECT = """
    EXISTS (SELECT FROM ingestion.rejects
            WHERE rejects.drop_id = drops.id AND rejects.redriven_at IS NULL AND rejects.kind <> 'conflict')
"""
_LANES = sa.text(f"""
    SELECT flow, partition, lane FROM ingestion.drops WHERE {_OLD} AND NOT {_OPEN_REJECT}
    GROUP BY flow, partition, lane ORDER BY min(finished_at)
""")
_DELETE = sa.text(f"""
    WITH old AS (
        SELECT id FROM ingestion.drops
        WHERE {_OLD} AND partition = :partition AND lane = :lane AND NOT {_OPEN_REJECT}
        LIMIT {ROWS_AT_ONCE} FOR UPDATE
    ), gone AS (
        DELETE FROM ingestion.drops USING old WHERE drops.id = old.id RETURNING segment, size_bytes
    ), retired AS (
        INSERT INTO ingestion.retired_segments (path) SELECT DISTINCT segment FROM gone ON CONFLICT DO NOTHING
    )
    SELECT count(*) AS payloads, coalesce(sum(size_bytes), 0)::bigint AS bytes FROM gone
""")
_STILL_NAMED = sa.text("""
    DELETE FROM ingestion.retired_segments
    WHERE EXISTS (SELECT FROM ingestion.drops WHERE drops.segment = retired_segments.path)
""")
_RETIRED = sa.text("""
    SELECT path FROM ingestion.retired_segments retired
    WHERE NOT EXISTS (SELECT FROM ingestion.unreadable_segments unreadable WHERE unreadable.path = retired.path)
    ORDER BY path
""")
_FORGET = sa.text("DELETE FROM ingestion.retired_segments WHERE path = ANY(:paths)")
_DISPATCHES = sa.text("DELETE FROM ingestion.dispatches WHERE ended_at < :before")
_HISTORY = """
    DELETE FROM {table} WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM {table} told
        WHERE ended_at < CAST(:before AS timestamptz)
          AND NOT EXISTS (SELECT FROM ingestion.drops WHERE drops.id = told.drop_id)
        LIMIT {rows} FOR UPDATE SKIP LOCKED
    ))
"""
_PLANNED_HISTORY = f"""
    SELECT count(*) FROM {{table}} told
    WHERE ended_at < CAST(:before AS timestamptz)
      AND NOT EXISTS (SELECT FROM ingestion.drops WHERE drops.id = told.drop_id AND NOT ({_OLD} AND NOT {_OPEN_REJECT}))
"""
_PLAN = sa.text(f"""
    SELECT flow, {_OPEN_REJECT} AS kept, count(*) AS payloads, sum(size_bytes)::bigint AS bytes,
           min(finished_at) AS oldest, max(finished_at) AS newest
    FROM ingestion.drops WHERE {_OLD} GROUP BY 1, 2 ORDER BY 1, 2
""")


@dataclass(frozen=True, slots=True)
class Old:
    """Payloads of a flow that finished before the limit. `kept`: they stay, as a reject of theirs is still open."""

    flow: str
    kept: bool
    payloads: int
    bytes: int
    oldest: datetime
    newest: datetime


@dataclass(slots=True)
class Deleted:
    """What was deleted: payloads with their bytes as sent, rows of flows' histories, segments, days of files taken from the inboxes; lanes that
    were left for the next time because a run was at work on them."""

    payloads: int = 0
    bytes: int = 0
    histories: int = 0
    segments: int = 0
    inbox_days: int = 0
    busy_lanes: int = 0


def deletable(flows: Collection[Flow]) -> list[str]:
    """The flows whose payloads may go: all but those that need every payload of a partition to rebuild it."""
    return sorted(
        flow.name for flow in flows if not (isinstance(flow.partitions, Keys) and flow.partitions.needs_all)
    )


def plan(connection: sa.Connection, flows: Collection[Flow], *, before: datetime) -> list[Old]:
    """What finished before then, by flow; changes nothing."""
    rows = connection.execute(_PLAN, {"flows": deletable(flows), "before": before})
    return [Old(**row._mapping) for row in rows]


def planned_histories(connection: sa.Connection, flows: Collection[Flow], *, before: datetime) -> int:
    """How many rows of the flows' histories go with these payloads, or tell of payloads that are gone; changes nothing."""
    values = {"flows": deletable(flows), "before": before}
    tables = [table for flow in flows for table in flow.histories]
    return sum(
        connection.scalar(sa.text(_PLANNED_HISTORY.format(table=table)), values) or 0 for table in tables
    )


def delete_finished(
    engine: sa.Engine, storage: LandingStorage, flows: Collection[Flow], *, before: datetime, holder: str
) -> Deleted:
    """Delete what finished before then. `holder` is the run that does it, in whose name lanes are taken."""
    deleted = Deleted()
    scope = {"flows": deletable(flows), "before": before}
    with engine.connect() as connection:
        lanes = [Lane(*row) for row in connection.execute(_LANES, scope)]
    for lane in lanes:
        try:
            while (gone := _delete_rows(engine, lane, before=before, holder=holder)).payloads:
                deleted.payloads += gone.payloads
                deleted.bytes += gone.bytes
        except leases.LaneBusyError:
            deleted.busy_lanes += 1
    deleted.segments = _remove_retired(engine, storage)
    for flow in flows:
        folder = f"{flow.name}/accepted"
        for day in storage.folders(folder):
            if day < f"{before:%Y-%m-%d}":
                storage.remove_folder(f"{folder}/{day}")
                deleted.inbox_days += 1
    with engine.begin() as connection:
        connection.execute(_DISPATCHES, {"before": before})
    for table in (table for flow in flows for table in flow.histories):
        deleted.histories += _delete_history(engine, table, before=before)
    return deleted


def _delete_rows(engine: sa.Engine, lane: Lane, *, before: datetime, holder: str) -> sa.Row[Any]:
    """Delete some rows of a lane. Nobody sees the lease: whoever wants the lane meanwhile waits for the transaction."""
    values = {"flows": [lane.flow], "partition": lane.partition, "lane": lane.name, "before": before}
    with engine.begin() as connection:
        leases.take_lease(connection, lane, run_id=holder, lease_s=0)
        gone = connection.execute(_DELETE, values).one()
        leases.release(connection, holder)
    return gone


def _delete_history(engine: sa.Engine, table: str, *, before: datetime) -> int:
    """Delete the old rows of a history whose payloads are gone."""
    query = sa.text(_HISTORY.format(table=table, rows=ROWS_AT_ONCE))
    deleted = 0
    while True:
        with engine.begin() as connection:
            some = connection.execute(query, {"before": before}).rowcount
        deleted += some
        if some < ROWS_AT_ONCE:
            return deleted


def _remove_retired(engine: sa.Engine, storage: LandingStorage) -> int:
    with engine.begin() as connection:
        connection.execute(_STILL_NAMED)
        paths: Sequence[str] = connection.scalars(_RETIRED).all()
    for start in range(0, len(paths), FILES_AT_ONCE):
        some = list(paths[start : start + FILES_AT_ONCE])
        for path in some:
            storage.remove(path)
        with engine.begin() as connection:
            connection.execute(_FORGET, {"paths": some})
    return len(paths)
