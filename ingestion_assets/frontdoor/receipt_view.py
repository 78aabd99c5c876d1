"""A receipt as clients read it."""

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from ingestion_assets.landing.drops import Receipt


class ProgressView(BaseModel):
    """How far the run at work on a payload has come."""

    number: int = Field(description="Counts what the payload's runs have told, from 1.")
    at: datetime
    state: dict[str, Any] = Field(description="What the flow says of it.")


class ReceiptView(BaseModel):
    """One accepted payload and what became of it."""

    id: UUID
    state: Literal["landed", "claimed", "held", "done", "failed"]
    flow: str
    partition: str
    subject: str | None = Field(
        None, description="What the payload is about, in flows that have such a thing."
    )
    records: int = Field(description="Records in the payload.")
    size_bytes: int = Field(description="Size of the decoded body.")
    received_at: datetime
    url: str = Field(description="Address of this receipt.")
    records_url: str | None = Field(None, description="Address of the outcome of each record.")
    attempts: int = Field(0, description="Times the payload made a run fail.")
    claimed_at: datetime | None = None
    finished_at: datetime | None = None
    run_id: str | None = Field(None, description="The Dagster run that works or worked on it.")
    run_url: str | None = Field(None, description="That run in the Dagster UI.")
    result: dict[str, Any] | None = Field(None, description="The flow's result body, once done.")
    errors: list[dict[str, Any]] | None = None
    wanted: Literal["pause", "cancel"] | None = Field(
        None,
        description="What was asked for: of a payload at work, the run comes to it at its next safe point.",
    )
    progress: ProgressView | None = Field(None, description="How far it is, in flows whose runs take long.")
    registered: bool = Field(
        True,
        description="False while only landing storage knows of it: at first, where nobody waits, or as long as the ledger is down.",
    )


class ReceiptPage(BaseModel):
    """Receipts, newest first."""

    items: list[ReceiptView]
    next: str | None = Field(description="Cursor of the next page, null at the end.")


class RecordOutcomeView(BaseModel):
    """What became of one record of a payload."""

    index: int = Field(description="Place in the payload, from 0.")
    status: Literal["stored", "duplicate", "superseded", "rejected"]
    id: str | None = Field(None, description="Identity of the stored record.")
    duplicate_of: str | None = Field(None, description="Identity of the record that was there before.")
    code: str | None = Field(None, description="Why it was rejected, as a stable code.")
    reason: str | None = Field(None, description="Why it was rejected, in words.")
    superseded_by: str | None = Field(
        None, description="Receipt of the newer payload that is stored instead."
    )


class RecordOutcomePage(BaseModel):
    """Outcomes in input order."""

    items: list[RecordOutcomeView]
    next: str | None = Field(description="Cursor of the next page, null at the end.")


_SHOWN = [name for name in ReceiptView.model_fields if name in Receipt.__struct_fields__]


def receipt_url(drop_id: UUID | str) -> str:
    """Where a receipt is read."""
    return f"/api/v1/receipts/{drop_id}"


def receipt_json(receipt: Receipt, *, runs_url: str) -> dict[str, Any]:
    """The receipt as JSON."""
    address = receipt_url(receipt.id)
    return {name: getattr(receipt, name) for name in _SHOWN} | {
        "run_url": f"{runs_url}/{receipt.run_id}" if receipt.run_id else None,
        "url": address,
        "records_url": f"{address}/records",
        "registered": True,
    }
