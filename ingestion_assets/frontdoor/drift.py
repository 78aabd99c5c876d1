"""`GET /api/v1/drift`: message types and fields seen for the first time, by client version."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from ingestion_assets.frontdoor.answers import json_response
from ingestion_assets.frontdoor.door import front_door, ledger_needed
from ingestion_assets.frontdoor.openapi import SECURITY, keyed_errors
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.landing import drift

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
    openapi_extra={"security": SECURITY},
)
async def read_drift(
    request: Request,
    flow: Annotated[
        str | None, Query(max_length=64, pattern="^[a-z_]+$", description="Only of this flow.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="Most items in one page.")] = 100,
    cursor: Annotated[
        str | None,
        Query(
            max_length=4000,
            description="`next` of the page before.",
            json_schema_extra={"pattern": drift.CURSOR},
        ),
    ] = None,
) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read")
    try:
        async with ledger_needed():
            page = await drift.report(door.async_engine, flow=flow, limit=limit, cursor=cursor)
    except ValueError as error:
        item = error_item("query", "cursor", msg="not a cursor of this list", type="cursor")
        raise Problem(422, str(error), errors=[item]) from error
    return json_response(page)
