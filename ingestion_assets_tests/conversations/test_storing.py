"""Single matters of storing and adding up, on the real stores."""

import asyncio
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from pymongo.database import Database

from ingestion_assets.conversations import facts_table, project_sql, session_sql, statistics_documents
from ingestion_assets.conversations.collections import NOT_REMOVED
from ingestion_assets.conversations.ingestion_log import outcome_of, write_log
from ingestion_assets.conversations.messages import store_messages
from ingestion_assets.conversations.shapes import paths_of
from ingestion_assets.conversations.statistics import Created, created_by, refresh_projects, refresh_sessions
from ingestion_assets.conversations.todos import NOTHING, store_configs, store_todos
from ingestion_assets.landing import drift
from ingestion_assets.stores import postgres
from ingestion_assets_tests.conversations.oracle import expected
from ingestion_assets_tests.conversations.stored import differences, ingest, landed, landed_body, tables


def line(uuid: str, session: str = "s", **fields: Any) -> dict[str, Any]:
    return {"type": "user", "uuid": uuid, "sessionId": session, "message": {"content": uuid}, **fields}


def test_a_summary_waits_until_its_leaf_arrives(database: Database[Any], engine: sa.Engine) -> None:
    summary = {"type": "summary", "summary": "About it", "leafUuid": "leaf"}
    ingest(database, engine, [landed([summary], session="another")])
    (waiting,) = database.messages.find()
    assert (waiting["sessionId"], waiting["waiting_for"]) == (None, "leaf")
    assert list(database.sessions.find()) == []

    ingest(database, engine, [landed([line("leaf", "z")])])
    settled = database.messages.find_one({"_id": waiting["_id"]})
    assert settled is not None
    assert settled["sessionId"] == "z"
    assert "waiting_for" not in settled
    assert [one["summaries"] for one in database.sessions.find()] == [["About it"]]

    ingest(database, engine, [landed([line("leaf", "fork")])])  # the smaller id owns it from now on
    assert {one["_id"]: one["summaries"] for one in database.sessions.find()} == {
        "fork": ["About it"],
        "z": [],
    }


@pytest.mark.parametrize(
    "field",
    ["uuid", "sessionId", "cwd", "version", "requestId", "leafUuid", "summary", "model", "parentUuid"],
)
def test_a_number_that_is_too_large_for_any_harms_no_other_message(
    database: Database[Any], engine: sa.Engine, field: str
) -> None:
    for number in (b"1e400", b"9" * 5000):
        odd = b'{"type":"summary","costUsd":1,"%b":%b,"message":{"id":%b,"model":%b}}' % (
            field.encode(), number, number, number,
        )  # fmt: skip
        body = b'{"sessionId":"s","messages":[%b,%b]}' % (odd, json.dumps(line("good")).encode())
        (outcome,) = ingest(database, engine, [landed_body(body)])
        too_long = field == "uuid" and len(number) > 128
        assert [one.status for one in outcome.records] == [
            "rejected" if too_long else "stored",
            "stored" if number == b"1e400" else "duplicate",
        ]


def test_a_session_that_turns_out_to_begin_elsewhere_moves(
    database: Database[Any], engine: sa.Engine
) -> None:
    first = ingest(database, engine, [landed([line("a", cwd="/p/late", timestamp="2026-01-01T02:00:00Z")])])
    ingest(database, engine, [landed([line("b", cwd="/p/early", timestamp="2026-01-01T01:00:00Z")])])
    assert [one["path"] for one in database.projects.find(NOT_REMOVED)] == ["/p/early"]
    assert created_by(engine, {first[0].drop.id: first[0].sessions})[first[0].drop.id].sessions_created == 1


def test_what_another_run_stored_but_did_not_finish_is_completed(
    database: Database[Any], engine: sa.Engine
) -> None:
    lost, later = landed([line("a", cwd="/p")]), landed([line("a", cwd="/p")])
    store_messages(database=database, engine=engine, drops=[lost])
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE ingestion.conversation_facts, ingestion.conversation_sessions"))

    (outcome,) = ingest(database, engine, [later])
    assert outcome.records[0].status == "duplicate"
    assert outcome.records[0].duplicate_of == str(lost.id)
    assert differences(tables(database), expected([(line("a", cwd="/p"), None)])) == []
    (resumed,) = ingest(database, engine, [lost])
    assert resumed.records[0].status == "stored"


