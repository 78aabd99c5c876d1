"""Syncing a connection: look, decide, have the new and the changed processed, and write down the rest in one transaction.

A source's record of changes moves on in that transaction, after the job is stored: whatever is killed before it, the next sync finds
the same changes again, and what was processed already is skipped. Nothing is written down where the connection is another by then.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from ingestion_assets.documents import source_connections
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.file_globs import Globs
from ingestion_assets.documents.job_options import SourceOptions
from ingestion_assets.documents.job_requests import JobRequest
from ingestion_assets.documents.settings import documents_settings
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.sources.source import Changes, Entry, Source
from ingestion_assets.documents.sync_plan import Known, Plan, Wanted, plan
from ingestion_assets.settings import Settings

MakeJobs = Callable[[Connection, Sequence[Entry]], Sequence[str]]


class SyncGoesOnError(Exception):
    """Another process syncs the connection now."""


class SyncOvertakenError(Exception):
    """The connection is not what it was when its sync began: what was found is not written down. Jobs that were made go on."""

    def __init__(self, *, deleted: bool, job_ids: Sequence[str] = ()) -> None:
        self.deleted, self.job_ids = deleted, list(job_ids)
        rest = "." if deleted else "; sync it again."
        super().__init__(
            f"The connection was {'deleted' if deleted else 'changed'} while it was synced{rest}"
        )


@dataclass(frozen=True, slots=True)
class Synced:
    """What a sync did: files by what became of them, the jobs that process the new and changed ones, why it is held if it is."""

    counts: Mapping[str, int]
    job_ids: Sequence[str]
    held: str | None


def parts(entries: Sequence[Entry]) -> list[Sequence[Entry]]:
    """The files of the jobs that a sync makes: no job has more than a job may."""
    most = documents_settings().documents_max_files
    return [entries[start : start + most] for start in range(0, len(entries), most)]


def job_request(one: Connection, settings: Settings) -> JobRequest:
    """A job of a connection's sync. Raises `FileError`."""
    return JobRequest.model_validate(
        {
            "user_id": one.user_id, "name": f"Sync of {one.name}"[:300], "processing_options": source_connections.job_options(one, settings),
            "file_selections": [{"connection_id": one.id, "source_type": one.source_type, "file_ids": ["*"]}],
        }
    )  # fmt: skip


def sync(
    engine: sa.Engine, settings: Settings, one: Connection, make_jobs: MakeJobs, *, confirmed: bool = False
) -> Synced:
    """Sync a connection, as it is now. `make_jobs` stores jobs over entries and gives their ids. Raises `FileError` when the source cannot be
    had (kept as the connection's state), `SyncGoesOnError`, `SyncOvertakenError`."""
    with _alone(engine, one.id):
        with engine.connect() as connection:
            now = source_connections.get(connection, one.id)
        if now is None:
            raise SyncOvertakenError(deleted=True)
        one = now
        try:
            options = source_connections.own_options(one, settings)
            fetching = source_connections.fetching(options)
            with closing(source_connections.open_source(one, settings, fetching)) as source:
                token, made = _look(engine, source, one, wanted=_wanted(options), confirmed=confirmed)
        except FileError as error:
            with engine.begin() as connection:
                source_connections.note(connection, one, error)
            raise
        with engine.begin() as connection:
            _unchanged(connection, one)
            if made.held is not None:
                _hold(connection, one, made)
                return Synced(made.counts(), [], made.held)
        job_ids = make_jobs(one, made.to_process) if made.to_process else []
        with engine.begin() as connection:
            _unchanged(connection, one, job_ids)
            _apply(connection, one, made, token)
        return Synced(made.counts(), job_ids, None)


def _unchanged(connection: sa.Connection, one: Connection, job_ids: Sequence[str] = ()) -> None:
    """Hold the connection, which is what the sync began with. Raises `SyncOvertakenError`.

    Another sync may be over, too: the lock of one whose session was cut is gone before it is.
    """
    found = source_connections.get(connection, one.id, locked=True)
    if found is None or _looked_with(found) != _looked_with(one):
        raise SyncOvertakenError(deleted=found is None, job_ids=job_ids)


def _looked_with(one: Connection) -> tuple[Any, ...]:
    return one.sealed, one.sync_options, one.sealed_passwords, one.synced_at


def _wanted(options: SourceOptions) -> Wanted:
    """Whether a path fits `include` and `exclude`."""
    include, exclude = Globs(options.include), Globs(options.exclude)
    return lambda path: (not include or include.match(path)) and not exclude.match(path)


def _look(
    engine: sa.Engine, source: Source, one: Connection, *, wanted: Wanted, confirmed: bool
) -> tuple[str | None, Plan]:
    """The plan, and the token to go on with: taken before the source is listed, so that nothing falls between."""
    with engine.connect() as connection:
        known = known_files(connection, one)
        token = connection.scalar(
            sa.text("SELECT sync_token FROM documents.connections WHERE id = :id"), {"id": one.id}
        )
    changes = source.changes(token) if token is not None else Changes(token=None, whole=True)
    if not changes.whole:
        return changes.token, plan(
            changes.changed,
            known,
            digest=source.digest,
            gone=changes.gone,
            wanted=wanted,
            confirmed=confirmed,
        )
    token = source.start_token()
    return token, plan(source.entries(), known, digest=source.digest, wanted=wanted, confirmed=confirmed)


