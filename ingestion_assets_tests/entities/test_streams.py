"""Streams in the ledger: how far one is, whatever its length; its day, whatever the clock of its sender says."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from ingestion_assets.entities.flow import lines_in
from ingestion_assets.entities.lines import LONGEST_LINE
from ingestion_assets.entities.streams import (
    Acknowledged,
    Cutter,
    Segment,
    StreamName,
    acknowledged,
    day_of,
    progress,
)
from ingestion_assets.stores.postgres import engine
from ingestion_assets_tests.frontdoor.conftest import Front

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


CUSTOMER = b"C|%d|name|street|3|12-345|7.10|BUILDING|%s\n"


def cut(cutter: Cutter, text: bytes, *, at_once: int) -> list[Segment]:
    """The parts of some text that arrives bit by bit, and no more held than a line may have."""
    made = []
    for start in range(0, len(text), at_once):
        made += cutter.add(text[start : start + at_once])
        assert cutter.held <= LONGEST_LINE + at_once
    return made


@pytest.mark.parametrize("at_once", [65_536, 5_000_000])
@pytest.mark.parametrize("over", [-1, 0, 1, 3 * LONGEST_LINE])
def test_a_line_without_end_is_cut_and_the_stream_goes_on(over: int, at_once: int) -> None:
    long = b"C|2|" + b"x" * (LONGEST_LINE - 4 + over) + b"\n"
    text = CUSTOMER % (1, b"a") + long + CUSTOMER % (3, b"c") * 40_000
    cutter = Cutter(StreamName("s"), Acknowledged())
    parts = [*cut(cutter, text, at_once=at_once), cutter.end()]
    assert b"".join(part.body for part in parts) == text
    whole = [part for part in parts if "rest_of_line" not in part.attributes]
    assert sum(part.lines for part in parts) == sum(lines_in(part.body) for part in whole) == lines_in(text)
    for part in parts:
        before = text[: int(part.attributes["first_byte"])]
        if part in whole:
            assert int(part.attributes["first_line"]) == lines_in(before)
    too_long = [one for part in whole for one in part.body.split(b"\n") if len(one) > LONGEST_LINE]
    assert len(too_long) == (over > 0)


def test_a_line_that_is_too_long_is_a_reject_and_a_resumed_stream_knows_that_it_is_within_one(
    loading: Front,
) -> None:
    head, rest = b"C|8001|" + b"x" * (LONGEST_LINE + 1000), b"y" * 1000
    texts = [CUSTOMER % (8002, b"a") + head, rest, b"|C|8003\n" + CUSTOMER % (8004, b"b") + b"C|x"]
    with loading.client() as client:
        client.headers["Content-Type"] = "text/plain"
        offset, position = 0, {}
        for number, text in enumerate(texts):
            query = {"stream": "overlong", "offset": offset, "more": number < 2}
            answer = client.post("/ingest/stream", params=query, content=text)
            assert '"type":"total"' in answer.text, answer.text[-500:]
            offset += len(text)
            position = client.get("/ingest/stream/overlong").json()
            assert position["bytes"] == offset
        totals = position["totals"]
        counted = (totals["processed"], totals["inserted"], totals["failed"], position["unfinished"])
        assert counted == (4, 2, 2, 0), client.get("/api/v1/receipts", params={"flow": "entities"}).text
        assert position["lines"] == 4
        rejects = client.get("/api/v1/rejects", params={"flow": "entities", "kind": "invalid"}).json()[
            "items"
        ]
    mine = [one for one in rejects if one["code"] == "line_too_long"]
    assert len(mine) == 1
    assert (
        mine[0]["reason"]
        == f"line 2, byte {len(texts[0]) - len(head)}: expected a line of at most {LONGEST_LINE} bytes"
    )
