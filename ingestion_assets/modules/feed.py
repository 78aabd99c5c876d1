"""Asking drupal.org's release-history feed: conditionally, politely, one project after the other; what it said last is kept.

A project is asked again after `FRESH`; one that could not be read after a delay that doubles up to as long. An answer "not modified"
counts as an answer. While the feed is away everything works on with what is stored.

What the feed said of a project is never erased by a bad answer: where it no longer knows a project that it knew, or names no release
of it any more, that is a failure like a page of HTML. The last good word is kept with the time of it, and the reason why it is old. A
project that it never knew is asked for again after `FRESH` as well, then after twice as long each time, up to a week.

An answer is kept only if nobody kept one since the question was asked: a process that stood still meanwhile brings nothing old back.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import sqlalchemy as sa

from ingestion_assets.modules.releases import (
    MAX_BYTES,
    ReleaseHistory,
    ReleaseHistoryError,
    UnknownProjectError,
    parse_history,
)
from ingestion_assets.modules.security import STALE, keep_history

FRESH_S = 6 * 3600
UNKNOWN_FOR_S = 7 * 86400
FIRST_DELAY_S = 60
LONGEST_DELAY_S = FRESH_S
ANSWER_S = 120
RETRIES = 2
GIVE_UP_AFTER = 5

_DUE = sa.text("""
    SELECT project, etag, last_modified, asked_at FROM ingestion.module_projects
    WHERE ask_after <= clock_timestamp() ORDER BY ask_after, project LIMIT :limit
""")
# The row is locked first; sites that are judged meanwhile wait for the answer.
_TAKE = sa.text("""
    SELECT clock_timestamp() AS now, asked_at, known IS TRUE AS known,
           EXISTS (SELECT FROM ingestion.module_releases r WHERE r.project = p.project) AS has_releases
    FROM ingestion.module_projects p WHERE project = :project FOR UPDATE
""")
_ANSWERED = sa.text("""
    UPDATE ingestion.module_projects SET asked_at = :at, answered_at = :at, failures = 0, error = NULL, etag = :etag,
           last_modified = :last_modified, ask_after = CAST(:at AS timestamptz) + make_interval(secs => :fresh)
    WHERE project = :project
""")
_UNKNOWN = sa.text("""
    UPDATE ingestion.module_projects SET asked_at = :at, answered_at = :at, known = false, failures = failures + 1, error = NULL,
           ask_after = CAST(:at AS timestamptz) + make_interval(secs => LEAST(:longest, :first * 2 ^ LEAST(failures, 12)))
    WHERE project = :project
""")
_FAILED = sa.text("""
    UPDATE ingestion.module_projects SET asked_at = :at, failures = failures + 1, error = :error,
           ask_after = CAST(:at AS timestamptz) + make_interval(secs => LEAST(:longest, :first * 2 ^ LEAST(failures, 12)))
    WHERE project = :project
""")
_STATE = sa.text(f"""
    SELECT count(*) AS projects, count(*) FILTER (WHERE known) AS known, count(*) FILTER (WHERE answered_at IS NULL) AS unanswered,
           max(answered_at) AS newest_answer, max(asked_at) AS newest_question, min(asked_at) AS oldest_question,
           count(*) FILTER (WHERE error IS NOT NULL) AS failing, count(*) FILTER (WHERE {STALE}) AS stale, clock_timestamp() AS now
    FROM ingestion.module_projects p