_KNOWN = sa.text("""
    SELECT coalesce(seen.file_id, doc.file_id) AS file_id, coalesce(seen.path, doc.path) AS path, coalesce(seen.size, doc.size) AS size,
           seen.digest AS seen_digest, doc.digest, 'sha256:' || encode(doc.sha256, 'hex') AS sha256, seen.version,
           doc.file_id IS NOT NULL AS document, doc.removed_at IS NOT NULL AS removed
    FROM (SELECT * FROM documents.source_files WHERE connection_id = :id) AS seen
    FULL JOIN (
        SELECT document.file_id, document.path, document.size, document.digest, document.removed_at, content.sha256
        FROM documents.documents document JOIN documents.contents content ON content.id = document.content_id
        WHERE document.connection_id = :id AND document.user_id = :user_id
    ) AS doc ON doc.file_id = seen.file_id
""")


def known_files(connection: sa.Connection, one: Connection) -> dict[str, Known]:
    """What was seen of a connection's files, or is stored of them.

    The hash of what is stored counts only for the version that was seen last: a file whose new version failed has the document of the old.
    """
    rows = connection.execute(_KNOWN, {"id": one.id, "user_id": one.user_id})
    return {
        row.file_id: Known(
            file_id=row.file_id, path=row.path, size=row.size, version=row.version, document=row.document, removed=row.removed,
            digests=frozenset(hashed for hashed in _digests(row) if hashed),
        )
        for row in rows
    }  # fmt: skip


def _digests(row: sa.Row[Any]) -> list[str | None]:
    if row.seen_digest is not None and row.digest is not None and row.seen_digest != row.digest:
        return [row.seen_digest]
    return [row.seen_digest, row.digest, row.sha256]


@contextmanager
def _alone(engine: sa.Engine, id_: str) -> Iterator[None]:
    """A lock of this session, gone with it. Raises `SyncGoesOnError`."""
    lock = "hashtextextended('sync ' || :id, 0)"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not connection.scalar(sa.text(f"SELECT pg_try_advisory_lock({lock})"), {"id": id_}):
            raise SyncGoesOnError
        try:
            yield
        finally:
            connection.execute(sa.text(f"SELECT pg_advisory_unlock({lock})"), {"id": id_})


_HOLD = sa.text("""
    UPDATE documents.connections SET held = CAST(:held AS jsonb), status = 'active', error = NULL,
        sync_at = clock_timestamp() + make_interval(secs => sync_every_s)
    WHERE id = :id
""")
_DONE = sa.text("""
    UPDATE documents.connections SET held = NULL, status = 'active', error = NULL, sync_token = :token, synced_at = clock_timestamp(),
        sync_at = clock_timestamp() + make_interval(secs => sync_every_s)
    WHERE id = :id
""")
_REMOVE = sa.text("""
    WITH gone AS (DELETE FROM documents.source_files WHERE connection_id = :id AND file_id = ANY(:file_ids))
    UPDATE documents.documents SET removed_at = clock_timestamp()
    WHERE connection_id = :id AND user_id = :user_id AND file_id = ANY(:file_ids) AND removed_at IS NULL
""")
_FORGET = sa.text("DELETE FROM documents.source_files WHERE connection_id = :id AND file_id = ANY(:file_ids)")
_PLACE = sa.text("""
    UPDATE documents.documents document SET file_id = now.file_id, path = now.path, name = now.name, removed_at = NULL,
        digest = coalesce(now.digest, document.digest), modified = coalesce(now.modified, document.modified)
    FROM jsonb_to_recordset(CAST(:files AS jsonb)) AS now (was text, file_id text, path text, name text, digest text, modified timestamptz)
    WHERE document.connection_id = :id AND document.user_id = :user_id AND document.file_id = now.was
""")
_REMEMBER = sa.text("""
    INSERT INTO documents.source_files (connection_id, file_id, path, size, digest, version)
    SELECT :id, file_id, path, size, digest, version
    FROM jsonb_to_recordset(CAST(:files AS jsonb)) AS now (file_id text, path text, size bigint, digest text, version text)
    ON CONFLICT (connection_id, file_id)
    DO UPDATE SET path = excluded.path, size = excluded.size, digest = excluded.digest, version = excluded.version
""")


def _hold(connection: sa.Connection, one: Connection, made: Plan) -> None:
    held = {"reason": made.held, **made.counts()}
    connection.execute(_HOLD, {"id": one.id, "held": _json(held)})


def _apply(connection: sa.Connection, one: Connection, made: Plan, token: str | None) -> None:
    whose = {"id": one.id, "user_id": one.user_id}
    if made.removed:
        connection.execute(_REMOVE, {**whose, "file_ids": [gone.file_id for gone in made.removed]})
    placed = [(was.file_id, entry) for was, entry in made.moved]
    placed += [(entry.file_id, entry) for entry in (*made.renamed, *made.restored)]
    if placed:
        files = [
            {"was": was, "name": entry.name, **_said(entry), "modified": entry.modified}
            for was, entry in placed
        ]
        connection.execute(_PLACE, {**whose, "files": _json(files)})
        connection.execute(_FORGET, {"id": one.id, "file_ids": [was.file_id for was, _ in made.moved]})
    seen = [
        *made.new,
        *made.changed,
        *made.touched,
        *made.renamed,
        *made.restored,
        *(new for _, new in made.moved),
    ]
    if seen:
        files = list({entry.file_id: _said(entry) for entry in seen}.values())
        connection.execute(_REMEMBER, {"id": one.id, "files": _json(files)})
    connection.execute(_DONE, {"id": one.id, "token": token})


def _said(entry: Entry) -> dict[str, Any]:
    return {
        "file_id": entry.file_id, "path": entry.path, "size": entry.size, "digest": entry.digest, "version": entry.version,
    }  # fmt: skip


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
