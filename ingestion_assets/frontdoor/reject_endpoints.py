"""`/api/v1/rejects`: records that could not be stored, and sending them on their way again."""

import base64
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from ingestion_assets.frontdoor.door import FrontDoor, front_door, ledger_needed
from ingestion_assets.frontdoor.instants import Instant
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import keyed_errors, secured
from ingestion_assets.frontdoor.paging import (
    IdAndTimeCursor,
    IdCursor,
    encode_cursor,
    id_and_time_cursor,
    id_cursor,
    listed,
)
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.landing import redriving, rejects
from ingestion_assets.landing.flows import FLOW_NAME
from ingestion_assets.landing.ledger import Page
from ingestion_assets.landing.redriving import Left, Redriven
from ingestion_assets.landing.rejects import StoredReject

router = APIRouter(prefix="/api/v1/rejects", tags=["rejects"])

REDRIVEN_AT_ONCE = 1000
PAGE_BYTES = 16 * 2**20
"""Records of one page are so long together at most, unless the first alone is longer."""
REDRIVE_S = 120.0

RejectId = Annotated[
    UUID, Path(description="The reject's id.", examples=["0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f"])
]
OfFlow = Annotated[str | None, Query(max_length=64, pattern=FLOW_NAME, description="Only of this flow.")]
OfReceipt = Annotated[UUID | None, Query(description="Only of this payload.")]
OfKind = Annotated[Literal["invalid", "conflict", "payload"] | None, Query(description="Only of this kind.")]
Since = Annotated[Instant | None, Query(description="Only those kept at or after this time (RFC 3339).")]


class RejectView(BaseModel):
    """One record or payload that could not be stored."""

    id: UUID
    flow: str
    receipt: UUID
    position: int = Field(description="Index of the record in its payload; -1 for a whole payload.")
    kind: str = Field(description="`invalid`, `conflict` or `payload`.")
    code: str
    reason: str
    created_at: datetime
    redriven_at: datetime | None
    redriven_as: UUID | None = Field(description="Receipt of the last try to send it again.")
    record: str | None = Field(None, description="The record as it was sent, where it is text.")
    record_base64: str | None = Field(None, description="The record as it was sent, where it is not text.")


class RejectPage(BaseModel):
    """Rejects, oldest first."""

    items: list[RejectView]
    next: str | None = Field(description="Cursor of the next page, null at the end.")


class RedrivenItem(BaseModel):
    """A reject that was sent again."""

    id: UUID
    receipt: UUID = Field(description="Receipt of the new try.")


class LeftItem(BaseModel):
    """A reject that could not be sent again."""

    id: UUID
    flow: str
    reason: str


class RedrivenPage(BaseModel):
    """Rejects that were sent again, and those that could not be."""

    items: list[RedrivenItem]
    left: list[LeftItem] = Field(
        description="Those that stay open, each with the reason: their flow is not there, does not say how they become a payload, or refuses them."
    )
    next: str | None = Field(
        description="Not null if there are more: ask again with it as `cursor`. What is rejected anew meanwhile is not among them."
    )


@router.get(
    "",
    operation_id="listRejects",
    summary="List rejects",
    description="Records that were kept because they could not be stored, oldest first; fewer to a page where they are large. Needs the scope `read`.",
    response_model=RejectPage,
    responses=keyed_errors(),
    openapi_extra=secured(),
)
async def list_rejects(
    request: Request,
    flow: OfFlow = None,
    receipt: OfReceipt = None,
    kind: OfKind = None,
    since: Since = None,
    open_only: Annotated[
        bool, Query(alias="open", description="Only those that were not sent again.")
    ] = False,
    limit: Annotated[int, Query(ge=1, le=500, description="Most items in one page.")] = 50,
    cursor: IdCursor = None,
) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read")
    position = id_cursor(cursor)
    page: Page[StoredReject] = await door.in_thread(
        lambda connection: rejects.list_rejects(
            connection,
            flow=flow,
            receipt=receipt,
            kind=kind,
            since=since,
            open_only=open_only,
            limit=limit,
            max_bytes=PAGE_BYTES,
            cursor=position,
        )
    )
    return listed([reject_json(one) for one in page.items], UUID(page.next) if page.next else None)


