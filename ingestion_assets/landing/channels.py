"""What the ledger's NOTIFY tells the front doors: the channels and what is said on each. Nobody may rely on hearing it."""

from collections.abc import Iterable, Sequence
from uuid import UUID

import msgspec
import sqlalchemy as sa

FINISHED = "ingestion_finished"
LANE_FREE = "ingestion_lane_free"
PROGRESS = "ingestion_progress"
IDS_AT_ONCE = 200  # a notification holds less than 8000 bytes


def announce(connection: sa.Connection, lanes: Iterable[tuple[str, str]]) -> None:
    """Tell the front doors that these lanes, (flow, name) each, may want a run. The sensor finds out by itself."""
    for flow, name in sorted(set(lanes)):
        payload = msgspec.json.encode({"flow": flow, "lane": name}).decode()
        connection.execute(sa.select(sa.func.pg_notify(LANE_FREE, payload)))


def freed_lane(payload: str) -> tuple[str, str]:
    """Flow and name of the lane that a notification of `LANE_FREE` names."""
    freed = msgspec.json.decode(payload)
    return freed["flow"], freed["lane"]


def announce_finished(connection: sa.Connection, ids: Sequence[UUID]) -> None:
    """Tell the front doors that these payloads have outcomes."""
    _announce(connection, FINISHED, ids)


def announce_change(connection: sa.Connection, ids: Sequence[UUID]) -> None:
    """Tell those who follow these payloads to look again."""
    _announce(connection, PROGRESS, ids)


def _announce(connection: sa.Connection, channel: str, ids: Sequence[UUID]) -> None:
    for start in range(0, len(ids), IDS_AT_ONCE):
        payload = ",".join(map(str, ids[start : start + IDS_AT_ONCE]))
        connection.execute(sa.select(sa.func.pg_notify(channel, payload)))
