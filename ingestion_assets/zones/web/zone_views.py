"""What endpoints of zones are given and answer."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import Path
from pydantic import BaseModel, Field

from ingestion_assets.zones.payload_outcomes import LISTED

ZoneName = Annotated[str, Path(description="The zone's name.", pattern="^[a-z][a-z0-9_]*$", max_length=40)]


class RecordError(BaseModel):
    """A record that was rejected."""

    record: int = Field(description="Its place in the payload, from 0.")
    code: str = Field(description="A stable code.")
    field: str | None = Field(description="What is wrong in it, where that is one field.")
    reason: str


class ZoneResult(BaseModel):
    """What became of a payload's records: `received` is the sum of `stored`, `duplicate`, `superseded` and `rejected`."""

    received: int
    stored: int
    updated: int = Field(description="Those of `stored` that took the place of an older one.")
    duplicate: int = Field(description="Their key was stored before.")
    superseded: int = Field(description="Something newer is stored with their key.")
    rejected: int
    errors: list[RecordError] = Field(description=f"Those rejected, at most {LISTED}.")
    errors_not_listed: int = Field(description="Further ones, to be found among the rejects.")


class ZoneView(BaseModel):
    """A zone that is in force."""

    name: str
    url: str
    location: str = Field(description="The Dagster code location that it is in.")
    key: list[str]
    version: str | None
    verify: str | None = Field(description="How the sender signs; null where an API key is asked for.")
    partitions: str = Field(description="`day`, or the JSONPath of the value.")
    refused: str | None = Field(description="Why a newer definition is not in force.")
    waiting: int | None = Field(
        description="Payloads that no run has claimed; null while the ledger is down."
    )
    oldest_s: float | None = Field(description="For how many seconds the first of them has waited.")
    open_rejects: int | None


class Unverified(BaseModel):
    """Deliveries of an hour that were turned away for the same reason."""

    hour: datetime
    code: str
    deliveries: int
    last_at: datetime
    remote_address: str | None
    delivery_id: str | None


class ZoneDetails(ZoneView):
    """The same, with the schema of a record and the figures of the last hour."""

    record: dict[str, Any] = Field(description="JSON Schema of a record.")
    payloads: int
    records: int
    failed: int
    p50_s: float | None = Field(
        description="Median of the minutes' medians of seconds from acceptance to outcome."
    )
    p95_s: float | None = Field(description="The worst minute's 95th percentile.")
    unverified: list[Unverified] = Field(
        description="Deliveries whose sender could not be verified, by hour, newest first."
    )
