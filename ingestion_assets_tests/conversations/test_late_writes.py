"""A write that a killed worker left on its way to MongoDB arrives after those of the runs that followed: it changes nothing."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pymongo.database import Database

from ingestion_assets.conversations.collections import NOT_REMOVED
from ingestion_assets.conversations.ingestion_log import outcome_of, write_log
from ingestion_assets.conversations.messages import store_messages
from ingestion_assets.conversations.statistics import Created, refresh_projects, refresh_sessions
from ingestion_assets.conversations.todos import NOTHING, store_configs, store_todos
from ingestion_assets.landing.drops import LandedDrop
from ingestion_assets.stores.fencing import next_fence
from ingestion_assets_tests.conversations.holding_proxy import HoldingProxy, holding_proxy
from ingestion_assets_tests.conversations.stored import ingest, landed

CHILD = """
import pickle, sys
from pathlib import Path
from ingestion_assets.stores import mongo, postgres
from ingestion_assets_tests.conversations.test_late_writes import work
mongodb, name, url, claim, rebuild = sys.argv[1:]
work(mongo.database(mongodb, name=name), postgres.engine(url), pickle.loads(Path(claim).read_bytes()), rebuild=bool(rebuild))
"""


def work(
    database: Database[Any], engine: sa.Engine, drops: Sequence[LandedDrop], *, rebuild: bool = False
) -> None:
    """A run's stages, less what the ledger gets."""
    batches = store_messages(database=database, engine=engine, drops=drops, rebuild=rebuild)
    todos = store_todos(database=database, batches=batches)
    configs = store_configs(database=database, batches=batches)
    refresh_sessions(database=database, engine=engine)
    refresh_projects(database=database, engine=engine)
    with engine.connect() as connection:
        fence = next_fence(connection)
    outcomes = [
        outcome_of(
            batch, created=Created(0, 0, []), todos=todos.get(batch.drop.id, NOTHING),
            config=configs.get(batch.drop.id, NOTHING), finished_at=batch.drop.received_at,
        )
        for batch in batches
    ]  # fmt: skip
    received = {drop.id: drop.received_at for drop in drops}
    write_log(database=database, outcomes=outcomes, received=received, fence=fence)


def lines(*names: str, session: str = "s", **fields: Any) -> list[dict[str, Any]]:
    return [
        {
            "type": "user",
            "uuid": name,
            "sessionId": session,
            "cwd": "/p",
            "message": {"content": name},
            **fields,
        }
        for name in names
    ]


Kill = Callable[..., Any]


@pytest.fixture
def proxy(mongodb_url: str) -> Iterator[HoldingProxy]:
    with holding_proxy(mongodb_url) as made:
        yield made


@pytest.fixture
def killed(proxy: HoldingProxy, database: Database[Any], fresh_postgres_url: str, tmp_path: Path) -> Kill:
    """A function: a worker that is killed while the command it is told is held, and the block that does what follows."""

    @contextmanager
    def during(
        command: str, collection: str, drops: Sequence[LandedDrop], *, rebuild: bool = False
    ) -> Iterator[None]:
        claim = tmp_path / "claim"
        claim.write_bytes(pickle.dumps(drops))
        proxy.hold(command, collection)
        arguments = [proxy.url, database.name, fresh_postgres_url, str(claim), "1" if rebuild else ""]
        with subprocess.Popen([sys.executable, "-c", CHILD, *arguments]) as child:
            try:
                while not proxy.held.wait(0.2):
                    assert child.poll() is None, "the worker never came to its write"
            finally:
                child.kill()
        yield
        proxy.release()

    return during


@pytest.mark.parametrize("collection", ["sessions", "projects"])
def test_totals_are_those_of_all_messages(
    database: Database[Any], engine: sa.Engine, killed: Kill, collection: str
) -> None:
    work(database, engine, [landed(lines("a", "b"))])
    with killed("update", collection, [landed(lines("c"))]):
        work(database, engine, [landed(lines("d", "e"))])
    session, project = database.sessions.find_one(), database.projects.find_one()
    assert session is not None
    assert project is not None
    assert session["messageCount"] == project["stats"]["message_count"] == 5


@pytest.mark.parametrize("collection", ["sessions", "projects"])
def test_what_was_new_then_is_not_put_in_the_place_of_what_is_there(
    database: Database[Any], engine: sa.Engine, killed: Kill, collection: str
) -> None:
    with killed("update", collection, [landed(lines("a"))]):
        work(database, engine, [landed(lines("b", "c"))])
    assert [one["messageCount"] for one in database.sessions.find()] == [3]
    assert [one["stats"]["message_count"] for one in database.projects.find(NOT_REMOVED)] == [3]


