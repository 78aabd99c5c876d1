"""What is the same message, the same answer, the same counter, the same directory: single cases, on the real stores."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from pymongo.database import Database

from ingestion_assets.conversations.collections import NOT_REMOVED
from ingestion_assets.conversations.messages import store_messages
from ingestion_assets.conversations.statistics import refresh_projects, refresh_sessions
from ingestion_assets_tests.conversations.stored import ingest, landed

Stores = tuple[Database[Any], sa.Engine]


@pytest.fixture
def stores(database: Database[Any], engine: sa.Engine) -> Stores:
    return database, engine


def answer(uuid: str, session: str = "s", *, at: str = "12:00:00", **fields: Any) -> dict[str, Any]:
    """An assistant line that took 100 and 10 tokens; fields of the message begin with `m_`, those of its usage with `u_`."""
    usage = {"input_tokens": 100, "output_tokens": 10}
    message: dict[str, Any] = {"id": "msg", "model": "claude-x", "usage": usage}
    line: dict[str, Any] = {"type": "assistant", "uuid": uuid, "sessionId": session, "cwd": "/srv/shop"}
    for name, value in fields.items():
        place = {"m_": message, "u_": usage}.get(name[:2])
        (line if place is None else place)[name if place is None else name[2:]] = value
    return {**line, "timestamp": f"2026-03-01T{at}Z", "message": message}


def cost_state(total: float, session: str = "s", **fields: Any) -> dict[str, Any]:
    return {"type": "cost-state", "sessionId": session, "totalCostUSD": total, **fields}


def session_of(stores: Stores, session: str = "s") -> dict[str, Any]:
    found = stores[0].sessions.find_one({"_id": session})
    assert found is not None
    return found


def project_stats(stores: Stores) -> dict[str, Any]:
    (project,) = stores[0].projects.find(NOT_REMOVED)
    return project["stats"]


def send(stores: Stores, lines: Sequence[dict[str, Any]], *, apart: bool = False) -> None:
    batches = [[line] for line in lines] if apart else [list(lines)]
    for batch in batches:
        ingest(*stores, [landed(batch)])


def test_lines_with_one_uuid_and_other_content_are_conflicts(stores: Stores) -> None:
    kinds = [
        ("attachment", "attachment"), ("progress", "data"), ("system", "content"), ("saved_hook_context", "content"),
    ]  # fmt: skip
    lines = [
        {"type": kind, "uuid": kind, "sessionId": "s", "timestamp": "2026-03-01T12:00:00Z", field: [n]}
        for kind, field in kinds
        for n in (0, 1, 0)
    ]
    (outcome,) = ingest(*stores, [landed(lines)])
    assert [(one.status, one.code) for one in outcome.records] == [
        ("stored", None), ("duplicate", "conflict"), ("duplicate", None),
    ] * len(kinds)  # fmt: skip
    assert [reject.position for reject in outcome.rejects] == [1, 4, 7, 10]
    assert [one["code"] for one in outcome.warnings if one["code"] == "conflict"] == ["conflict"] * 4


def test_a_line_that_an_earlier_version_hashed_is_known_again(stores: Stores) -> None:
    """Its hash left out what a line without `message` says; what was stored can still be asked."""
    database, engine = stores
    line = {
        "type": "progress",
        "uuid": "u",
        "sessionId": "s",
        "timestamp": "2026-03-01T12:00:00Z",
        "data": {"n": 2**70},
    }
    first = landed([line])
    store_messages(database=database, engine=engine, drops=[first])
    former = {"uuid": "u", "type": "progress", "timestamp": "2026-03-01T12:00:00+00:00", "message": None}
    digest = sha256(msgspec.json.encode(former, order="sorted")).digest()
    database.messages.update_one({"_id": "s/u"}, {"$set": {"contentHash": digest}})
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE ingestion.conversation_facts SET content_hash = :hash"), {"hash": digest}
        )

    lines = [line, {**line, "data": {"n": 2}}, line]
    (again,) = store_messages(database=database, engine=engine, drops=[landed(lines)])
    assert [one.code for one in again.records] == [None, "conflict", None]
    assert {one.duplicate_of for one in again.records} == {str(first.id)}
    store_messages(database=database, engine=engine, drops=[first], rebuild=True)
    document = database.messages.find_one()
    assert document is not None
    assert document["contentHash"] != digest


def test_lines_that_are_only_numbered_count_in_each_session(stores: Stores) -> None:
    send(stores, [answer("1", m_id=None), answer("1", "t", m_id=None), answer("2", "t", m_id=None)])
    assert session_of(stores, "t")["tokens"]["input_tokens"] == 200
    assert project_stats(stores)["tokens"]["input_tokens"] == 300


def test_one_message_id_of_several_requests_or_times_is_several_answers(stores: Stores) -> None:
    """Some gateways give every answer the same id."""
    lines = [
        *(answer(f"r{n}", at=f"12:00:0{n}", requestId=f"req_{n}") for n in range(3)),
        answer("r2b", at="12:05:00", requestId="req_2", u_output_tokens=40),  # the same answer, grown
        answer("r2c", at="12:00:05"),  # names none, amid those of req_0, 1 and 2
        *(answer(f"t{n}", "t", at=f"13:0{n}:00") for n in range(2)),  # name none, a minute apart
        answer("t1b", "t", at="13:01:59", u_output_tokens=30),
    ]
    random.Random(3).shuffle(lines)
    send(stores, lines, apart=True)
    assert session_of(stores)["tokens"]["input_tokens"] == 300
    assert session_of(stores)["tokens"]["output_tokens"] == 60
    assert session_of(stores, "t")["tokens"]["output_tokens"] == 40
    assert project_stats(stores)["tokens"]["input_tokens"] == 500


def test_a_fork_repeats_answers_and_goes_on_with_its_own(stores: Stores) -> None:
    common = [answer("a", requestId="req_0"), answer("b", at="12:00:01", m_id="gateway")]
    fork = [{**line, "sessionId": "fork"} for line in common]
    own = [answer("c", "fork", at="12:09:00", m_id="gateway"), answer("d", "fork", requestId="req_1")]
    send(stores, [*fork, *own, *common], apart=True)
    assert session_of(stores, "fork")["tokens"]["input_tokens"] == 400
    assert project_stats(stores)["tokens"]["input_tokens"] == 400


@pytest.mark.parametrize("apart", [True, False])
def test_synthetic_takes_no_tokens(stores: Stores, *, apart: bool) -> None:
    none = {"u_input_tokens": 0, "u_output_tokens": 0, "m_model": "<synthetic>"}
    lines = [
        answer("a", **none), answer("b", at="12:00:01"), answer("alone", m_id="other", **none),
        answer("odd", m_id="odd", m_model="<synthetic>"),
    ]  # fmt: skip
    send(stores, lines, apart=apart)
    models = {row["model"]: row["input_tokens"] for row in session_of(stores)["tokensByModel"]}
    assert models == {"claude-x": 100, "unknown": 100}
    assert {row["model"] for row in project_stats(stores)["tokens_by_model"]} == set(models)


def test_advisors_tiers_and_tools_are_found_in_session_and_project(stores: Stores) -> None:
    iterations = [
        {"type": "message", "input_tokens": 60, "output_tokens": 4},
        {"type": "advisor_message", "model": "claude-y", "input_tokens": 700, "output_tokens": 9},
        {"type": "advisor_message", "model": "claude-y", "input_tokens": 50, "output_tokens": 1},
        {"type": "compaction", "input_tokens": 5, "output_tokens": 2},
        {"type": "message", "input_tokens": 40, "output_tokens": 6},
    ]
    fields = {
        "u_cache_creation_input_tokens": 8, "u_iterations": iterations,
        "u_cache_creation": {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 5},
        "u_server_tool_use": {"web_search_requests": 3, "web_fetch_requests": 0},
    }  # fmt: skip
    lines = [answer("a", requestId="r", **fields), answer("b", requestId="r", **fields)]
    send(stores, [*lines, *({**line, "sessionId": "fork"} for line in lines)], apart=True)
    empty = dict.fromkeys(
        ("cache_creation_tokens", "cache_creation_5m_tokens", "cache_creation_1h_tokens"), 0
    )
    cached = {"cache_creation_tokens": 8, "cache_creation_5m_tokens": 3, "cache_creation_1h_tokens": 5}
    wanted = [
        {"model": "claude-x", "input_tokens": 105, "output_tokens": 12, "cache_read_tokens": 0, **cached},
        {"model": "claude-y", "input_tokens": 750, "output_tokens": 10, "cache_read_tokens": 0, **empty},
    ]
    assert session_of(stores)["tokensByModel"] == wanted
    assert session_of(stores)["serverToolUse"] == {"web_search_requests": 3}
    assert project_stats(stores)["tokens_by_model"] == wanted
    assert project_stats(stores)["server_tool_use"] == {"web_search_requests": 3}


SINCE = 1772366400000


@pytest.mark.parametrize(
    ("lines", "cost"),
    [
        ([cost_state(0.25), cost_state(0.28), cost_state(0.03)], "0.31"),  # began anew
        ([cost_state(0.25), cost_state(0.28), cost_state(0.31)], "0.31"),  # went on
        ([cost_state(0.25, startTime=SINCE), cost_state(0.1, startTime=SINCE + 9), cost_state(0.3, startTime=SINCE + 9)], "0.55"),
        ([cost_state(0.25, startTime=SINCE), cost_state(0.3, startTime=SINCE + 9)], "0.3"),
        ([cost_state(0), cost_state(0, startTime=SINCE)], "0"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("apart", [True, False])
def test_cost_counters_go_on_or_begin_anew(stores: Stores, lines: Any, cost: str, *, apart: bool) -> None:
    send(stores, lines, apart=apart)
    assert session_of(stores)["totalCost"].to_decimal() == Decimal(cost)
    assert session_of(stores)["costSource"] == "cost-state"


def test_cost_counters_do_not_depend_on_the_order_of_processing(stores: Stores) -> None:
    """Accepted in the file's order, or saying when they began: whichever batch is worked on first."""
    plain = [landed([cost_state(total)]) for total in (0.25, 0.28, 0.03)]
    dated = [
        landed([cost_state(total, "t", startTime=SINCE + began)])
        for total, began in ((0.28, 0), (0.25, 0), (0.03, 7))
    ]
    for drop in [plain[2], plain[0], plain[1], *reversed(dated)]:
        ingest(*stores, [drop])
    assert session_of(stores)["totalCost"].to_decimal() == Decimal("0.31")
    assert session_of(stores, "t")["totalCost"].to_decimal() == Decimal("0.31")


