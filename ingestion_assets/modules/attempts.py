"""The audit: every attempt to sync a site, refused ones included: who, when, from where, how large, and what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat
from sqlalchemy.dialects.postgresql import insert

from ingestion_assets.landing.claims import DropRef
from ingestion_assets.modules.module_tables import attempts

_NOTE = insert(attempts).on_conflict_do_nothing(index_elements=["receipt"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt. `status` is the HTTP status it was (or would have been) answered with; `outcome` says it in a word."""

    site_id: int
    at: datetime
    via: str
    status: int
    outcome: str
    principal: str | None = None
    remote_address: str | None = None
    user_agent: str | None = None
    size_bytes: int | None = None
    detail: str | None = None
    receipt: UUID | None = None


def note_attempt(connection: sa.Connection, attempt: Attempt) -> None:
    """Keep an attempt; an accepted one only once, whoever notes it first."""
    values = {name: getattr(attempt, name) for name in Attempt.__dataclass_fields__}
    connection.execute(_NOTE, {"id": uuid_utils.compat.uuid7(), **values})


def note_accepted(connection: sa.Connection, ref: DropRef, *, site_id: int) -> None:
    """Keep an accepted attempt whose front door was lost before it could, or that came by another way."""
    note_attempt(connection, _of(ref, site_id=site_id, status=202, outcome="accepted"))


def note_failed(connection: sa.Connection, ref: DropRef, *, site_id: int, error: Mapping[str, Any]) -> None:
    """Keep an attempt that a run refused or could not apply; one that was answered as accepted stays so."""
    status = {"invalid": 422, "no_such_site": 404}.get(error["code"], 500)
    outcome = error["code"] if status < 500 else "failed"
    note_attempt(
        connection,
        _of(ref, site_id=site_id, status=status, outcome=outcome, detail=str(error["reason"])[:500]),
    )


def _of(ref: DropRef, **more: Any) -> Attempt:
    return Attempt(
        at=ref.received_at, via=ref.attributes.get("via", "http"), principal=ref.principal,
        remote_address=ref.attributes.get("remote_address"), user_agent=ref.attributes.get("user_agent"),
        size_bytes=ref.size_bytes, receipt=ref.id, **more,
    )  # fmt: skip


def attempts_of(
    connection: sa.Connection, site_id: int, *, before: str | None = None, limit: int = 50
) -> Sequence[dict[str, Any]]:
    """A site's attempts, newest first."""
    shown = [column for column in attempts.c if column.name != "site_id"]
    query = sa.select(*shown).where(attempts.c.site_id == site_id).order_by(attempts.c.id.desc()).limit(limit)
    if before is not None:
        query = query.where(attempts.c.id < before)
    return [dict(row._mapping) for row in connection.execute(query)]
