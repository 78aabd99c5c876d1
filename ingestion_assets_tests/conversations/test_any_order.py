"""However lines are cut, ordered, repeated and sent at once: the same tables as one clean pass."""

import os
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.database import Database

from ingestion_assets.stores import mongo, postgres
from ingestion_assets_tests.conversations.oracle import expected
from ingestion_assets_tests.conversations.stored import Line, differences, drops_of, ingest, landed, tables

LONG = os.environ.get("INGESTION_LONG_TESTS") == "1"
EXAMPLES = 300 if LONG else 12
REAL_STORES = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=not LONG,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip

SESSIONS = ["s1", "s2", "fork/of%s1", "s4"]
PLACES = [
    None,
    "/home/u/projects/shop/src",
    "/home/u/projects/shop",
    "C:\\Users\\u\\projects\\shop\\x",
    "c:/users/u/Projects/shop",
    "/srv/tool",
    "/srv//tool/./.claude/worktrees/a/src",
    "/srv/tool.worktrees/b",
]


@st.composite
def usages(draw: st.DrawFn) -> dict[str, Any]:
    used: dict[str, Any] = {
        "input_tokens": draw(st.integers(0, 9)),
        "output_tokens": draw(st.sampled_from([0, 7, 900])),
    }
    if draw(st.booleans()):
        used["cache_creation_input_tokens"] = 30
        used["cache_creation"] = {"ephemeral_5m_input_tokens": 10, "ephemeral_1h_input_tokens": 20}
        used["server_tool_use"] = {"web_search_requests": draw(st.integers(0, 2)), "web_fetch_requests": 0}
    if draw(st.booleans()):
        advice = {"type": "advisor_message", "input_tokens": draw(st.integers(1, 9)), "output_tokens": 5}
        used["iterations"] = [
            {"type": "message", "input_tokens": 1, "output_tokens": 1},
            {**advice, "model": draw(st.sampled_from(["claude-y", "claude-x"]))},
            {**advice, "model": "claude-y"},
        ]
    return used


@st.composite
def histories(draw: st.DrawFn) -> list[Line]:
    """Lines of a few sessions. The same identity always has the same content (a conflict is decided by order)."""
    lines: list[Line] = []
    for number in range(draw(st.integers(1, 14))):
        session = draw(st.sampled_from(SESSIONS))
        kind = draw(
            st.sampled_from(["user", "assistant", "assistant", "mode", "cost-state", "summary", "future"])
        )
        if kind == "summary":
            leaf = f"u{draw(st.integers(0, 15))}"
            lines.append(({"type": kind, "summary": f"about {leaf}", "leafUuid": leaf}, session))
            continue
        record: dict[str, Any] = {"type": kind, "sessionId": session}
        if kind == "mode":
            record["mode"] = draw(st.sampled_from(["plan", "normal"]))
        elif kind == "cost-state":
            record["totalCostUSD"] = draw(st.sampled_from([0.5, 1.25, 3]))
            record["startTime"] = draw(st.sampled_from([1767322800000, 1767326400000]))
        else:
            record["uuid"] = f"u{number}"
            record["timestamp"] = (
                f"{draw(st.sampled_from([2026, 2026, 2026, 2026, 1, 9999])):04d}-01-02T"
                f"03:0{draw(st.integers(3, 6))}:{draw(st.sampled_from([0, 15, 30, 59])):02d}.{number:03d}Z"
            )
            record["version"] = draw(st.sampled_from(["1.0", "2.1"]))
            record["cwd"] = draw(st.sampled_from(PLACES))
            record["message"] = {"role": kind, "content": f"text {number}"}
        if kind == "assistant":
            record["message"] |= {
                "id": draw(st.sampled_from([None, "msg_0", "msg_1", "msg_2"])),
                "model": draw(st.sampled_from(["claude-x", "claude-x", "<synthetic>", "claude-z"])),
                "usage": draw(usages()),
            }
            record["requestId"] = draw(st.sampled_from([None, None, "req_1", "req_2"]))
            record["costUSD"] = draw(st.sampled_from([None, None, 0.25, 0.1]))
        lines.append((record, session))
        if kind != "mode" and draw(st.booleans()):
            lines.append(({**record, "sessionId": "fork/of%s1"}, session))
    return lines


