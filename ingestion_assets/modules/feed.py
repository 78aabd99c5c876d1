"""Asking drupal.org's release-history feed: conditionally, politely, one project after the other; what it said last is kept.

A project is asked again after `FRESH`, a project that the feed does not know after a week, one that could not be read after a delay
that doubles. An answer "not modified" counts as an answer. While the feed is away everything works on with what is stored.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx
import sqlalchemy as sa

from ingestion_assets.modules.releases import (
    MAX_BYTES,
    ReleaseHistory,
    ReleaseHistoryError,
    UnknownProjectError,
    parse_history,
)
from ingestion_assets.modules.security import forget_history, keep_history

FRESH = timedelta(hours=6)
UNKNOWN_FOR = timedelta(days=7)
FIRST_DELAY_S = 60
LONGEST_DELAY_S = 6 * 3600
RETRIES = 2
GIVE_UP_AFTER = 5

_DUE = sa.text("""
    SELECT project, etag, last_modified FROM ingestion.module_projects
    WHERE ask_after <= clock_timestamp() ORDER BY ask_after, project LIMIT :limit
""")
_ANSWERED = sa.text("""
    UPDATE ingestion.module_projects SET asked_at = :at, answered_at = :at, ask_after = :ask_after, failures = 0, error = NULL,
           etag = :etag, last_modified = :last_modified
    WHERE project = :project
""")
_FAILED = sa.text("""
    UPDATE ingestion.module_projects SET asked_at = :at, failures = failures + 1, error = :error,
           ask_after = CAST(:at AS timestamptz) + make_interval(secs => LEAST(:longest, :first * 2 ^ LEAST(failures, 12)))
    WHERE project = :project
""")
_STATE = sa.text("""
    SELECT count(*) AS projects, count(*) FILTER (WHERE known) AS known, count(*) FILTER (WHERE answered_at IS NULL) AS unanswered,
           max(answered_at) AS newest_answer, max(asked_at) AS newest_question, min(asked_at) AS oldest_question,
           count(*) FILTER (WHERE error IS NOT NULL) AS failing
    FROM ingestion.module_projects
""")


@dataclass(frozen=True, slots=True)
class Question:
    """A project that is due, and what makes the question conditional."""

    project: str
    etag: str | None
    last_modified: str | None


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
        for piece in response.iter_bytes():
            content += piece
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
            asked.failed[question.project] = str(error)
            _keep_failure(engine, question, str(error))
        else:
            _keep(engine, question, answer, asked)
    return asked


def _keep_failure(engine: sa.Engine, question: Question, error: str) -> None:
    values = {"project": question.project, "at": datetime.now(UTC), "error": error[:1000]}
    with engine.begin() as connection:
        connection.execute(_FAILED, values | {"first": FIRST_DELAY_S, "longest": LONGEST_DELAY_S})


def _keep(engine: sa.Engine, question: Question, answer: Answer, asked: Asked) -> None:
    now = datetime.now(UTC)
    wait = FRESH
    with engine.begin() as connection:
        if answer.history is not None:
            asked.judged += keep_history(connection, answer.history, at=now)
            asked.changed += 1
        elif answer.modified:
            forget_history(connection, question.project, at=now)
            asked.unknown += 1
            wait = UNKNOWN_FOR
        else:
            asked.unmodified += 1
        connection.execute(
            _ANSWERED,
            {
                "project": question.project, "at": now, "ask_after": now + wait, "etag": answer.etag,
                "last_modified": answer.last_modified,
            },
        )  # fmt: skip


def state(connection: sa.Connection):
    """How the feed does: projects, answers, failures."""
    return connection.execute(_STATE).one()
