"""Todo lists and configurations: what cannot be stored is a reject of its own, what is older than what is stored is told."""

import json
from typing import Any

import pytest
import sqlalchemy as sa
from pymongo.database import Database

from ingestion_assets.conversations.flow import CONVERSATIONS
from ingestion_assets.conversations.ingestion_log import outcome_of
from ingestion_assets.conversations.messages import store_messages
from ingestion_assets.conversations.statistics import Created
from ingestion_assets.conversations.todos import store_configs, store_todos
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import LandedDrop
from ingestion_assets_tests.conversations.stored import landed, landed_body

SECRET = "not-to-be-shown"
GOOD = {"type": "user", "uuid": "g", "sessionId": "s", "message": {"content": "x"}}
NONE = Created(0, 0, [])


def worked(database: Database[Any], engine: sa.Engine, *drops: LandedDrop) -> list[DropOutcome]:
    """What a run that claims these payloads says of them."""
    batches = store_messages(database=database, engine=engine, drops=drops)
    todos = store_todos(database=database, batches=batches)
    configs = store_configs(database=database, batches=batches)
    return [
        outcome_of(
            batch, created=NONE, todos=todos[batch.drop.id], config=configs[batch.drop.id],
            finished_at=batch.drop.received_at,
        )
        for batch in batches
    ]  # fmt: skip


def todo(*items: Any, session: str = "s") -> dict[str, Any]:
    return {"sessionId": session, "filename": "f.json", "todos": list(items)}


def nested(levels: int) -> Any:
    value: Any = SECRET
    for _ in range(levels):
        value = [value]
    return value


LARGE = "x" * (17 * 2**20)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ({"key": SECRET, "x": LARGE}, "too_large"),
        ({"x": "x" * (16 * 2**20 - 1000)}, "too_large"),  # fits in a document, but not with what is beside it
        ({"x": nested(150)}, "too_deep"),
    ],
)
def test_what_no_document_can_hold_is_a_reject_of_its_own(
    database: Database[Any], engine: sa.Engine, value: dict[str, Any], code: str
) -> None:
    poison = landed(
        [GOOD], todos=[todo("kept"), todo(value, session="t")], config={"config": value, "userId": "u"}
    )
    neighbour = landed([{**GOOD, "uuid": "n"}], todos=[todo("next")], config={"settings": {"a": 1}})
    outcome, other = worked(database, engine, poison, neighbour)

    assert not outcome.failed
    stats = outcome.result["stats"]
    assert (stats["messages_processed"], stats["messages_failed"]) == (1, 0)
    assert (stats["todos_processed"], stats["todos_failed"]) == (1, 1)
    assert (stats["config_updated"], stats["config_failed"]) == (False, True)
    told = [(one["part"], one["code"]) for one in outcome.result["errors"]]
    assert told == [("todos[1]", code), ("config", code)]
    assert [(one.position, one.kind, one.code) for one in outcome.rejects] == [
        (2, "invalid", code),
        (3, "invalid", code),
    ]
    assert SECRET not in json.dumps([outcome.result, outcome.errors, [one.reason for one in outcome.rejects]])
    assert "2 of the todo lists and configurations failed" in outcome.result["message"]
    assert other.result["stats"]["config_updated"]
    assert other.result["errors"] is None
    assert {one["_id"] for one in database.configs.find()} == {"tester"}
    assert {one["_id"] for one in database.todos.find()} == {"s/f.json"}

    list_, config = (json.loads(one.record) for one in outcome.rejects)
    assert list_ == {"messages": [], "todos": [todo(value, session="t")]}
    assert config == {"messages": [], "config": {"config": value, "userId": "u"}}


def test_a_part_that_was_rejected_is_sent_again_as_what_it_is(
    database: Database[Any], engine: sa.Engine
) -> None:
    (outcome,) = worked(
        database, engine, landed([GOOD], todos=[todo(nested(150))], config={"config": {"x": nested(150)}, "userId": "u"})
    )  # fmt: skip
    records = [one.record for one in outcome.rejects]
    assert [CONVERSATIONS.redriven_alone(record) for record in records] == [True, True]
    assert not CONVERSATIONS.redriven_alone(
        json.dumps({"config": {}, "messages": []}).encode()
    )  # a message, odd as it is
    bodies = [CONVERSATIONS.compose([record], {}) for record in records]
    shorter = [body.data.replace(b"[" * 150, b"[").replace(b"]" * 150, b"]") for body in bodies]
    drops = [
        landed_body(data, attributes={"redrive_of": "x", "endpoint": "batch"})
        for data in [*shorter, bodies[0].data]
    ]
    again = worked(database, engine, *drops)
    assert [one.result["stats"]["todos_processed"] for one in again] == [1, 0, 0]
    assert [one.result["stats"]["config_updated"] for one in again] == [False, True, False]
    assert [len(one.rejects) for one in again] == [0, 0, 1]


