"""No hot query reads what is already done: every statement of the real functions is explained as it is executed."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import dagster as dg
import msgspec
import pytest
import sqlalchemy as sa
import uuid_utils.compat
from sqlalchemy.ext.asyncio import AsyncEngine

from ingestion_assets.conversations import collections, messages, statistics
from ingestion_assets.landing import (
    claims,
    dispatch,
    finishing,
    late_segments,
    leases,
    ledger,
    pauses,
    registration,
)
from ingestion_assets.landing.drop_outcomes import DropOutcome, RecordOutcome
from ingestion_assets.landing.drops import LandedDrop, Lane, NewDrop
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.landing.open_dispatches import open_dispatches
from ingestion_assets.landing.segments import encode, pack
from ingestion_assets.landing.storage import segment_path
from ingestion_assets.orchestration.dead_runs import give_back_dead_claims, lose_dead_dispatches
from ingestion_assets.samples import transcripts as synthetic
from ingestion_assets.stores import mongo
from ingestion_assets.stores.postgres import async_engine, driver_url

DONE = 20_000
LANDED = 5
MOST_ROWS = 1_000
LANE = Lane("notes", "2026-02-01", "2026-02-01")

_FILL = (
    f"""
    INSERT INTO ingestion.drops (id, flow, partition, lane, principal, idempotency_key, body_sha256, size_bytes, records,
        segment, "offset", length, state, received_at, claimed_at, finished_at, run_id, claim)
    SELECT uuidv7(make_interval(secs => n - 200000)), CASE WHEN n % 4 = 0 THEN 'other' ELSE 'notes' END, day, day, 'test',
        'key-' || n, sha256(n::text::bytea), 1000, 10, 'segments/old/' || n / 10, 0, 100, 'done', at, at, at,
        'run-' || n / 5, 'run-' || n / 5
    FROM generate_series(1, {DONE}) n,
        LATERAL (SELECT clock_timestamp() - make_interval(secs => 200000 - n) AS at, '2026-01-' || lpad((n * 28 / {DONE + 1} + 1)::text, 2, '0') AS day)
    """,
    f"""
    INSERT INTO ingestion.drops (id, flow, partition, lane, principal, body_sha256, size_bytes, records, segment, "offset",
        length, state, received_at)
    SELECT uuidv7(), 'notes', '2026-02-01', '2026-02-01', 'test', sha256(n::text::bytea), 1000, 10, 'segments/new', 0, 100,
        'landed', clock_timestamp()
    FROM generate_series(1, {LANDED}) n
    """,
    "INSERT INTO ingestion.receipt_records (drop_id, outcomes) SELECT id, 'x' FROM ingestion.drops WHERE state = 'done'",
    f"""
    INSERT INTO ingestion.dispatches (id, run_id, flow, lane, partition, state, ended_at)
    SELECT uuidv7(), 'run-' || n, 'notes', '2026-01-01', '2026-01-01', 'finished', now()
    FROM generate_series(1, {DONE}) n
    """,
    f"""
    INSERT INTO ingestion.conversation_facts (session_id, uuid, drop_id, position, content_hash, type, ts, usage_key, model)
    SELECT 'session-' || n / 100, 'uuid-' || n, uuidv7(), n, sha256(n::text::bytea), 'user', now(), 'm:' || n, 'model'
    FROM generate_series(1, {DONE}) n
    """,
    f"""
    INSERT INTO ingestion.conversation_sessions (session_id, project_id, created_by, created_at, touched_by, stale)
    SELECT 'session-' || n, md5((n % 500)::text)::uuid, uuidv7(), now(), uuidv7(), false
    FROM generate_series(1, {DONE}) n
    """,
    """
    INSERT INTO ingestion.conversation_projects (project_id, path, created_by, created_at, stale)
    SELECT md5(n::text)::uuid, '/p' || n, uuidv7(), now(), false FROM generate_series(0, 499) n
    """,
)


@dataclass(slots=True)
class Explained:
    """The statements that were executed, each with the rows its plan read, by table, and its whole-table scans."""

    statements: list[str] = field(default_factory=list)
    rows_read: list[tuple[str, str, int, str]] = field(default_factory=list)

    def read(self, statement: str, plan: dict[str, Any]) -> None:
        if "Relation Name" in plan:
            removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
            rows = int((plan["Actual Rows"] + removed) * plan["Actual Loops"])
            self.rows_read.append((plan["Relation Name"], plan["Node Type"], rows, statement))
        for inner in plan.get("Plans", ()):
            self.read(statement, inner)

    def check(self) -> None:
        assert self.statements
        for table, how, rows, statement in self.rows_read:
            assert rows <= MOST_ROWS, f"{how} reads {rows} rows of {table}:\n{statement}"


@contextmanager
def explaining(engine: sa.Engine) -> Iterator[Explained]:
    """Explain and analyze, undo, and only then execute every statement of the block."""
    explained = Explained()

    def explain(
        connection: sa.Connection, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if not statement.lstrip().upper().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH")):
            return
        cursor = connection.connection.cursor()
        cursor.execute("SAVEPOINT explaining")
        cursor.execute(
            f"EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF) {statement}", parameters[0] if many else parameters
        )
        found = cursor.fetchall()[0][0]
        cursor.execute("ROLLBACK TO SAVEPOINT explaining")
        cursor.close()
        explained.statements.append(statement)
        explained.read(statement, found[0]["Plan"])

    sa.event.listen(engine, "before_cursor_execute", explain)
    try:
        yield explained
    finally:
        sa.event.remove(engine, "before_cursor_execute", explain)
    explained.check()


@pytest.fixture(scope="module")
def filled(postgres_url: str) -> Iterator[sa.Engine]:
    """A ledger with 20,000 done drops and five that have landed, and as many facts."""
    engine = sa.create_engine(driver_url(postgres_url, "psycopg"))
    with engine.begin() as connection:
        for statement in _FILL:
            connection.execute(sa.text(statement))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
    yield engine
    engine.dispose()


@contextmanager
def undone(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that leaves the ledger to the next test as it was."""
    with engine.connect() as connection:
        yield connection
        connection.rollback()