""")
_STALE = sa.text(f"""
    SELECT project, error, answered_at FROM ingestion.module_projects p WHERE {STALE} ORDER BY answered_at, project LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Question:
    """A project that is due, what makes the question conditional, and when it was asked for before."""

    project: str
    etag: str | None
    last_modified: str | None
    asked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the feed said. `history` None: nothing new (`modified` False), or the project is not known there."""

    history: ReleaseHistory | None = None
    modified: bool = True
    etag: str | None = None
    last_modified: str | None = None


@dataclass(slots=True)
class Asked:
    """What a round of questions came to."""

    asked: int = 0
    changed: int = 0
    unmodified: int = 0
    unknown: int = 0
    late: int = 0
    judged: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    left: bool = False


class FeedError(Exception):
    """The feed could not be read; says why."""


class Feed:
    """The feed at `base_url`, asked at most `per_second` times a second."""

    def __init__(self, *, base_url: str, per_second: float, client: httpx.Client | None = None) -> None:
        self._client = client or httpx.Client(
            timeout=20,
            follow_redirects=False,
            headers={"User-Agent": "ingestion-assets", "Accept": "application/xml, text/xml"},
        )
        self._base = base_url.rstrip("/")
        self._interval_s = 1 / per_second
        self._next = 0.0

    def close(self) -> None:
        self._client.close()

    def ask(self, question: Question) -> Answer:
        """Raises `FeedError`."""
        headers = {}
        if question.etag:
            headers["If-None-Match"] = question.etag
        if question.last_modified:
            headers["If-Modified-Since"] = question.last_modified
        content, status, answered = self._get(f"{self._base}/{question.project}/current", headers)
        if status == 304 and not headers:
            raise FeedError("it answered 304 to a question without a condition")
        if status == 304:
            return Answer(modified=False, etag=question.etag, last_modified=question.last_modified)
        validators = {"etag": answered.get("etag"), "last_modified": answered.get("last-modified")}
        if status == 404:
            return Answer(**validators)
        try:
            history = parse_history(content)
        except UnknownProjectError:
            return Answer(**validators)
        except ReleaseHistoryError as error:
            raise FeedError(f"the answer is no release history: {error}") from error
        if history.project != question.project:
            raise FeedError(f"the answer is about {history.project[:60]!r}")
        return Answer(history=history, **validators)

    def _get(self, url: str, headers: dict[str, str]) -> tuple[bytes, int, httpx.Headers]:
        for turn in range(RETRIES + 1):
            time.sleep(max(0.0, self._next - time.monotonic()))
            self._next = time.monotonic() + self._interval_s * (1 + 4 * turn)
            try:
                with self._client.stream("GET", url, headers=headers) as response:
                    if response.status_code in {429, 500, 502, 503, 504} and turn < RETRIES:
                        continue
                    if response.status_code not in {200, 304, 404}:
                        raise FeedError(f"it answered {response.status_code}")
                    return self._content(response), response.status_code, response.headers
            except httpx.HTTPError as error:
                if turn == RETRIES:
                    raise FeedError(f"{type(error).__name__}: {error}") from error
        raise FeedError("it did not answer")

    def _content(self, response: httpx.Response) -> bytes:
        content = bytearray()
        deadline = time.monotonic() + ANSWER_S
        for piece in response.iter_bytes():
            content += piece
            if time.monotonic() > deadline:
                raise FeedError(f"the answer was not whole within {ANSWER_S} seconds")
            if len(content) > MAX_BYTES:
                raise FeedError(f"the answer is larger than {MAX_BYTES} bytes")
        return bytes(content)


def due(engine: sa.Engine, *, limit: int) -> Sequence[Question]:
    """Projects that are to be asked for, longest waiting first."""
    with engine.connect() as connection:
        return [Question(*row) for row in connection.execute(_DUE, {"limit": limit})]


def ask_all(
    engine: sa.Engine,
    questions: Sequence[Question],
    *,
    ask: Callable[[Question], Answer],
    seconds: float = 600,
) -> Asked:
    """Ask one project after the other and keep each answer as it comes; stop when the feed is plainly away or time is up."""
    asked = Asked()
    deadline = time.monotonic() + seconds
    for question in questions:
        if len(asked.failed) >= GIVE_UP_AFTER == asked.asked or time.monotonic() > deadline:
            asked.left = True
            break
        asked.asked += 1
        try:
            answer = ask(question)
        except FeedError as error:
            answer = error
        error = _keep(engine, question, answer, asked)
        if error is not None:
            asked.failed[question.project] = error
    return asked


def _keep(engine: sa.Engine, question: Question, answer: Answer | FeedError, asked: Asked) -> str | None:
    """Keep an answer, or why it is none; gives that reason."""
    with engine.begin() as connection:
        row = connection.execute(_TAKE, {"project": question.project}).one_or_none()
        error = _why_bad(answer, row)
        if row is None or row.asked_at != question.asked_at:
            asked.late += 1
            return error
        values = {"project": question.project, "at": row.now}
        if error is not None:
            waits = {"first": FIRST_DELAY_S, "longest": LONGEST_DELAY_S}
            connection.execute(_FAILED, values | waits | {"error": error[:1000]})
        elif isinstance(answer, Answer) and answer.modified and answer.history is None:
            connection.execute(_UNKNOWN, values | {"first": FRESH_S, "longest": UNKNOWN_FOR_S})
            asked.unknown += 1
        elif isinstance(answer, Answer):
            if answer.history is not None:
                asked.judged += keep_history(connection, answer.history, at=row.now)
                asked.changed += 1
            else:
                asked.unmodified += 1
            validators = {"etag": answer.etag, "last_modified": answer.last_modified}
            connection.execute(_ANSWERED, values | validators | {"fresh": FRESH_S})
    return error


def _why_bad(answer: Answer | FeedError, row: sa.Row[Any] | None) -> str | None:
    """What is wrong with an answer, given what is known of the project; None if it is good."""
    if isinstance(answer, FeedError):
        return str(answer)
    if row is None or not row.known or not answer.modified:
        return None
    history = answer.history
    if history is None:
        return "it no longer knows the project"
    if row.has_releases and not history.releases and history.status == "published":
        return "it names no release of the project any more"
    return None


def state(connection: sa.Connection) -> sa.Row[Any]:
    """How the feed does: projects, answers, failures, and what time it is there."""
    return connection.execute(_STATE).one()


def stale(connection: sa.Connection, *, limit: int = 20) -> Sequence[sa.Row[Any]]:
    """Projects whose word is kept from an answer before the last, the oldest word first."""
    return connection.execute(_STALE, {"limit": limit}).all()