@pytest.mark.parametrize("number", [2**70, -(2**63) - 1, 10**400])
def test_numbers_that_bson_has_no_number_for_are_stored(
    database: Database[Any], engine: sa.Engine, number: int
) -> None:
    (outcome,) = worked(database, engine, landed([], todos=[todo(number)], config={"config": {"n": number}}))
    assert (outcome.result["stats"]["todos_processed"], outcome.result["stats"]["config_updated"]) == (
        1,
        True,
    )


def test_what_is_older_than_what_is_stored_is_superseded_and_says_by_which(
    database: Database[Any], engine: sa.Engine
) -> None:
    old, new, newest = (
        landed(
            [],
            todos=[todo(state), todo(state, session=state)],
            config={"settings": {"is": state}, "userId": "u"},
        )
        for state in ("old", "new", "newest")
    )
    (first,) = worked(database, engine, new)
    assert (first.result["stats"]["todos_processed"], first.result["stats"]["config_updated"]) == (2, True)
    for _ in range(2):  # it is said again when a killed run is repeated
        (late,) = worked(database, engine, old)
        stats = late.result["stats"]
        assert (stats["todos_processed"], stats["todos_superseded"]) == (1, 1)
        assert (stats["config_updated"], stats["config_superseded"]) == (False, True)
        told = [(one["part"], one["code"], one["superseded_by"]) for one in late.result["warnings"]]
        assert told == [("todos[0]", "superseded", str(new.id)), ("config", "superseded", str(new.id))]
        assert "2 of the todo lists and configurations were superseded" in late.result["message"]
    (again,) = worked(database, engine, new)
    assert again.result == first.result

    both = worked(database, engine, old, newest)  # worked on together
    assert [one.result["stats"]["config_updated"] for one in both] == [True, True]
    assert [one["settings"] for one in database.configs.find()] == [{"is": "newest"}]
    assert database.config_history.count_documents({}) == 3


def test_what_is_replaced_in_a_part_is_told(database: Database[Any], engine: sa.Engine) -> None:
    body = (
        rb'{"todos":[{"sessionId":"s","filename":"plain","todos":["x"]},{"sessionId":"s","filename":"f","todos":["a\u0000","\ud83d"]}],'
        b'"config":{"settings":{"k\xff":1},"userId":"u"}}'
    )
    for endpoint in ({}, {"endpoint": "batch"}):
        (outcome,) = worked(database, engine, landed_body(body, attributes=endpoint))
        assert [(one["part"], one["code"]) for one in outcome.result["warnings"]] == [
            ("todos[1]", "lone_surrogate_replaced"),
            ("todos[1]", "nul_replaced"),
            ("config", "invalid_utf8_replaced"),
        ]
    assert [one["todos"] for one in database.todos.find({"filename": "f"})] == [["a\ufffd", "\ufffd"]]


def test_a_part_is_rejected_as_it_was_sent(database: Database[Any], engine: sa.Engine) -> None:
    deep = b"[" * 150 + rb'"\ud83d"' + b"]" * 150
    sent = rb'{"sessionId":"s","filename":"\ud83d","todos":%b}' % deep, rb'{"settings":{"x":%b}}' % deep
    (outcome,) = worked(database, engine, landed_body(rb'{"todos":[%b],"config":%b}' % sent))
    list_, config = (one.record for one in outcome.rejects)
    assert list_.endswith(b'"todos":[%b]}' % sent[0])
    assert config.endswith(b'"config":%b}' % sent[1])


def test_long_names_are_told_apart_and_a_list_lies_with_its_session(
    database: Database[Any], engine: sa.Engine
) -> None:
    one, other = "x" * 600 + "1", "x" * 600 + "2"
    worked(
        database,
        engine,
        landed(
            [GOOD | {"sessionId": one}],
            todos=[{"sessionId": session, "filename": name, "todos": []} for session in (one, other) for name in (one, other)],
            config={"settings": {"of": 1}, "userId": one},
        ),
        landed([], config={"settings": {"of": 2}, "userId": other}),
    )  # fmt: skip
    (message,) = database.messages.find()
    assert database.todos.count_documents({}) == 4
    assert database.todos.count_documents({"sessionId": message["sessionId"]}) == 2
    assert database.configs.count_documents({}) == 2