def test_rebuilt_messages_alone_leave_summaries_with_their_sessions(
    database: Database[Any], engine: sa.Engine
) -> None:
    """A person may materialize `messages` only, or cancel a rebuild half way: nothing waits for a later run."""
    drops = [landed([{"type": "summary", "summary": "S", "leafUuid": "a"}], session="x"), landed([line("a")])]
    ingest(database, engine, drops)
    before = list(database.messages.find({}, {"fence": 0}))
    store_messages(database=database, engine=engine, drops=drops, rebuild=True)
    assert list(database.messages.find({}, {"fence": 0})) == before
    with engine.connect() as connection:
        summaries = sa.text("SELECT owner, unsettled FROM ingestion.conversation_facts WHERE session_id = ''")
        assert connection.execute(summaries).all() == [("s", False)]


def test_a_rebuild_repairs_both_stores(database: Database[Any], engine: sa.Engine) -> None:
    lines = [line("a", cwd="/p"), line("b"), {"type": "summary", "summary": "S", "leafUuid": "a"}]
    drops = [landed(lines), landed([line("a", cwd="/p"), line("c")])]
    first = ingest(database, engine, drops)
    wanted = expected([(one, None) for one in [*lines, line("c")]])
    database.messages.delete_one({"_id": "s/a"})
    database.messages.update_one({"_id": "s/b"}, {"$set": {"record": {"type": "broken"}}})
    database.sessions.delete_many({})
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE ingestion.conversation_facts SET cwd = '/wrong' WHERE uuid = 'a'"))
        connection.execute(sa.text("DELETE FROM ingestion.conversation_facts WHERE uuid = 'c'"))

    rebuilt = ingest(database, engine, drops, rebuild=True)

    assert differences(tables(database), wanted) == []
    assert [one.records for one in rebuilt] == [one.records for one in first]


def test_todos_and_configs_keep_the_last_that_arrived(database: Database[Any], engine: sa.Engine) -> None:
    def todo(text: str) -> dict[str, Any]:
        return {"sessionId": "s", "filename": "s-agent-s.json", "todos": [{"content": text}], "todoCount": 1}

    old = landed([], todos=[todo("one"), todo("two")], config={"settings": {"a.b": 1}, "userId": "u"})
    new = landed([], todos=[todo("three")], config={"config": {"$x": 2**70}})
    same_user = landed([], config={"settings": {"theme": "dark"}, "userId": "u"})
    for claim in ([old, new], [same_user], [old], [new], [old]):
        batches = store_messages(database=database, engine=engine, drops=claim)
        store_todos(database=database, batches=batches)
        store_configs(database=database, batches=batches)
    assert [one["todos"] for one in database.todos.find()] == [[{"content": "three"}]]
    assert {one["_id"]: one["settings"] for one in database.configs.find()} == {
        "u": {"theme": "dark"},
        "tester": None,
    }
    assert database.config_history.count_documents({"userId": "u"}) == 2


def test_the_result_accounts_for_every_message(database: Database[Any], engine: sa.Engine) -> None:
    drop = landed(
        [line("a"), line("a"), {"no": "type"}, line("a", message={"content": "else"}), {"type": "odd"}]
    )
    (batch,) = ingest(database, engine, [drop])
    created = created_by(engine, {drop.id: batch.sessions})[drop.id]
    outcome = outcome_of(batch, created=created, todos=NOTHING, config=NOTHING, finished_at=drop.received_at)
    for fence in range(2):
        write_log(database=database, outcomes=[outcome], received={drop.id: drop.received_at}, fence=fence)
    stats = outcome.result["stats"]
    assert (
        stats["messages_received"],
        stats["messages_processed"],
        stats["messages_skipped"],
        stats["messages_failed"],
    ) == (5, 2, 2, 1)
    assert stats["sessions_created"] == 1
    assert len(stats["projects_created"]) == 1
    assert outcome.result["errors"] == [
        {"index": 2, "uuid": None, "code": "missing_type", "reason": outcome.records[2].reason}
    ]
    assert [warning["code"] for warning in outcome.result["warnings"]] == ["conflict", "unknown_type"]
    assert [(reject.position, reject.kind) for reject in outcome.rejects] == [(2, "invalid"), (3, "conflict")]
    json.dumps(outcome.result)
    (entry,) = database.ingestion_logs.find()
    assert (entry["_id"], entry["messages_processed"]) == (str(drop.id), 2)


