"""How tests land batches and read the tables back in the oracle's terms."""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import uuid_utils
from pymongo.database import Database

from ingestion_assets.conversations.batches import BatchOutcome
from ingestion_assets.conversations.collections import NOT_REMOVED
from ingestion_assets.conversations.messages import store_messages
from ingestion_assets.conversations.records import original
from ingestion_assets.conversations.statistics import refresh_projects, refresh_sessions
from ingestion_assets.landing.drops import LandedDrop
from ingestion_assets_tests.conversations.oracle import Tables, lines_of

Line = tuple[Any, str | None]


def landed(messages: Sequence[Any], *, session: str | None = None, **extra: Any) -> LandedDrop:
    """A batch as a run sees it."""
    body = json.dumps({"messages": list(messages), "sessionId": session, **extra}).encode()
    return landed_body(body, records=len(messages))


def landed_body(body: bytes, *, records: int = 0, attributes: Mapping[str, str] | None = None) -> LandedDrop:
    return LandedDrop(
        id=UUID(str(uuid_utils.uuid7())), flow="conversations", partition="2026-01-01", lane="0", principal="tester",
        subject=None, received_at=datetime.now(UTC), attributes=attributes or {}, records=records, body=body,
    )  # fmt: skip


def drops_of(lines: Iterable[Line], *, size: int = 1000) -> list[LandedDrop]:
    """Consecutive lines of one file's session, cut into batches of at most `size`."""
    drops: list[LandedDrop] = []
    waiting: list[Any] = []
    session: str | None = None
    for value, default in lines:
        if waiting and (default != session or len(waiting) >= size):
            drops.append(landed(waiting, session=session))
            waiting = []
        session = default
        waiting.append(value)
    return [*drops, landed(waiting, session=session)] if waiting else drops


def real_lines(folder: Path) -> list[Line]:
    """Every line of every real transcript, in the order of their paths, with the session its file is named after."""
    return [
        (value, path.stem)
        for path in sorted(folder.rglob("*.jsonl"))
        if "corruption" not in path.parts
        for value in lines_of(path)
    ]


def ingest(
    database: Database[Any], engine: sa.Engine, drops: Sequence[LandedDrop], **options: Any
) -> list[BatchOutcome]:
    """What a run does with its claim, but for the receipts."""
    outcomes = store_messages(database=database, engine=engine, drops=drops, **options)
    refresh_sessions(database=database, engine=engine)
    refresh_projects(database=database, engine=engine)
    return outcomes


def tables(database: Database[Any]) -> Tables:
    """What MongoDB holds, in the oracle's terms."""
    found = Tables()
    for document in database.messages.find():
        record = original(document)
        given = record.get("uuid")
        identity = given if given is not None else "record:" + json.dumps(record, sort_keys=True)
        session = document["_id"].split("/", 1)[0].replace("%2F", "/").replace("%25", "%")
        found.messages[session, identity] = record
        found.owners[session, identity] = document["sessionId"]
        assert document["_id"].split("/", 1)[1] == document["uuid"]
    paths = {}
    for document in database.projects.find(NOT_REMOVED):
        stats = document["stats"]
        paths[document["_id"]] = document["path"]
        found.projects[document["path"]] = {
            "message_count": stats["message_count"],
            "session_count": stats["session_count"],
            "cost": _decimal(stats["cost"]),
            "tokens_by_model": _models(stats["tokens_by_model"]),
            "server_tool_use": stats["server_tool_use"],
        }
    for document in database.sessions.find():
        found.sessions[document["sessionId"]] = {
            "path": paths[document["projectId"]],
            "cost": None,
            **{
                name: document[name]
                for name in (
                    "startedAt",
                    "endedAt",
                    "messageCount",
                    "messageCountByType",
                    "costSource",
                    "serverToolUse",
                    "summaries",
                )
            },
            "totalCost": _decimal(document["totalCost"]),
            "tokensByModel": _models(document["tokensByModel"]),
        }
        del found.sessions[document["sessionId"]]["cost"]
    return found


def differences(found: Tables, wanted: Tables) -> list[str]:
    """Where the tables differ, as sentences; empty when they agree."""
    return [
        f"{name} {str(key)[:90]}: {str(have.get(key))[:600]} instead of {str(want.get(key))[:600]}"
        for name in ("messages", "owners", "sessions", "projects")
        for have, want in [(getattr(found, name), getattr(wanted, name))]
        for key in sorted({*have, *want}, key=str)
        if have.get(key, "absent") != want.get(key, "absent")
    ]


def _models(rows: Iterable[dict[str, Any]]) -> dict[str, dict[str, int]]:
    return {row["model"]: {name: row[name] for name in row if name != "model"} for row in rows}


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else value.to_decimal()
