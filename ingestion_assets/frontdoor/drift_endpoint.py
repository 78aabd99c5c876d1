"""`GET /api/v1/drift`: message types and fields seen for the first time, by client version."""

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from ingestion_assets.frontdoor.door import front_door, ledger_needed
from ingestion_assets.frontdoor.openapi import keyed_errors, secured
from ingestion_assets.frontdoor.paging import IdAndTextsCursor, id_and_texts_cursor, page
from ingestion_assets.landing import drift
from ingestion_assets.landing.flows import FLOW_NAME

router = APIRouter(prefix="/api/v1", tags=["operations"])


class FirstSight(BaseModel):
    """A type or field seen for the first time."""

    flow: str
    version: str | None = Field(description="Version of the client that wrote it, where it says so.")
    path: str = Field(description="The type or field.")
    first_receipt: UUID
    first_seen: datetime


class DriftPage(BaseModel):
    """First sightings, newest first."""

    items: list[FirstSight]
    next: str | None = Field(description="Cursor of the next page, null at the end.")


@router.get(
    "/drift",
    operation_id="listDrift",
    summary="Report format drift",
    description=(
        "Types and fields that a flow saw for the first time, by client version, with the receipt that brought them; newest "
        "first. Needs the scope `read`."
    ),
    response_model=DriftPage,
    responses=keyed_errors(),
    openapi_extra=secured(),
)
async def read_drift(
    request: Request,
    flow: Annotated[
        str | None, Query(max_length=64, pattern=FLOW_NAME, description="Only of this flow.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Most items in one page.")] = 100,
    cursor: IdAndTextsCursor = None,
) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read")
    after = id_and_texts_cursor(cursor)
    async with ledger_needed():
        found = await drift.report(door.async_engine, flow=flow, limit=limit + 1, after=after)
    return page(found, limit=limit, position=drift.position_of, item=_first_sight)


def _first_sight(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "flow": row.flow,
        "version": row.version or None,
        "path": row.path,
        "first_receipt": row.first_drop,
        "first_seen": row.first_seen,
    }