@router.post(
    "/redrive",
    operation_id="redriveRejects",
    summary="Redrive rejects by filter",
    description=f"Sends the rejects that match and were not sent again before, at most {REDRIVEN_AT_ONCE} at a time, each once: the pages that `next` leads to hold none that was kept after the first was asked for. Needs the scope `admin`.",
    response_model=RedrivenPage,
    responses=keyed_errors(),
    openapi_extra=secured(),
)
async def redrive_by_filter(
    request: Request,
    flow: OfFlow = None,
    receipt: OfReceipt = None,
    kind: OfKind = None,
    since: Since = None,
    cursor: IdAndTimeCursor = None,
) -> Response:
    door = front_door(request)
    await door.authenticate(request, "admin")
    position = id_and_time_cursor(cursor)

    def chosen(connection: sa.Connection) -> tuple[datetime, Page[StoredReject]]:
        after, until = position or (None, rejects.time_of_database(connection))
        page = rejects.list_rejects(
            connection,
            flow=flow,
            receipt=receipt,
            kind=kind,
            since=since,
            until=until,
            open_only=True,
            limit=REDRIVEN_AT_ONCE,
            max_bytes=PAGE_BYTES,
            cursor=None if after is None else str(after),
        )
        return until, page

    until, page = await door.in_thread(chosen)
    redriven, left = await _redrive(door, page.items)
    following = encode_cursor((UUID(page.next), until)) if page.next else None
    return json_response({"items": redriven, "left": left, "next": following})


@router.get(
    "/{reject_id:uuid}",  # not `redrive`, which is another address
    operation_id="readReject",
    summary="Read a reject",
    description="One record that could not be stored, whole. Needs the scope `read`.",
    response_model=RejectView,
    responses=keyed_errors(404),
    openapi_extra=secured(),
)
async def read_reject(request: Request, reject_id: RejectId) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read")
    return json_response(reject_json(await _reject(door, reject_id)))


@router.post(
    "/{reject_id:uuid}/redrive",
    operation_id="redriveReject",
    summary="Redrive a reject",
    description="Sends one record or payload on its way again and answers with the receipt of that try. Needs the scope `admin`.",
    response_model=RedrivenItem,
    responses=keyed_errors(404, 409),
    openapi_extra=secured(),
)
async def redrive(request: Request, reject_id: RejectId) -> Response:
    door = front_door(request)
    await door.authenticate(request, "admin")
    redriven, left = await _redrive(door, [await _reject(door, reject_id)])
    if left:
        raise Problem(409, f"It cannot be sent again: {left[0].reason}.")
    return json_response(redriven[0])


async def _reject(door: FrontDoor, reject_id: UUID) -> StoredReject:
    reject = await door.in_thread(lambda connection: rejects.get_reject(connection, reject_id))
    if reject is None:
        raise Problem(404, "There is no such reject.")
    return reject


async def _redrive(door: FrontDoor, chosen: Sequence[StoredReject]) -> tuple[list[Redriven], list[Left]]:
    async with ledger_needed(within_s=REDRIVE_S):
        return await redriving.redrive(door.engine, door.intake, door.flows, chosen)


def reject_json(reject: StoredReject) -> dict[str, Any]:
    """A reject as clients read it."""
    view: dict[str, Any] = {
        name: getattr(reject, name) for name in StoredReject.__dataclass_fields__ if name != "record"
    }
    try:
        view["record"] = reject.record.decode("utf-8")
    except UnicodeDecodeError:
        view["record_base64"] = base64.b64encode(reject.record).decode()
    return view