@pytest.mark.parametrize("command", ["insert", "update"])
@pytest.mark.parametrize("collection", ["todos", "configs"])
def test_the_newest_todo_list_and_configuration_stay(
    database: Database[Any], engine: sa.Engine, killed: Kill, command: str, collection: str
) -> None:
    def drop(state: str) -> LandedDrop:
        todo = {"sessionId": "s", "filename": "f", "todos": [state]}
        return landed([], todos=[todo], config={"settings": {"state": state}, "userId": "u"})

    if command == "update":
        work(database, engine, [drop("first")])
    older = drop("older")
    with killed(command, collection, [older]):
        work(database, engine, [drop("newest")])
        work(database, engine, [older])  # what the dead worker held is taken again
    (todo,), (config,) = database.todos.find(), database.configs.find()
    assert todo["todos"] == ["newest"]
    assert config["settings"] == {"state": "newest"}
    assert database.config_history.count_documents({}) == (2 if command == "insert" else 3)


def test_the_entry_in_the_log_is_that_of_the_run_that_went_through(
    database: Database[Any], engine: sa.Engine, killed: Kill
) -> None:
    todo = {"sessionId": "s", "filename": "f", "todos": [1]}
    drop = landed(lines("a"), todos=[todo])
    with killed("update", "ingestion_logs", [drop]):
        ingest(database, engine, [landed(lines("b"))])
        store_todos(
            database=database,
            batches=store_messages(database=database, engine=engine, drops=[landed([], todos=[todo])]),
        )
        work(database, engine, [drop])
    (entry,) = database.ingestion_logs.find()
    assert (entry["todos_processed"], entry["todos_superseded"]) == (0, 1)


@pytest.mark.parametrize("known", [False, True])
def test_a_project_that_is_gone_does_not_come_back(
    database: Database[Any], engine: sa.Engine, killed: Kill, known: bool
) -> None:
    late = landed(lines("a", timestamp="2026-03-01T12:00:00Z"))
    if known:
        work(database, engine, [late])
    with killed("update", "projects", [landed(lines("e", timestamp="2026-03-01T12:00:00Z"))]):
        work(database, engine, [landed(lines("b", cwd="/early", timestamp="2026-03-01T11:00:00Z"))])
        assert [one["path"] for one in database.projects.find(NOT_REMOVED)] == ["/early"]
    assert [one["path"] for one in database.projects.find(NOT_REMOVED)] == ["/early"]
    work(database, engine, [landed(lines("d", session="t"))])
    assert sorted(one["path"] for one in database.projects.find(NOT_REMOVED)) == ["/early", "/p"]


def test_a_project_that_is_gone_for_a_day_is_forgotten(database: Database[Any], engine: sa.Engine) -> None:
    work(database, engine, [landed(lines("a", timestamp="2026-03-01T12:00:00Z"))])
    work(database, engine, [landed(lines("b", cwd="/early", timestamp="2026-03-01T11:00:00Z"))])
    assert database.projects.count_documents({}) == 2
    with engine.begin() as connection:
        ago = "UPDATE ingestion.conversation_projects SET removed_at = removed_at - interval '1 day'"
        connection.execute(sa.text(ago))
    work(database, engine, [landed(lines("c", cwd="/early"))])
    assert [one["path"] for one in database.projects.find()] == ["/early"]


def test_a_rebuild_gives_no_summary_back_to_its_former_session(
    database: Database[Any], engine: sa.Engine, killed: Kill
) -> None:
    summary = landed([{"type": "summary", "summary": "S", "leafUuid": "a"}])
    work(database, engine, [summary, landed(lines("a", session="z"))])
    with killed("update", "messages", [summary], rebuild=True):
        work(database, engine, [landed(lines("a", session="fork"))])
    assert [one["sessionId"] for one in database.messages.find({"type": "summary"})] == ["fork"]


def test_late_inserts_are_found_by_the_run_that_takes_the_payload_again(
    database: Database[Any], engine: sa.Engine, killed: Kill
) -> None:
    drop = landed(lines("a", "b"))
    with killed("insert", "messages", [drop]):
        work(database, engine, [landed(lines("b"))])
    assert database.messages.count_documents({}) == 2  # one of them is no run's yet
    work(database, engine, [drop])
    assert [one["messageCount"] for one in database.sessions.find()] == [2]


def test_a_ledger_restored_from_a_backup_is_brought_beyond_what_mongodb_has_seen(
    database: Database[Any], engine: sa.Engine
) -> None:
    summary = landed([{"type": "summary", "summary": "S", "leafUuid": "a"}])
    work(database, engine, [summary, landed(lines("a", session="z"))])
    work(database, engine, [summary], rebuild=True)
    with engine.begin() as connection:
        connection.execute(sa.text("SELECT setval('ingestion.fence', 1, false)"))
    work(database, engine, [landed(lines("b", session="z")), landed(lines("a", session="fork"))])
    assert {one["_id"]: one["messageCount"] for one in database.sessions.find()} == {"z": 2, "fork": 2}
    assert [one["stats"]["message_count"] for one in database.projects.find(NOT_REMOVED)] == [4]
    assert [one["sessionId"] for one in database.messages.find({"type": "summary"})] == ["fork"]
