"""API keys in PostgreSQL: made, listed, revoked, looked up."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError

from ingestion_assets.frontdoor.tokens import digest, new_token, parse_scopes
from ingestion_assets.landing.scopes import Scope

RESERVED_NAMES = frozenset({"admin", "inbox", "queue"})

api_keys = sa.Table(
    "api_keys",
    sa.MetaData(schema="ingestion"),
    sa.Column("id", sa.UUID, primary_key=True),
    sa.Column("name", sa.Text),
    sa.Column("token_sha256", sa.LargeBinary),
    sa.Column("scopes", ARRAY(sa.Text)),
    sa.Column("created_at", sa.TIMESTAMP(timezone=True), server_default=sa.func.clock_timestamp()),
    sa.Column("expires_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("revoked_at", sa.TIMESTAMP(timezone=True)),
    sa.Column("last_used_at", sa.TIMESTAMP(timezone=True)),
)


class KeyNameTakenError(ValueError):
    """Another key that is not revoked has this name."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as the ledger knows it; the token itself is never stored."""

    id: UUID
    name: str
    scopes: frozenset[str]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


_WITHOUT_KEY = sa.text("""
    SELECT name FROM unnest(CAST(:names AS text[]), CAST(:ages_s AS float8[])) AS wanted (name, age_s)
    WHERE NOT EXISTS (
        SELECT FROM ingestion.api_keys AS key
        WHERE key.name = wanted.name AND revoked_at IS NULL AND coalesce(expires_at > clock_timestamp(), true)
          AND created_at <= clock_timestamp() - make_interval(secs => age_s)
    )
""")
_SHOWN = [column for column in api_keys.c if column.name != "token_sha256"]


def create_key(
    connection: sa.Connection,
    *,
    name: str,
    scopes: Iterable[str],
    known: Collection[Scope],
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Make a key with some of the `known` scopes and return it with its token, which cannot be had again.

    Raises `KeyNameTakenError`; `ValueError` for a bad name, scope or expiry.
    """
    if not name.strip() or len(name) > 128 or name in RESERVED_NAMES or not name.isprintable():
        raise ValueError(
            f"{name!r} cannot be a key's name: 1 to 128 printable characters, not {sorted(RESERVED_NAMES)}"
        )
    if expires_at is not None and expires_at.tzinfo is None:
        raise ValueError("the expiry needs a time zone")
    token = new_token()
    try:
        row = connection.execute(
            sa.insert(api_keys)
            .values(
                id=uuid_utils.compat.uuid7(),
                name=name,
                token_sha256=digest(token),
                scopes=parse_scopes(scopes, known),
                expires_at=expires_at,
            )
            .returning(*_SHOWN)
        ).one()
    except IntegrityError as error:
        raise KeyNameTakenError(
            f"there is a key named {name!r} already; revoke it first or choose another name"
        ) from error
    return _key(row), token


def list_keys(connection: sa.Connection) -> list[ApiKey]:
    """All keys, the oldest first."""
    return [_key(row) for row in connection.execute(sa.select(*_SHOWN).order_by(api_keys.c.id))]


def revoke_key(connection: sa.Connection, *, name_or_id: str) -> ApiKey | None:
    """Revoke the key with this name or id; None if no valid key has it."""
    row = connection.execute(
        sa.update(api_keys)
        .where(
            api_keys.c.revoked_at.is_(None),
            sa.or_(api_keys.c.name == name_or_id, sa.cast(api_keys.c.id, sa.Text) == name_or_id),
        )
        .values(revoked_at=sa.func.clock_timestamp())
        .returning(*_SHOWN)
    ).one_or_none()
    return None if row is None else _key(row)


def find_keys(connection: sa.Connection, digests: Sequence[bytes]) -> dict[bytes, ApiKey]:
    """The keys with these token hashes, revoked and expired ones included."""
    statement = sa.select(api_keys.c.token_sha256, *_SHOWN).where(api_keys.c.token_sha256.in_(digests))
    return {bytes(row.token_sha256): _key(row) for row in connection.execute(statement)}


def without_key(connection: sa.Connection, ages_s: Mapping[str, float]) -> list[str]:
    """Which of these names have no valid key that is at least so many seconds old: a new key of the name is another one."""
    rows = connection.execute(_WITHOUT_KEY, {"names": list(ages_s), "ages_s": list(ages_s.values())})
    return list(rows.scalars())


def note_use(connection: sa.Connection, used: dict[UUID, datetime]) -> None:
    """Record when keys were last used."""
    if used:
        connection.execute(
            sa.update(api_keys)
            .where(api_keys.c.id == sa.bindparam("key_id"))
            .values(last_used_at=sa.func.greatest(api_keys.c.last_used_at, sa.bindparam("at"))),
            [{"key_id": key, "at": at} for key, at in used.items()],
        )


def _key(row: sa.Row) -> ApiKey:
    return ApiKey(
        row.id,
        row.name,
        frozenset(row.scopes),
        row.created_at,
        row.expires_at,
        row.revoked_at,
        row.last_used_at,
    )