@pytest.mark.parametrize("apart", [True, False])
def test_copied_cost_states_count_once_in_the_project(stores: Stores, *, apart: bool) -> None:
    common = [answer("a"), cost_state(3), cost_state(3.5)]
    fork = [{**line, "sessionId": "fork"} for line in common]
    stranger = [{**answer("x", "other", m_id="else")}, cost_state(3, "other")]  # by chance as much
    send(stores, [*common, cost_state(4), *fork, cost_state(0.25, "fork"), *stranger], apart=apart)
    costs = {one["_id"]: one["totalCost"].to_decimal() for one in stores[0].sessions.find()}
    assert costs == {"s": 4, "fork": Decimal("3.75"), "other": 3}
    assert project_stats(stores)["cost"].to_decimal() == Decimal("7.25")


def test_a_process_counts_once_for_all_its_sessions(stores: Stores) -> None:
    lines = [{**answer(one, one, m_id=one)} for one in ("s", "t")]
    send(stores, [*lines, cost_state(2, "s", startTime=SINCE), cost_state(2, "t", startTime=SINCE)])
    assert project_stats(stores)["cost"].to_decimal() == 2


def test_a_stray_year_is_stored_with_a_warning_and_stretches_nothing(stores: Stores) -> None:
    lines = [
        answer("first", cwd="/srv/other") | {"timestamp": "0001-01-01T00:00:00Z"},
        answer("epoch") | {"timestamp": 0},
        answer("a"), answer("b", at="12:30:00"),
        answer("last") | {"timestamp": "9999-12-31T23:59:59Z"},
    ]  # fmt: skip
    (outcome,) = ingest(*stores, [landed(lines)])
    assert outcome.count("stored") == 5
    assert [(one["code"], one["count"]) for one in outcome.warnings] == [("implausible_timestamp", 3)]
    session = session_of(stores)
    assert (session["startedAt"], session["endedAt"]) == (
        datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
    )  # fmt: skip
    assert [one["path"] for one in stores[0].projects.find(NOT_REMOVED)] == ["/srv/shop"]
    first = stores[0].messages.find_one({"_id": "s/first"})
    assert first is not None
    assert first["timestamp"] == datetime(1, 1, 1, tzinfo=UTC)


