"""Sessions and projects: what their messages add up to, written to MongoDB.

`store_messages` marks sessions stale in the transaction that adds their facts; here the stale ones are computed anew
from all their facts, in set-based SQL, and mark their projects stale in turn. So it needs no arguments, whoever runs
it finishes what a killed run left, and order, split and repetition cannot matter. One refresh at a time (an advisory
lock); rows are locked before they are read, so a message that arrives meanwhile leaves its session stale again.
A session that cannot be computed or written is left stale and named, and never keeps the others waiting. What is written
carries the number that was drawn under the lock, so that a write of a dead run, however late, never wins (`stores/fencing`).

What it costs: O(messages of the touched sessions) + O(sessions and forked messages of the touched projects).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
import structlog
from bson.errors import BSONError
from pymongo import DeleteOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError
from sqlalchemy.exc import DataError

from ingestion_assets.conversations import project_sql, session_sql
from ingestion_assets.conversations.collections import MESSAGES, PROJECTS, SESSIONS
from ingestion_assets.conversations.facts_table import retry_on_deadlock
from ingestion_assets.conversations.projects import project_of
from ingestion_assets.conversations.records import message_id
from ingestion_assets.conversations.statistics_documents import (
    Correction,
    project_document,
    removed_document,
    session_document,
)
from ingestion_assets.stores.error_text import text_of
from ingestion_assets.stores.fencing import unless_newer, update_fenced, write_fenced

SESSIONS_AT_ONCE = 500
_OF_THE_DATA = (BSONError, BulkWriteError, DataError, ArithmeticError, ValueError)

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
def refresh_sessions(*, database: Database[Any], engine: sa.Engine, worktrees: bool = True) -> Refreshed:
    """Compute every stale session anew and write it to `sessions`; settle which session summaries belong to.

    `worktrees`: those of a repository belong to its project.
    """
    refreshed: set[str] = set()
    failed: dict[str, str] = {}
    most = SESSIONS_AT_ONCE
    while True:
        stale: Sequence[str] = ()
        try:
            with _exclusively(engine) as (connection, fence):
                parameters = {"limit": most, "failed": list(failed)}
                stale = connection.execute(session_sql.STALE_SESSIONS, parameters).scalars().all()
                moved = _settle_summaries(connection, database, stale, fence).difference(stale)
                if not stale and not moved:
                    return Refreshed(sorted(refreshed), failed=failed)
                if moved:  # not locked yet, hence the next round's
                    connection.execute(session_sql.MARK_SESSIONS, {"ids": sorted(moved)})
                if stale:
                    _refresh(connection, database, stale, fence, worktrees=worktrees)
        except _OF_THE_DATA as error:
            if not stale:
                raise
            if len(stale) == 1:
                failed[stale[0]] = text_of(error)
                log.error("session_failed", session=stale[0], reason=failed[stale[0]])
            most = max(1, len(stale) // 4)  # fewer at a time, until the one that fails is alone
            continue
        refreshed.update(stale)
        most = min(SESSIONS_AT_ONCE, most * 2)


def refresh_projects(*, database: Database[Any], engine: sa.Engine) -> Refreshed:
    """Compute every stale project anew and write it to `projects`.

    One that lost its last session is marked as removed, and deleted a day later: were it deleted at once, a write of a dead
    run that arrives late would bring it back, for nothing would be there to lose against.
    """
    with _exclusively(engine) as (connection, fence):
        stale = connection.execute(project_sql.STALE_PROJECTS).all()
        if not stale:
            return Refreshed()
        ids = [row.project_id for row in stale]
        totals = {row.project_id: row for row in connection.execute(project_sql.PROJECT_TOTALS, {"ids": ids})}
        corrections: dict[UUID, list[Correction]] = {}
        for row in connection.execute(project_sql.FORK_CORRECTIONS, {"ids": ids}):
            corrections.setdefault(row.project_id, []).append(
                Correction(row.sign, row.tokens or {}, row.tools or {}, row.cost)
            )
        for row in connection.execute(project_sql.COUNTER_CORRECTIONS, {"ids": ids}):
            corrections.setdefault(row.project_id, []).append(Correction(1, {}, {}, row.cost))
        now = datetime.now(UTC)
        documents = [
            project_document(row, totals[row.project_id], corrections.get(row.project_id, ()), now)
            if row.project_id in totals
            else removed_document(row, now)
            for row in stale
        ]
        write_fenced(connection, database[PROJECTS], documents, fence=fence)
        connection.execute(project_sql.PROJECTS_DONE, {"ids": ids})
        removed = [row.project_id for row in stale if row.project_id not in totals]
        if removed:
            connection.execute(project_sql.REMOVE_PROJECTS, {"ids": removed})
        forgotten = connection.execute(project_sql.FORGET_PROJECTS).scalars().all()
        if forgotten:
            database[PROJECTS].bulk_write(
                [DeleteOne(unless_newer(str(one), fence)) for one in forgotten], ordered=False
            )
    return Refreshed([str(one) for one in ids if one in totals], [str(one) for one in removed])


def created_by(engine: sa.Engine, drops: Mapping[UUID, Collection[str]]) -> dict[UUID, Created]:
    """For each drop and the sessions that got messages from it: how many it created or updated, and new projects."""
    every = sorted({session for sessions in drops.values() for session in sessions})
    with engine.connect() as connection:
        rows = {row.session_id: row for row in connection.execute(session_sql.CREATORS, {"ids": every})}
    result = {}
    for drop, sessions in drops.items():
        found = [rows[session] for session in sessions if session in rows]
        made = sum(row.created_by == drop for row in found)
        projects = {str(row.project_id) for row in found if row.project_created_by == drop}
        result[drop] = Created(made, len(found) - made, sorted(projects))
    return result


@contextmanager
def _exclusively(engine: sa.Engine) -> Iterator[tuple[sa.Connection, int]]:
    """A transaction beside which no other computes, and the number of what it writes."""
    with engine.begin() as connection:
        yield connection, connection.execute(session_sql.LOCK).scalar_one()


def _settle_summaries(
    connection: sa.Connection, database: Database[Any], stale: Sequence[str], fence: int
) -> set[str]:
    """Give summaries that name a leaf to the session that owns it: of several (forks) the one with the smallest id.

    Returns the sessions that got or lost one.
    """
    moved = connection.execute(session_sql.SETTLE_SUMMARIES, {"ids": stale}).all()
    found = [row for row in moved if row.owner is not None]
    updates = {
        message_id("", row.uuid): {"$set": {"sessionId": row.owner}, "$unset": {"waiting_for": ""}}
        for row in found
    }
    update_fenced(connection, database[MESSAGES], updates, fence=fence)
    return {owner for row in moved for owner in (row.owner, row.former) if owner}


def _refresh(
    connection: sa.Connection, database: Database[Any], ids: Sequence[str], fence: int, *, worktrees: bool
) -> None:
    connection.execute(session_sql.FIND_FORKS, {"ids": ids})
    now = datetime.now(UTC)
    documents: list[dict[str, Any]] = []
    rows: list[dict[str, Any]] = []
    projects: dict[UUID, dict[str, Any]] = {}
    for row in connection.execute(session_sql.SESSION_TOTALS, {"ids": ids}):
        project = project_of(row.first_cwd, worktrees=worktrees)
        cost = row.cost if row.cost is not None else row.counted_cost
        rows.append(
            {
                "session_id": row.session_id,
                "project_id": project.id,
                "path": project.path,
                "messages": row.messages,
                "started_at": row.started_at,
                "ended_at": row.ended_at,
                "cost": cost,
                "tokens": row.tokens or {},
                "tools": row.tools,
                "cost_steps": row.cost_steps if row.cost is None else None,
            }
        )
        projects.setdefault(
            project.id,
            {"project_id": project.id, "path": project.path, "drop_id": row.touched_by, "created_at": now},
        )
        documents.append(session_document(row, project, cost, now))
    write_fenced(connection, database[SESSIONS], documents, fence=fence)
    connection.execute(
        project_sql.ADD_PROJECTS, {"rows": msgspec.json.encode(list(projects.values())).decode()}
    )
    connection.execute(
        session_sql.SESSIONS_DONE,
        {"rows": msgspec.json.encode(rows).decode(), "ids": [row["session_id"] for row in rows]},
    )
