"""How much came in so far, over HTTP."""

import time

import sqlalchemy as sa
from fastapi import APIRouter, Request
from starlette.responses import Response

from ingestion_assets.entities.active_definitions import defined_entities
from ingestion_assets.entities.flow import NAME
from ingestion_assets.entities.schema import Statistics
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import keyed_errors, secured

router = APIRouter(tags=[NAME])
_STARTED = time.time()


@router.get(
    "/stats",
    name="read_entity_statistics",
    summary="How much was processed",
    description="Messages by entity and errors since the beginning. Needs the scope `entities` or `read`.",
    response_model=Statistics,
    responses=keyed_errors(),
    openapi_extra=secured(),
)
async def statistics(request: Request) -> Response:
    door = front_door(request)
    await door.authenticate(request, NAME, "read")
    tally = await door.in_thread(_tally)
    uptime = time.time() - _STARTED
    return json_response(
        {
            "total_messages_processed": sum(one["processed"] for one in tally.values()),
            "messages_by_entity": {
                one.entity: tally.get(one.entity, {}).get("processed", 0)
                for one in defined_entities().entities
            },
            "errors": sum(one["failed"] for one in tally.values()),
            "superseded": sum(one.get("superseded", 0) for one in tally.values()),
            "uptime_seconds": round(uptime, 3),
            "requests_per_second": round(_requests(door) / uptime, 3),
        }
    )


def _tally(connection: sa.Connection) -> dict[str, dict[str, int]]:
    if connection.scalar(sa.text("SELECT to_regclass('entities._tally')")) is None:
        return {}
    rows = connection.scalars(sa.text("SELECT to_jsonb(tally) FROM entities._tally AS tally"))
    return {row["entity"]: row for row in rows}  # whole rows: one of an earlier release lacks a column


def _requests(door: FrontDoor) -> float:
    return sum(
        sample.value
        for family in door.metrics.registry.collect()
        if family.name == "ingestion_http_requests"
        for sample in family.samples
        if sample.name.endswith("_total")
        and sample.labels["path"].removeprefix("/api/v1/entities").startswith(("/ingest/", "/stats"))
        and not sample.labels["path"].startswith("/api/v1/ingest/")
    )