def test_one_directory_however_it_is_spelled_is_one_project(stores: Stores) -> None:
    spelled = [
        "c:\\Users\\dev\\site",
        "C:/Users/dev/site/",
        "C:\\Users\\Dev\\Site",
        "C:\\Users\\dev\\site.worktrees\\x",
    ]
    lines = [answer(f"w{n}", f"s{n}", cwd=cwd) for n, cwd in enumerate(spelled)]
    lines += [
        answer(f"p{n}", f"t{n}", cwd=cwd) for n, cwd in enumerate(["/w/shop", "/w/shop/.claude/worktrees/x"])
    ]
    random.Random(5).shuffle(lines)
    send(stores, lines, apart=True)
    projects = {one["path"]: one["stats"]["session_count"] for one in stores[0].projects.find(NOT_REMOVED)}
    assert projects == {"C:\\Users\\Dev\\Site": 4, "/w/shop": 2}


def test_worktrees_are_projects_of_their_own_where_the_setting_says_so(
    database: Database[Any], engine: sa.Engine
) -> None:
    lines = [answer("a", cwd="/w/shop"), answer("b", "t", cwd="/w/shop/.worktrees/x")]
    store_messages(database=database, engine=engine, drops=[landed(lines)])
    refresh_sessions(database=database, engine=engine, worktrees=False)
    refresh_projects(database=database, engine=engine)
    assert {one["path"] for one in database.projects.find(NOT_REMOVED)} == {"/w/shop", "/w/shop/.worktrees/x"}


