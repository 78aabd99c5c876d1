"""Streams in the ledger: how far one is, whatever its length; its day, whatever the clock of its sender says."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from ingestion_assets.entities.streams import Acknowledged, StreamName, acknowledged, day_of, progress
from ingestion_assets.stores.postgres import engine

NOW = datetime(2026, 5, 10, 23, 59, tzinfo=UTC)


def named(began: datetime) -> str:
    """A UUIDv7 made at that time."""
    return str(uuid.UUID(int=int(began.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62))


@pytest.mark.parametrize(
    ("ahead", "day"),
    [
        (timedelta(), "2026-05-10"),
        (timedelta(days=-3), "2026-05-07"),
        (timedelta(days=-8), "2026-05-10"),
        (timedelta(minutes=2), "2026-05-10"),
        (timedelta(days=5), "2026-05-10"),
    ],
)
def test_a_stream_belongs_to_the_day_it_began_but_never_to_one_that_is_to_come(
    ahead: timedelta, day: str
) -> None:
    assert day_of(named(NOW + ahead), now=NOW) == day


PARTS = """
    INSERT INTO ingestion.drops (id, flow, partition, lane, principal, idempotency_key, body_sha256, size_bytes, records,
        segment, "offset", length, state, received_at, attributes, result)
    SELECT gen_random_uuid(), 'entities', 'day', 'day', 'test', 'stream:long:0:' || n, '', 10, 2, 's', 0, 10,
        CASE WHEN n % 1000 = 1 THEN 'landed' ELSE 'done' END, now(),
        jsonb_build_object('lines', '2', 'first_line', (2 * n)::text, 'first_byte', (10 * n)::text),
        CASE WHEN n % 1000 <> 1 THEN '{"processed": 2, "inserted": 1, "failed": 1, "errors": []}'::jsonb END
    FROM generate_series(0, :parts - 1) n
"""


@pytest.mark.parametrize("parts", [0, 1, 100, 10_001, 12_345])
def test_a_long_stream_is_found_as_quickly_as_a_short_one(postgres_url: str, parts: int) -> None:
    name, asked = StreamName("long"), []
    own = engine(postgres_url)
    with own.connect() as connection:
        connection.execute(sa.text(PARTS), {"parts": parts})
        sa.event.listen(connection, "before_cursor_execute", lambda *call: asked.append(call[3]))
        known = acknowledged(connection, principal="test", name=name)
        assert len(asked) <= 5
        unfinished, totals = progress(connection, principal="test", name=name, parts=parts)
    own.dispose()
    partition = "day" if parts else None
    assert known == Acknowledged(parts=parts, lines=2 * parts, bytes=10 * parts, partition=partition)
    assert unfinished == (parts + 998) // 1000
    assert (totals["processed"], totals["failed"]) == (2 * (parts - unfinished), parts - unfinished)
    assert totals["updated"] == 0
