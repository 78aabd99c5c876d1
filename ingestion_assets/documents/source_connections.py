"""Connections: where a user's files are, with the credentials for it. These are sealed, bound to their connection, and in no answer.

Whoever writes what depends on a connection holds its row before any other (`keep`, `get(locked=True)`), as deleting it does.
"""

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, SecretStr

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.job_options import ProcessingOptions, SourceOptions
from ingestion_assets.documents.settings import documents_settings
from ingestion_assets.documents.sources import opening
from ingestion_assets.documents.sources.source import FetchOptions, Source
from ingestion_assets.settings import Settings
from ingestion_assets.stores.sealing import SealError, sealer

Status = Literal["active", "needs_reauth", "unreachable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A connection, its configuration sealed."""

    id: str
    user_id: str
    source_type: str
    name: str
    status: Status
    error: str | None
    sync_every_s: int | None
    sync_options: dict[str, Any]
    sync_at: datetime | None
    synced_at: datetime | None
    held: dict[str, Any] | None
    created_at: datetime
    sealed: str = field(repr=False)
    sealed_passwords: str | None = field(repr=False)  # of the jobs that syncs make


_COLUMNS = sa.text(f"SELECT {', '.join(Connection.__dataclass_fields__)} FROM documents.connections").text
_CREATE = sa.text("""
    INSERT INTO documents.connections (id, user_id, source_type, name, sealed, sealed_passwords, sync_every_s, sync_options, sync_at)
    VALUES (:id, :user_id, :source_type, :name, :sealed, :sealed_passwords, CAST(:sync_every_s AS integer), CAST(:sync_options AS jsonb),
            clock_timestamp() + make_interval(secs => CAST(:sync_every_s AS integer)))
""")
# In one statement, so that two changes at once are both made. A sync goes on from its token only with what the token was got with.
_CHANGE = sa.text("""
    UPDATE documents.connections SET name = coalesce(:name, name), sealed = coalesce(:sealed, sealed),
        sync_options = coalesce(CAST(:sync_options AS jsonb), sync_options),
        sealed_passwords = CASE WHEN :optioned THEN :sealed_passwords ELSE sealed_passwords END,
        sync_every_s = CASE WHEN :timed THEN CAST(:sync_every_s AS integer) ELSE sync_every_s END,
        sync_at = CASE WHEN :timed THEN clock_timestamp() + make_interval(secs => CAST(:sync_every_s AS integer)) ELSE sync_at END,
        sync_token = CASE WHEN :anew OR :optioned THEN NULL ELSE sync_token END,
        held = CASE WHEN :anew OR :optioned THEN NULL ELSE held END,
        status = CASE WHEN :anew THEN 'active' ELSE status END, error = CASE WHEN :anew THEN NULL ELSE error END
    WHERE id = :id
""")
_KEEP = sa.text("SELECT sealed FROM documents.connections WHERE id = :id AND user_id = :user_id FOR SHARE")


def create(
    connection: sa.Connection,
    settings: Settings,
    *,
    user_id: str,
    source_type: str,
    name: str,
    config: Mapping[str, Any],
    sync_every_s: int | None = None,
    sync_options: Mapping[str, Any] | None = None,
) -> Connection:
    """Keep a connection. Raises `opening.ConfigError` for a configuration that cannot be taken."""
    made = opening.checked(source_type, config, documents_settings())
    id_ = f"conn_{secrets.token_hex(12)}"
    sealed = sealer(settings).seal(json.dumps(_plain(made)), of=id_)
    connection.execute(
        _CREATE,
        {
            "id": id_, "user_id": user_id, "source_type": source_type, "name": name, "sealed": sealed,
            "sync_every_s": sync_every_s, **_options(settings, id_, sync_options or {}),
        },
    )  # fmt: skip
    found = get(connection, id_, user_id=user_id)
    assert found is not None  # noqa: S101
    return found


def get(
    connection: sa.Connection, id_: str, *, user_id: str | None = None, locked: bool = False
) -> Connection | None:
    """One connection, of this user where one is named; `locked` until the transaction ends: nobody changes or deletes it meanwhile."""
    lock = " FOR NO KEY UPDATE" if locked else ""
    row = connection.execute(
        sa.text(
            f"{_COLUMNS} WHERE id = :id AND (CAST(:user_id AS text) IS NULL OR user_id = :user_id){lock}"
        ),
        {"id": id_, "user_id": user_id},
    ).one_or_none()
    return None if row is None else Connection(**row._mapping)


def keep(connection: sa.Connection, id_: str, *, user_id: str, sealed: str) -> None:
    """Keep a connection as it is until the transaction ends, which stores what was read by this configuration.

    Raises `FileError` where the connection is gone, or another.
    """
    row = connection.execute(_KEEP, {"id": id_, "user_id": user_id}).one_or_none()
    if row is None:
        raise FileError("not_found", "storing", "The connection was deleted.")
    if row.sealed != sealed:
        raise FileError(
            "source_changed", "storing", "The connection was changed while the file was processed."
        )


def change(
    connection: sa.Connection, settings: Settings, id_: str, given: Mapping[str, Any], *, user_id: str
) -> Connection | None:
    """Change `name`, `config`, `sync_every_s` or `sync_options`, whichever are given; what is not given is not touched. None if the user
    has no such connection (any more). Raises `opening.ConfigError`."""
    one = get(connection, id_, user_id=user_id)
    if one is None:
        return None
    config, options = given.get("config"), given.get("sync_options")
    values = {
        "id": id_, "name": given.get("name") or None, "timed": "sync_every_s" in given, "sync_every_s": given.get("sync_every_s"),
        "anew": config is not None, "sealed": None, "optioned": options is not None, "sync_options": None, "sealed_passwords": None,
    }  # fmt: skip
    if options is not None:
        values |= _options(settings, id_, options)
    if config is not None:
        made = opening.checked(one.source_type, config, documents_settings())
        values["sealed"] = sealer(settings).seal(json.dumps(_plain(made)), of=id_)
    connection.execute(_CHANGE, values)
    return get(connection, id_)


def _options(settings: Settings, id_: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the jobs that syncs make, as they are kept: passwords apart, sealed."""
    of_source = dict(given.get("source_specific_options") or {})
    passwords = [_plain(one) for one in of_source.pop("passwords", ())]
    sealed = sealer(settings).seal(json.dumps(passwords), of=id_) if passwords else None
    return {
        "sync_options": json.dumps({**given, "source_specific_options": of_source}),
        "sealed_passwords": sealed,
    }


def job_options(one: Connection, settings: Settings) -> dict[str, Any]:
    """Options of the jobs that syncs make, passwords in the clear. Raises `FileError`."""
    if one.sealed_passwords is None:
        return one.sync_options
    opened = json.loads(_opened(one, settings, one.sealed_passwords))
    of_source = one.sync_options.get("source_specific_options", {})
    return {**one.sync_options, "source_specific_options": {**of_source, "passwords": opened}}


def _opened(one: Connection, settings: Settings, sealed: str) -> str:
    try:
        return sealer(settings).open(sealed, of=one.id)
    except SealError as error:
        raise FileError(
            "needs_reauth", "accessing", f"The connection's credentials cannot be opened: {error}."
        ) from error


def list_of(
    connection: sa.Connection, user_id: str, *, after: str = "", limit: int = 50
) -> Sequence[Connection]:
    """A user's connections, by their ids."""
    rows = connection.execute(
        sa.text(f"{_COLUMNS} WHERE user_id = :user_id AND id > :after ORDER BY id LIMIT :limit"),
        {"user_id": user_id, "after": after, "limit": limit},
    )
    return [Connection(**row._mapping) for row in rows]


def delete(connection: sa.Connection, id_: str, *, user_id: str) -> bool:
    """Forget a connection and its credentials; whether there was one. Its documents leave the search."""
    deleted = connection.execute(
        sa.text("DELETE FROM documents.connections WHERE id = :id AND user_id = :user_id"),
        {"id": id_, "user_id": user_id},
    )
    if deleted.rowcount:
        connection.execute(
            sa.text(
                "UPDATE documents.documents SET removed_at = clock_timestamp()"
                " WHERE connection_id = :id AND user_id = :user_id AND removed_at IS NULL"
            ),
            {"id": id_, "user_id": user_id},
        )
    return deleted.rowcount > 0


def own_options(one: Connection, settings: Settings) -> SourceOptions:
    """What a connection's options say of its source. Raises `FileError`."""
    return ProcessingOptions.model_validate(job_options(one, settings)).source_specific_options


def fetching(options: SourceOptions) -> FetchOptions:
    """What of a job's or a connection's options concerns fetching."""
    return FetchOptions(
        encoding=options.encoding, passwords=tuple(one.get_secret_value() for one in options.passwords),
        export_formats=options.export_formats or None, follow_shortcuts=options.follow_shortcuts,
    )  # fmt: skip


def open_source(one: Connection, settings: Settings, options: FetchOptions | None = None) -> Source:
    """The source of a connection, open; to be closed. By the connection's own options where none are given. Raises `FileError`."""
    config = json.loads(_opened(one, settings, one.sealed))
    own = fetching(own_options(one, settings)) if options is None else options
    return opening.opened(one.source_type, config, documents_settings(), own)


def shown_config(one: Connection, settings: Settings) -> dict[str, Any] | None:
    """What of a connection's configuration may be shown; None if it cannot be opened."""
    try:
        config = json.loads(sealer(settings).open(one.sealed, of=one.id))
    except SealError:
        return None
    shown = {key: config[key] for key in ("path", "drive_id", "folder_id") if config.get(key) is not None}
    if "path" in shown:  # an address may hold a password
        shown["path"] = re.sub(r"//[^/]*@", "//", shown["path"])
    return shown


def note(connection: sa.Connection, one: Connection, error: FileError | None) -> None:
    """Keep how the source was when it was last asked: well, or with this error; unless its configuration is another by now."""
    status: Status = "active"
    if error is not None:
        status = "needs_reauth" if error.code in {"needs_reauth", "access_denied"} else "unreachable"
    connection.execute(
        sa.text(
            "UPDATE documents.connections SET status = :status, error = :error WHERE id = :id AND sealed = :sealed"
        ),
        {"id": one.id, "sealed": one.sealed, "status": status, "error": error.sentence if error else None},
    )


def _plain(value: Any) -> Any:
    """As JSON, secrets in the clear: for the sealer alone."""
    if isinstance(value, BaseModel):
        return {
            name: _plain(getattr(value, name))
            for name in type(value).model_fields
            if getattr(value, name) is not None
        }
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return value