def test_a_rebuild_gives_what_new_processing_gives(stores: Stores) -> None:
    """From facts as an earlier version left them: without what tells answers apart."""
    database, engine = stores
    fields = {
        "u_cache_creation": {"ephemeral_1h_input_tokens": 5},
        "u_server_tool_use": {"web_search_requests": 1},
    }
    lines = [answer(f"r{n}", requestId=f"req_{n}", **fields) for n in range(3)]
    lines += [cost_state(1, startTime=SINCE), cost_state(0.5, startTime=SINCE + 1)]
    drop = landed(lines)
    ingest(database, engine, [drop])
    varying = {"updatedAt": 0, "createdAt": 0, "fence": 0}
    before = [list(database[name].find({}, varying)) for name in ("sessions", "projects")]
    with engine.begin() as connection:
        connection.execute(
            sa.text("""
                UPDATE ingestion.conversation_facts SET request_id = NULL, cache_creation_5m_tokens = NULL,
                    cache_creation_1h_tokens = NULL, server_tools = NULL, counting_since = NULL;
                UPDATE ingestion.conversation_sessions SET stale = true, path = NULL, tools = NULL, cost_steps = NULL,
                    tokens = '{"claude-x": {"input_tokens": 1, "output_tokens": 2, "cache_creation_tokens": 3,
                        "cache_read_tokens": 4}}';
                UPDATE ingestion.conversation_projects SET stale = true;
            """)
        )
    refresh_projects(database=database, engine=engine)  # from a session that an earlier version computed
    assert project_stats(stores)["tokens"]["cache_read_tokens"] == 4
    refresh_sessions(database=database, engine=engine)
    assert session_of(stores)["tokens"]["input_tokens"] == 100
    ingest(database, engine, [drop], rebuild=True)
    assert [list(database[name].find({}, varying)) for name in ("sessions", "projects")] == before


def test_many_models_only_count_in_the_sums(stores: Stores) -> None:
    models = [f"model {n:05d}".ljust(250, "…") for n in range(1100)]
    lines = [answer(f"u{n}", m_id=f"m{n}", m_model=model) for n, model in enumerate(models)]
    send(stores, lines)
    assert len(session_of(stores)["tokensByModel"]) == 1000
    assert session_of(stores)["tokens"]["input_tokens"] == 110_000
    assert len(project_stats(stores)["tokens_by_model"]) == 1000
    assert project_stats(stores)["tokens"]["input_tokens"] == 110_000
