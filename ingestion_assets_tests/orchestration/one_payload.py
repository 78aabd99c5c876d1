"""A payload in the ledger, for tests of what runs do with it; it lies nowhere."""

from datetime import UTC, datetime

import sqlalchemy as sa
import uuid_utils.compat

from ingestion_assets.landing.drops import Lane, NewDrop
from ingestion_assets.landing.registration import Landed, register
from ingestion_assets.landing.segments import encode, pack


def land_one(connection: sa.Connection, lane: Lane, **attributes: str) -> None:
    """A payload of one record in `lane`, and nothing else in the ledger."""
    connection.execute(sa.text("TRUNCATE ingestion.drops, ingestion.leases, ingestion.dispatches CASCADE"))
    land_another(connection, lane, **attributes)


def land_another(connection: sa.Connection, lane: Lane, **attributes: str) -> None:
    """A payload of one record in `lane`."""
    drop = NewDrop(
        flow=lane.flow, partition=lane.partition, lane=lane.name, principal="test", body=b"1", records=1,
        attributes=attributes,
    )  # fmt: skip
    packed = pack(drop, drop_id=uuid_utils.compat.uuid7(), received_at=datetime.now(UTC))
    register(connection, [Landed("segment", entry) for entry in encode([packed], "segment")[1]])