@pytest.fixture(scope="module")
def module_engine(postgres_url: str) -> Iterator[sa.Engine]:
    made = postgres.engine(postgres_url)
    yield made
    made.dispose()


@pytest.fixture
def emptied(mongodb_url: str, module_engine: sa.Engine) -> Any:
    """A function that gives both stores empty."""

    def give() -> tuple[Database[Any], sa.Engine]:
        with module_engine.begin() as connection:
            connection.execute(
                sa.text(
                    "TRUNCATE ingestion.conversation_facts, ingestion.conversation_sessions,"
                    " ingestion.conversation_projects, ingestion.conversation_forks"
                )
            )
        return mongo.database(mongodb_url, name=f"any_order_{uuid.uuid4().hex[:12]}"), module_engine

    return give


@REAL_STORES
@given(data=st.data(), lines=histories())
def test_any_split_order_and_repetition(emptied: Any, data: st.DataObject, lines: list[Line]) -> None:
    database, engine = emptied()
    wanted = expected(lines)
    sent = data.draw(st.permutations(lines + data.draw(st.lists(st.sampled_from(lines), max_size=5))))
    claims = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))

    drops = drops_of(sent, size=data.draw(st.integers(1, 7)))
    stored = 0
    while drops:
        claim, drops = drops[: claims[0]], drops[claims[0] :]
        claims = claims[1:] or [1]
        outcomes = ingest(database, engine, claim, chunk_records=data.draw(st.sampled_from([1, 3, 1000])))
        stored += sum(outcome.count("stored") for outcome in outcomes)
        if data.draw(st.booleans()):
            repeated = ingest(database, engine, claim)
            assert [one.records for one in repeated] == [one.records for one in outcomes]

    assert stored == wanted.stored
    assert differences(tables(database), wanted) == []
    database.client.drop_database(database.name)


@REAL_STORES
@given(data=st.data(), lines=histories())
def test_four_senders_at_once(emptied: Any, data: st.DataObject, lines: list[Line]) -> None:
    database, engine = emptied()
    wanted = expected(lines)
    senders = [
        drops_of(data.draw(st.permutations(lines)), size=data.draw(st.integers(1, 9))) for _ in range(4)
    ]

    def send(drops: list[Any]) -> int:
        return sum(one.count("stored") for drop in drops for one in ingest(database, engine, [drop]))

    with ThreadPoolExecutor(4) as pool:
        stored = sum(pool.map(send, senders))

    assert stored == wanted.stored
    assert differences(tables(database), wanted) == []
    database.client.drop_database(database.name)


def test_conflicts_do_not_depend_on_how_lines_were_cut(emptied: Any) -> None:
    first = {"type": "user", "uuid": "u", "sessionId": "s", "message": {"content": "first"}}
    other = {**first, "message": {"content": "other"}}
    lines = [first, other, first, other]
    for cut in ([4], [1, 3], [2, 2], [1, 1, 1, 1]):
        database, engine = emptied()
        rest, outcomes = list(lines), []
        for size in cut:
            outcomes += ingest(database, engine, [landed(rest[:size])])
            rest = rest[size:]
        records = [record for outcome in outcomes for record in outcome.records]
        assert [(record.status, record.code) for record in records] == [
            ("stored", None),
            ("duplicate", "conflict"),
            ("duplicate", None),
            ("duplicate", "conflict"),
        ]
        assert [reject.kind for outcome in outcomes for reject in outcome.rejects] == ["conflict", "conflict"]
        assert database.messages.find_one({"_id": "s/u"})["record"]["message"]["content"] == "first"
        database.client.drop_database(database.name)
