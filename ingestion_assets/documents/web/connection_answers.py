"""Connections over HTTP: what is asked and what is answered."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ingestion_assets.documents import source_connections
from ingestion_assets.documents.job_options import AskedOptions, ProcessingOptions
from ingestion_assets.documents.job_requests import USER_ID
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.settings import Settings

_ID = "conn_0123456789abcdef01234567"
Name = Annotated[str, Field(min_length=1, max_length=300, pattern=r"^[^\x00]+$")]
SyncEvery = Annotated[
    int | None, Field(ge=60, le=30 * 24 * 3600, description="Seconds between syncs that come by themselves; none: by call alone.")
]  # fmt: skip
Config = Annotated[
    dict[str, Any],
    Field(
        description=(
            "`local_directory`, `local_zip`: `path`. `google_drive`: `oauth` (`client_id`, `client_secret`, `refresh_token`) or "
            "`service_account` (its key), with `drive_id` or `folder_id` where it is a part. Filesystems: `path` and `options`. "
            "Kept sealed; credentials are never answered."
        )
    ),
]


class NewConnection(BaseModel):
    """A connection that is to be made."""

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True,
        json_schema_extra={"example": {
            "user_id": "user123", "source_type": "google_drive", "name": "Research papers",
            "config": {
                "folder_id": "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs",
                "oauth": {"client_id": "app.example.com", "client_secret": "…", "refresh_token": "…"},
            },
            "sync_every_s": 3600,
        }},
    )  # fmt: skip

    user_id: str = Field(pattern=USER_ID, description="Whose it is.")
    source_type: str = Field(
        min_length=1, max_length=50, pattern=r"^[^\x00]+$",
        description="`local_directory`, `local_zip`, `google_drive`, or a filesystem that `INGESTION_FSSPEC_PROTOCOLS` allows.",
    )  # fmt: skip
    name: Name
    config: Config
    sync_every_s: SyncEvery = None
    processing_options: AskedOptions = Field(
        default_factory=lambda: ProcessingOptions.model_validate({}),
        description="Of the jobs that syncs make.",
    )


class ConnectionChange(BaseModel):
    """What is to be changed of a connection; new credentials, above all. What is not named stays."""

    model_config = ConfigDict(
        extra="forbid", hide_input_in_errors=True, json_schema_extra={"example": {"user_id": "user123", "sync_every_s": 3600}}
    )  # fmt: skip

    user_id: str = Field(pattern=USER_ID)
    name: Name | None = None
    config: Config | None = None
    sync_every_s: SyncEvery = None
    processing_options: AskedOptions | None = None


class ConnectionView(BaseModel):
    """A connection, without its credentials."""

    model_config = ConfigDict(
        json_schema_extra={"example": {
            "connection_id": _ID, "user_id": "user123", "source_type": "google_drive", "name": "Research papers",
            "config": {"folder_id": "1BxiMVs0XRA5nFMdKvBdBZjgmUUqptlbs"}, "status": "active", "error": None, "sync_every_s": 3600,
            "next_sync_at": "2026-01-31T10:30:00Z", "synced_at": "2026-01-31T09:30:00Z", "held": None,
            "created_at": "2026-01-30T09:30:00Z",
        }}
    )  # fmt: skip

    connection_id: str
    user_id: str
    source_type: str
    name: str
    config: dict[str, Any] | None = Field(
        description="What of its configuration is no secret; null if it cannot be opened with the server's keys."
    )
    status: Literal["active", "needs_reauth", "unreachable"]
    error: str | None = Field(description="Why it is not active.")
    sync_every_s: int | None
    next_sync_at: datetime | None
    synced_at: datetime | None = Field(description="When its newest sync was done.")
    held: dict[str, Any] | None = Field(
        description="A sync that waits to be confirmed: the reason, and what it would do."
    )
    created_at: datetime


def view_of(one: Connection, settings: Settings) -> dict[str, Any]:
    """A `ConnectionView`."""
    return {
        "connection_id": one.id, "user_id": one.user_id, "source_type": one.source_type, "name": one.name,
        "config": source_connections.shown_config(one, settings), "status": one.status, "error": one.error,
        "sync_every_s": one.sync_every_s, "next_sync_at": one.sync_at, "synced_at": one.synced_at, "held": one.held,
        "created_at": one.created_at,
    }  # fmt: skip


class ConnectionPage(BaseModel):
    """A page of connections."""

    items: list[ConnectionView]
    next: str | None


class Tested(BaseModel):
    """Whether a connection's source can be had now."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"success": False, "code": "needs_reauth", "message": "Google refuses to renew the access."}}
    )  # fmt: skip

    success: bool
    code: str | None = Field(description="Stable; null on success.")
    message: str


class SourceFileView(BaseModel):
    """A file of a source."""

    model_config = ConfigDict(
        json_schema_extra={"example": {
            "file_id": "papers/a.pdf", "name": "a.pdf", "path": "papers/a.pdf", "size": 2048576, "mime_type": None,
            "modified_at": "2026-01-31T09:30:00Z", "ignored": None, "refused": None, "message": None,
        }}
    )  # fmt: skip

    file_id: str = Field(description="What jobs name it by.")
    name: str
    path: str
    size: int | None
    mime_type: str | None
    modified_at: datetime | None
    ignored: str | None = Field(description="Why it is not offered though nothing is wrong with it.")
    refused: str | None = Field(description="The code it would fail with.")
    message: str | None


class SourceFilePage(BaseModel):
    """A page of a source's files."""

    items: list[SourceFileView]
    next: str | None


class SyncView(BaseModel):
    """What a sync found and did."""

    model_config = ConfigDict(
        json_schema_extra={"example": {
            "files": {"new": 3, "changed": 1, "touched": 0, "renamed": 2, "moved": 0, "restored": 0, "removed": 1, "unchanged": 40},
            "job_ids": ["job_0197b0c06d2e7c6e9d6e0a1b2c3d4e5f"], "held": None,
        }}
    )  # fmt: skip

    files: dict[str, int] = Field(description="By what has become of them.")
    job_ids: list[str] = Field(description="The jobs that process the new and changed ones.")
    held: str | None = Field(description="Why nothing was done: it waits for `?confirm=true`.")
