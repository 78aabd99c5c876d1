"""`GET /api/v1/zones`: the zones in force, and how each is doing."""

import statistics as middle
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from ingestion_assets.frontdoor.door import front_door, ledger_needed
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import keyed_errors, secured
from ingestion_assets.landing.flow_figures import Minute, last_hour
from ingestion_assets.landing.ledger import LedgerStatistics
from ingestion_assets.zones.document import ZoneDocument
from ingestion_assets.zones.web.known_zones import KnownZones
from ingestion_assets.zones.web.zone_views import ZoneDetails, ZoneName, ZoneView

_UNVERIFIED = sa.text("""
    SELECT hour, code, deliveries, last_at, remote_address, delivery_id FROM ingestion.zone_refusals
    WHERE zone = :zone ORDER BY hour DESC, code LIMIT 100
""")


class ZoneList(BaseModel):
    """The zones that the key may see."""

    items: list[ZoneView]
    next: str | None = Field(description="Always null: the list is whole.")
    not_in_force: dict[str, str] = Field(
        description="Why zones are not in force that a code location has, by their names."
    )


def zone_router(known: KnownZones) -> APIRouter:
    """The endpoints, for the zones that are known when they are called."""
    router = APIRouter(prefix="/api/v1/zones", tags=["zones"])

    @router.get(
        "",
        operation_id="listZones",
        summary="List drop zones",
        description="Those in force that the key may send to; all with the scope `read`.",
        response_model=ZoneList,
        responses=keyed_errors(),
        openapi_extra=secured(),
    )
    async def list_zones(request: Request) -> Response:
        door = front_door(request)
        principal = await door.authenticate(request)
        statistics = await door.backlog.refresh()
        items = [
            _view(document, known.refused, statistics)
            for name, document in sorted(known.documents.items())
            if principal.may("read", name)
        ]
        refused = {
            name: why
            for name, why in known.refused.items()
            if name not in known.documents and principal.may("read", name)
        }
        return json_response({"items": items, "next": None, "not_in_force": refused})

    @router.get(
        "/{zone}",
        operation_id="readZone",
        summary="Read a drop zone",
        description="Schema of its records, figures of the last hour, deliveries that could not be verified. Scope `read` or the zone's.",
        response_model=ZoneDetails,
        responses=keyed_errors(404),
        openapi_extra=secured(),
    )
    async def read_zone(request: Request, zone: ZoneName) -> Response:
        door = front_door(request)
        await door.authenticate(request, zone, "read")
        document = known.document(zone)
        async with ledger_needed():
            minutes = (await last_hour(door.async_engine, [zone]))[zone]
        unverified = await door.in_thread(
            lambda connection: [
                dict(row) for row in connection.execute(_UNVERIFIED, {"zone": zone}).mappings()
            ]
        )
        view = _view(document, known.refused, await door.backlog.refresh())
        return json_response(
            {**view, **_figures(minutes), "record": document.schema, "unverified": unverified}
        )

    return router


def _view(
    document: ZoneDocument, refused: Mapping[str, str], statistics: LedgerStatistics | None
) -> dict[str, Any]:
    name = document.name
    return {
        "name": name,
        "url": f"/api/v1/drops/{name}",
        "location": document.location,
        "key": list(document.key),
        "version": document.version,
        "verify": document.verify and document.verify.get("kind"),
        "partitions": "day" if document.partitions is None else document.partitions.by,
        "refused": refused.get(name),
        "waiting": statistics.unfinished.get((name, "landed"), 0) if statistics else None,
        "oldest_s": statistics.waiting_s.get(name) if statistics else None,
        "open_rejects": sum(n for (flow, _), n in statistics.open_rejects.items() if flow == name) if statistics else None,
    }  # fmt: skip


def _figures(minutes: Sequence[Minute]) -> dict[str, Any]:
    return {
        "payloads": sum(one.payloads for one in minutes),
        "records": sum(one.records for one in minutes),
        "failed": sum(one.failed for one in minutes),
        "p50_s": middle.median(one.p50_s for one in minutes) if minutes else None,
        "p95_s": max((one.p95_s for one in minutes), default=None),
    }