def test_no_cost_or_length_keeps_a_session_from_its_document(
    database: Database[Any], engine: sa.Engine
) -> None:
    """Decimal128 has 34 digits, a document 16 MB."""
    vast = "v" * 9_000_000
    lines = [
        line("a", costUSD=1.5),
        line("b", costUSD=1e-40),
        line("c", "long", cwd=f"/{vast}", version="1"),
        line("d", "long", type=vast[:300]),
        line("e", "long", type=vast[:301]),
        *({"type": "ai-title", "aiTitle": f"{n}".ljust(999), "sessionId": "many"} for n in range(1001)),
        *(line(f"f{n}", "many", type=f"t{n}") for n in range(1001)),
    ]
    ingest(database, engine, [landed([one]) for one in lines[:5]] + [landed(lines[5:])])
    sessions = {one["_id"]: one for one in database.sessions.find()}
    assert sessions["s"]["totalCost"].to_decimal() == Decimal("1.5")
    assert [len(sessions["long"][name]) for name in ("cwd", "projectName")] == [4096, 4095]
    assert sessions["long"]["messageCountByType"] == {"user": 1, "v" * 256: 2}
    assert len(sessions["many"]["titles"]) == statistics_documents.MOST_ENTRIES
    by_type = sessions["many"]["messageCountByType"]
    assert (by_type["ai-title"], by_type[statistics_documents.OTHERS], sum(by_type.values())) == (
        1001,
        2,
        2002,
    )


def test_a_session_that_cannot_be_written_stops_no_other(database: Database[Any], engine: sa.Engine) -> None:
    lines = [line(f"m{n}", f"s{n}", cwd="/p") for n in range(9)]
    store_messages(database=database, engine=engine, drops=[landed(lines)])
    database.create_collection("sessions", validator={"_id": {"$ne": "s4"}})
    for _ in range(2):  # it stays stale, and so is tried again
        refreshed = refresh_sessions(database=database, engine=engine)
        assert list(refreshed.failed) == ["s4"]
    refresh_projects(database=database, engine=engine)
    assert {one["_id"] for one in database.sessions.find()} == {f"s{n}" for n in range(9)} - {"s4"}
    assert [one["stats"]["session_count"] for one in database.projects.find(NOT_REMOVED)] == [8]
    database.command("collMod", "sessions", validator={})
    assert refresh_sessions(database=database, engine=engine).ids == ["s4"]


def test_a_batch_may_name_a_session_that_no_store_can_hold(
    database: Database[Any], engine: sa.Engine
) -> None:
    bare = {"type": "user", "uuid": "a", "message": {"content": "a"}}
    nul, half = ingest(database, engine, [landed([bare], session="n\0"), landed([bare], session="h\ud800")])
    assert [one["_id"] for one in database.sessions.find().sort("_id")] == ["h\ufffd", "n\ufffd"]
    assert [one["code"] for one in nul.warnings] == ["nul_replaced"]
    assert [one["code"] for one in half.warnings] == ["lone_surrogate_replaced"]


def test_nothing_to_do_asks_for_nothing(database: Database[Any], engine: sa.Engine) -> None:
    assert store_messages(database=database, engine=engine, drops=[]) == []
    assert refresh_sessions(database=database, engine=engine).ids == []
    assert refresh_projects(database=database, engine=engine).ids == []
    assert created_by(engine, {}) == {}
    (batch,) = store_messages(database=database, engine=engine, drops=[landed([])])
    assert outcome_of(
        batch, created=Created(0, 0, []), todos=NOTHING, config=NOTHING, finished_at=batch.drop.received_at
    ).result["success"]


