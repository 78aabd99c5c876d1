"""Sessions and projects: what their messages add up to, written to MongoDB.

`store_messages` marks sessions stale in the transaction that adds their facts; here the stale ones are computed anew
from all their facts, in set-based SQL, and mark their projects stale in turn. So it needs no arguments, whoever runs
it finishes what a killed run left, and order, split and repetition cannot matter. One refresh at a time (an advisory
lock); rows are locked before they are read, so a message that arrives meanwhile leaves its session stale again.
A session that cannot be computed or written is left stale and named, and never keeps the others waiting.

What it costs: O(messages of the touched sessions) + O(sessions and forked messages of the touched projects).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
import structlog
from bson.decimal128 import Decimal128, create_decimal128_context
from bson.errors import BSONError
from pymongo import DeleteOne, ReplaceOne, UpdateOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError
from sqlalchemy.exc import DataError

from ingestion_assets.conversations import statistics_sql as sql
from ingestion_assets.conversations.facts_table import retry_on_deadlock
from ingestion_assets.conversations.projects import Project, project_at, project_of
from ingestion_assets.conversations.records import message_id
from ingestion_assets.stores.mongo import MESSAGES, PROJECTS, SESSIONS

SESSIONS_AT_ONCE = 500
MOST_ENTRIES = 1000  # of a list or mapping in a document: what is more only counts in its sums
OTHERS = "(others)"
_TOKENS = ("input_tokens", "output_tokens", "cache_creation_tokens", "cache_read_tokens")
_OF_THE_DATA = (BSONError, BulkWriteError, DataError, ArithmeticError, ValueError)
_DECIMAL128 = create_decimal128_context()

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refreshed:
    """Ids of what was computed anew, of what is gone because nothing belongs to it any more, and of what could not be
    computed, with the reason."""

    ids: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Created:
    """What one batch brought about. The same at every repetition."""

    sessions_created: int
    sessions_updated: int
    projects_created: list[str]


@retry_on_deadlock
def refresh_sessions(*, database: Database[Any], engine: sa.Engine) -> Refreshed:
    """Compute every stale session anew and write it to `sessions`; settle which session summaries belong to."""
    refreshed: set[str] = set()
    failed: dict[str, str] = {}
    most = SESSIONS_AT_ONCE
    while True:
        stale: Sequence[str] = ()
        try:
            with _exclusively(engine) as connection:
                parameters = {"limit": most, "failed": list(failed)}
                stale = connection.execute(sql.STALE_SESSIONS, parameters).scalars().all()
                moved = _settle_summaries(connection, database, stale).difference(stale)
                if not stale and not moved:
                    return Refreshed(sorted(refreshed), failed=failed)
                if moved:  # not locked yet, hence the next round's
                    connection.execute(sql.MARK_SESSIONS, {"ids": sorted(moved)})
                if stale:
                    _refresh(connection, database, stale)
        except _OF_THE_DATA as error:
            if not stale:
                raise
            if len(stale) == 1:
                failed[stale[0]] = f"{type(error).__name__}: {error}"[:2000]
                log.error("session_failed", session=stale[0], reason=failed[stale[0]])
            most = max(1, len(stale) // 4)  # fewer at a time, until the one that fails is alone
            continue
        refreshed.update(stale)
        most = min(SESSIONS_AT_ONCE, most * 2)


def refresh_projects(*, database: Database[Any], engine: sa.Engine) -> Refreshed:
    """Compute every stale project anew and write it to `projects`; remove those that lost their last session."""
    with _exclusively(engine) as connection:
        stale = connection.execute(sql.STALE_PROJECTS).all()
        if not stale:
            return Refreshed()
        ids = [row.project_id for row in stale]
        totals = {row.project_id: row for row in connection.execute(sql.PROJECT_TOTALS, {"ids": ids})}
        corrections: dict[UUID, list[sa.Row[Any]]] = {}
        for row in connection.execute(sql.FORK_CORRECTIONS, {"ids": ids}):
            corrections.setdefault(row.project_id, []).append(row)
        now = datetime.now(UTC)
        writes: list[ReplaceOne[Any] | DeleteOne] = []
        removed: list[UUID] = []
        for row in stale:
            identity = str(row.project_id)
            if row.project_id not in totals:
                writes.append(DeleteOne({"_id": identity}))
                removed.append(row.project_id)
                continue
            document = _project_document(
                row, totals[row.project_id], corrections.get(row.project_id, ()), now
            )
            writes.append(ReplaceOne({"_id": identity}, document, upsert=True))
        database[PROJECTS].bulk_write(writes, ordered=False)
        connection.execute(sql.PROJECTS_DONE, {"ids": ids})
        if removed:
            connection.execute(sql.FORGET_PROJECTS, {"ids": removed})
    return Refreshed([str(one) for one in ids if one not in removed], [str(one) for one in removed])


def created_by(engine: sa.Engine, drops: Mapping[UUID, Collection[str]]) -> dict[UUID, Created]:
    """For each drop and the sessions that got messages from it: how many it created or updated, and new projects."""
    every = sorted({session for sessions in drops.values() for session in sessions})
    with engine.connect() as connection:
        rows = {row.session_id: row for row in connection.execute(sql.CREATORS, {"ids": every})}
    result = {}
    for drop, sessions in drops.items():
        found = [rows[session] for session in sessions if session in rows]
        made = sum(row.created_by == drop for row in found)
        projects = {str(row.project_id) for row in found if row.project_created_by == drop}
        result[drop] = Created(made, len(found) - made, sorted(projects))
    return result


@contextmanager
def _exclusively(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.begin() as connection:
        connection.execute(sql.LOCK)
        yield connection


def _settle_summaries(connection: sa.Connection, database: Database[Any], stale: Sequence[str]) -> set[str]:
    """Give summaries that name a leaf to the session that owns it: of several (forks) the one with the smallest id.

    Returns the sessions that got or lost one.
    """
    moved = connection.execute(sql.SETTLE_SUMMARIES, {"ids": stale}).all()
    found = [row for row in moved if row.owner is not None]
    if found:
        database[MESSAGES].bulk_write(
            [
                UpdateOne(
                    {"_id": message_id("", row.uuid)},
                    {"$set": {"sessionId": row.owner}, "$unset": {"waiting_for": ""}},
                )
                for row in found
            ],
            ordered=False,
        )
    return {owner for row in moved for owner in (row.owner, row.former) if owner}


def _refresh(connection: sa.Connection, database: Database[Any], ids: Sequence[str]) -> None:
    connection.execute(sql.FIND_FORKS, {"ids": ids})
    now = datetime.now(UTC)
    documents: list[ReplaceOne[Any]] = []
    rows: list[dict[str, Any]] = []
    projects: dict[UUID, dict[str, Any]] = {}
    for row in connection.execute(sql.SESSION_TOTALS, {"ids": ids}):
        project = project_of(row.first_cwd)
        cost = row.cost if row.cost is not None else row.cumulative_cost
        rows.append(
            {
                "session_id": row.session_id,
                "project_id": project.id,
                "messages": row.messages,
                "started_at": row.started_at,
                "ended_at": row.ended_at,
                "cost": cost,
                "tokens": row.tokens or {},
            }
        )
        projects.setdefault(
            project.id,
            {"project_id": project.id, "path": project.path, "drop_id": row.touched_by, "created_at": now},
        )
        document = _session_document(row, project, cost, now)
        documents.append(ReplaceOne({"_id": row.session_id}, document, upsert=True))
    database[SESSIONS].bulk_write(documents, ordered=False)
    connection.execute(sql.ADD_PROJECTS, {"rows": msgspec.json.encode(list(projects.values())).decode()})
    connection.execute(
        sql.SESSIONS_DONE,
        {"rows": msgspec.json.encode(rows).decode(), "ids": [row["session_id"] for row in rows]},
    )


def _session_document(
    row: sa.Row[Any], project: Project, cost: Decimal | None, now: datetime
) -> dict[str, Any]:
    return {
        "_id": row.session_id,
        "sessionId": row.session_id,
        "projectId": str(project.id),
        "projectName": project.name,
        "cwd": row.first_cwd,
        "startedAt": row.started_at,
        "endedAt": row.ended_at,
        "messageCount": row.messages,
        "messageCountByType": _most_frequent(row.by_type),
        "totalCost": _money(cost),
        "costSource": None if cost is None else "messages" if row.cost is not None else "cost-state",
        "tokensByModel": _tokens_by_model(row.tokens or {}),
        "tokens": _sum_of_models(row.tokens or {}),
        "summaries": (row.summaries or [])[:MOST_ENTRIES],
        "titles": (row.titles or [])[:MOST_ENTRIES],
        "versions": (row.versions or [])[:MOST_ENTRIES],
        "createdBy": str(row.created_by),
        "createdAt": row.created_at,
        "updatedAt": now,
    }


def _project_document(
    row: sa.Row[Any], totals: sa.Row[Any], corrections: Sequence[sa.Row[Any]], now: datetime
) -> dict[str, Any]:
    project = project_at(row.path)
    tokens: dict[str, dict[str, int]] = {
        model: dict(zip(_TOKENS, map(int, amounts), strict=True))
        for model, amounts in (totals.tokens or {}).items()
    }
    cost = totals.cost
    for correction in corrections:
        if correction.cost is not None:
            cost = (cost or 0) + correction.cost
        if correction.model is None:
            continue
        amounts = tokens.setdefault(correction.model, dict.fromkeys(_TOKENS, 0))
        for name in _TOKENS:
            amounts[name] += int(getattr(correction, name))
    tokens = {model: amounts for model, amounts in tokens.items() if totals.models and model in totals.models}
    return {
        "_id": str(project.id),
        "name": project.name,
        "path": project.path,
        "stats": {
            "message_count": totals.messages,
            "session_count": totals.sessions,
            "cost": _money(cost),
            "tokens": _sum_of_models(tokens),
            "tokens_by_model": _tokens_by_model(tokens),
            "first_activity": totals.started_at,
            "last_activity": totals.ended_at,
        },
        "createdBy": str(row.created_by),
        "createdAt": row.created_at,
        "updatedAt": now,
    }


def _tokens_by_model(tokens: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A list, because model names hold dots."""
    return [
        {"model": model, **{name: int(tokens[model][name]) for name in _TOKENS}}
        for model in sorted(tokens)[:MOST_ENTRIES]
    ]


def _most_frequent(counts: Mapping[str, int]) -> dict[str, int]:
    """In order of their names; what is too much to list is one entry, so that the sum stays."""
    names = sorted(counts, key=lambda name: (-counts[name], name))
    kept = {name: counts[name] for name in sorted(names[:MOST_ENTRIES])}
    others = sum(counts[name] for name in names[MOST_ENTRIES:])
    return kept | ({OTHERS: kept.get(OTHERS, 0) + others} if others else {})


def _sum_of_models(tokens: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    return {name: sum(int(amounts[name]) for amounts in tokens.values()) for name in _TOKENS}


def _money(cost: Decimal | None) -> Decimal128 | None:
    """Rounded to the 34 digits that Decimal128 has."""
    return None if cost is None else Decimal128(_DECIMAL128.create_decimal(cost))