def landed(number: int, *, key: str | None = None) -> list[registration.Landed]:
    at = datetime.now(UTC)
    packed = [
        pack(
            NewDrop(
                flow="notes", partition=LANE.partition, lane=LANE.name, principal="test", body=b"[1]", records=1,
                idempotency_key=key and f"{key}-{index}",
            ),
            drop_id=uuid_utils.compat.uuid7(), received_at=at,
        )
        for index in range(number)
    ]  # fmt: skip
    return [registration.Landed("segments/x", entry) for entry in encode(packed, "segments/x")[1]]


def done_ids(engine: sa.Engine, number: int) -> list[UUID]:
    with engine.connect() as connection:
        query = sa.text(
            "SELECT id FROM ingestion.drops WHERE state = 'done' ORDER BY id OFFSET 9000 LIMIT :n"
        )
        return list(connection.scalars(query, {"n": number}))


def test_the_test_sees_a_scan(filled: sa.Engine) -> None:
    with pytest.raises(AssertionError, match="of drops"), explaining(filled), filled.connect() as connection:
        connection.execute(sa.text("SELECT count(*) FROM ingestion.drops WHERE records = 7"))


def test_deciding_on_runs(filled: sa.Engine) -> None:
    with explaining(filled), undone(filled) as connection:
        assert [state.lane for state in dispatch.lane_states(connection, flows=["notes", "other"])] == [LANE]
        (state,) = dispatch.lane_states(connection, flows=["notes"], lanes=[LANE.name])
        assert len(dispatch.request(connection, dispatch.lanes_to_dispatch([state], at_most=9))) == 1
        assert len(open_dispatches(connection)) == 1


def test_deciding_on_lanes_that_rest(filled: sa.Engine) -> None:
    with undone(filled) as connection:
        connection.execute(
            sa.text("""
                INSERT INTO ingestion.dispatches (id, flow, lane, partition, state, requested_at, ended_at)
                VALUES (gen_random_uuid(), :flow, :lane, :partition, 'finished', clock_timestamp(), clock_timestamp())
            """),
            {"flow": LANE.flow, "lane": LANE.name, "partition": LANE.partition},
        )
        connection.execute(sa.text("UPDATE ingestion.drops SET size_bytes = 1 WHERE state = 'landed'"))
        with explaining(filled):
            (state,) = dispatch.lane_states(connection, flows=["notes"], rest_s=60)
        assert (state.rest_s > 0) is (dispatch.GATHERED_DROPS > LANDED)


def test_a_long_backlog_is_not_read_to_decide(filled: sa.Engine) -> None:
    with undone(filled) as connection:
        connection.execute(
            sa.text("UPDATE ingestion.drops SET state = 'landed', finished_at = NULL WHERE flow = 'other'")
        )
        with explaining(filled):
            assert len(dispatch.lane_states(connection, flows=["notes", "other"])) == 29
            assert len(dispatch.lane_states(connection, flows=["other"], lanes=["2026-01-05"])) == 1
            assert pauses.why_waiting(connection, "other") is None