@pytest.fixture
def crowded(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection to a database with 60,000 facts in 6,000 sessions that are done, and one stale session."""
    with engine.connect() as connection:
        connection.execute(
            sa.text("""
            INSERT INTO ingestion.conversation_facts
                (session_id, uuid, drop_id, position, content_hash, type, usage_key, input_tokens, leaf_uuid)
            SELECT 's' || n % 6000, 'u' || n, gen_random_uuid(), n, '\\x00', 'assistant', 'm:' || n, 1,
                CASE WHEN n % 1000 = 0 THEN 'l' || n END
            FROM generate_series(1, 60000) n;
            INSERT INTO ingestion.conversation_sessions
                (session_id, project_id, created_by, touched_by, created_at, stale)
            SELECT 's' || n, md5((n % 1000)::text)::uuid, gen_random_uuid(), gen_random_uuid(), now(), n = 7
            FROM generate_series(0, 5999) n;
            INSERT INTO ingestion.conversation_projects (project_id, created_by, created_at, stale)
            SELECT md5(n::text)::uuid, gen_random_uuid(), now(), n = 7 FROM generate_series(0, 999) n;
            INSERT INTO ingestion.conversation_forks
            SELECT session_id, usage_key FROM ingestion.conversation_facts WHERE position % 20 = 0;
            """)
        )
        connection.commit()
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(sa.text("VACUUM ANALYZE"))
        yield connection


PROJECT = "8f14e45f-ceea-167a-5a36-dedd4bea2543"  # md5('7')
STATEMENTS = [
    (facts_table.KNOWN, {"sessions": ["s1"] * 1000, "uuids": [f"u{n}" for n in range(1000)]}),
    (session_sql.STALE_SESSIONS, {"limit": 500, "failed": []}),
    (session_sql.SETTLE_SUMMARIES, {"ids": ["s7"]}),
    (session_sql.FIND_FORKS, {"ids": ["s7"]}),
    (session_sql.SESSION_TOTALS, {"ids": ["s7"]}),
    (project_sql.STALE_PROJECTS, {}),
    (project_sql.PROJECT_TOTALS, {"ids": [PROJECT]}),
    (project_sql.FORK_CORRECTIONS, {"ids": [PROJECT]}),
    (project_sql.COUNTER_CORRECTIONS, {"ids": [PROJECT]}),
    (session_sql.CREATORS, {"ids": ["s1", "s2"]}),
]


def test_no_statement_reads_what_is_already_done(crowded: sa.Connection) -> None:
    for statement, parameters in STATEMENTS:
        plan = crowded.execute(sa.text(f"EXPLAIN (FORMAT JSON) {statement.text}"), parameters).scalar_one()
        scans = [node["Relation Name"] for node in _nodes(plan[0]["Plan"]) if node["Node Type"] == "Seq Scan"]
        assert not scans, f"{scans} are read whole by {statement.text}"


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _nodes(child)


def test_drift_is_seen_once_and_listed_newest_first(engine: sa.Engine, fresh_postgres_url: str) -> None:
    first, second = landed([]), landed([])
    old, new = {"2.0": {"user", "user.a"}}, {"2.0": {"user"}, "2.1": {"user", "user.b"}}

    def seen(drop: Any, paths: Any) -> int:
        return drift.observe(engine, flow="f", drop_id=drop.id, paths=paths)

    assert seen(first, old) == 2
    assert seen(second, new) == 2
    assert seen(second, new) == 0

    async def listed() -> list[Any]:
        made = postgres.async_engine(fresh_postgres_url)
        found: list[Any] = []
        while rows := await drift.report(
            made, flow="f", limit=3, after=drift.position_of(found[-1]) if found else None
        ):
            found += rows
        await made.dispose()
        return found

    items = asyncio.run(listed())
    assert [(item.version, item.path) for item in items] == [
        ("2.1", "user.b"), ("2.1", "user"), ("2.0", "user.a"), ("2.0", "user"),
    ]  # fmt: skip
    assert items[0].first_drop == second.id
    assert paths_of([]) == {}