def test_pausing_and_resuming(filled: sa.Engine) -> None:
    with explaining(filled), undone(filled) as connection:
        assert (
            pauses.pause_lane(connection, LANE.flow, LANE.name, error={"reason": "x"}, seconds=60) == LANDED
        )
        assert pauses.waiting(connection)[0].payloads == LANDED
        assert pauses.resume(connection) == LANDED


def test_registering_and_idempotency_keys(filled: sa.Engine) -> None:
    with explaining(filled), undone(filled) as connection:
        assert registration.register(connection, landed(20)) == {}
        assert (
            len(registration.register(connection, landed(20, key="key"))) == 15
        )  # 0, and every fourth is another flow's
        asked = next(one.header for one in landed(20, key="key") if one.header.idempotency_key == "key-7")
        assert registration.known_key(connection, asked)


def test_claiming_finishing_and_giving_back(filled: sa.Engine) -> None:
    def claim(connection: sa.Connection, run_id: str) -> claims.Claim:
        return claims.claim_landed(
            connection, LANE, claim_id=run_id, run_id=run_id, dispatch_id=uuid_utils.compat.uuid7(), max_bytes=2500,
            lease_s=20,
        )  # fmt: skip

    with explaining(filled), undone(filled) as connection:
        first = claim(connection, "first")
        assert len(first.drops) == 2
        leases.renew(connection, run_ids=["first"], lease_s=20)
        outcome = [RecordOutcome("stored", "a")]
        finishing.finish(connection, first, [DropOutcome(drop.id, {}, outcome) for drop in first.drops])
        assert len(claim(connection, "second").drops) == 2
        error = {"code": "lost", "reason": "lost"}
        assert finishing.give_back(
            connection, "second", error=error, transient=False, delay_s=1, max_attempts=4
        )
        leases.release(connection, "second")


def test_dead_claims_and_dispatches(filled: sa.Engine) -> None:
    with dg.instance_for_test() as instance, explaining(filled):
        assert give_back_dead_claims(instance, filled) == 0
        assert lose_dead_dispatches(instance, filled) == 0


def test_reconciliation(filled: sa.Engine, tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    now = datetime.now(UTC)
    path = segment_path(uuid_utils.compat.uuid7(), now)
    data, _ = encode([pack(NewDrop(**_NOTE), drop_id=uuid_utils.compat.uuid7(), received_at=now)], path)
    storage.write(path, data)
    with explaining(filled):
        assert late_segments.register_late(filled, storage).registered == 1
        assert late_segments.register_late(filled, storage).registered == 0


_NOTE: dict[str, Any] = {
    "flow": "notes", "partition": LANE.partition, "lane": LANE.name, "principal": "test", "body": b"[1]", "records": 1,
}  # fmt: skip


def test_receipts_and_figures(filled: sa.Engine) -> None:
    ids = done_ids(filled, 50)

    async def read(engine: AsyncEngine) -> None:
        with explaining(engine.sync_engine):
            assert len(await ledger.receipts(engine, ids)) == 50
            assert len((await ledger.list_receipts(engine, limit=50)).items) == 50
            assert len((await ledger.list_receipts(engine, flow="notes", cursor=str(ids[0]))).items) == 50
            for state in ("failed", "held", "landed"):
                await ledger.list_receipts(engine, state=state)
            await ledger.statistics(engine, behind_s=-1)

    _with_async_engine(filled, read)


def _with_async_engine(engine: sa.Engine, work: Callable[[AsyncEngine], Any]) -> None:
    async def run() -> None:
        own = async_engine(engine.url.render_as_string(hide_password=False))
        try:
            await work(own)
        finally:
            await own.dispose()

    asyncio.run(run())


def test_messages_and_their_statistics(filled: sa.Engine, mongodb_url: str, mongodb_database: str) -> None:
    database = mongo.database(mongodb_url, name=mongodb_database)
    collections.ensure_indexes(database)
    body = msgspec.json.encode({"messages": list(synthetic.messages(lines=100, seed=5))})
    drop = LandedDrop(
        id=uuid_utils.compat.uuid7(), flow="conversations", partition=LANE.partition, lane=LANE.name, principal="test",
        subject=None, received_at=datetime.now(UTC), attributes={}, records=100, body=body,
    )  # fmt: skip
    with explaining(filled):
        for _ in range(2):
            (batch,) = messages.store_messages(database=database, engine=filled, drops=[drop])
            assert batch.count("stored") + batch.count("duplicate") == 100
        refreshed = statistics.refresh_sessions(database=database, engine=filled)
        assert refreshed.ids
        assert statistics.refresh_projects(database=database, engine=filled).ids
        assert statistics.created_by(filled, {drop.id: refreshed.ids})[drop.id].sessions_created
