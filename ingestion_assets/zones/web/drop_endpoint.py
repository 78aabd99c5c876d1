"""`POST /api/v1/drops/{zone}`: records for a drop zone. The door counts them and lands them as they came; its run reads them."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.openapi import (
    IDEMPOTENCY_KEY,
    PREFER,
    keyed_errors,
    outcome,
    receipt_to_come,
    takes,
)
from ingestion_assets.frontdoor.receiving import take_in
from ingestion_assets.zones.framing import MEDIA_TYPES
from ingestion_assets.zones.web.drops_made import drop_maker
from ingestion_assets.zones.web.known_zones import KnownZones
from ingestion_assets.zones.web.signed import take_signed
from ingestion_assets.zones.web.unverified import Refusals
from ingestion_assets.zones.web.zone_senders import shows_key
from ingestion_assets.zones.web.zone_views import ZoneName, ZoneResult

DESCRIPTION = (
    "One JSON object, an array of them, JSON lines (`application/x-ndjson`) or CSV whose first line names the fields (`text/csv`). "
    "The answer waits for the outcome of every record; one that is bad harms no other: it is counted, listed in `errors` and kept "
    "as a reject. Bodies may be compressed (`Content-Encoding: gzip` or `zstd`)."
)
ANSWERS = {
    **keyed_errors(400, 404, 408, 413, 415),
    200: outcome("What became of the records."),
    202: receipt_to_come(flow="shop", partition="2026-01-31"),
}


def drop_router(known: KnownZones, refusals: Refusals) -> APIRouter:
    """The endpoint, for the zones that are known when it is called."""
    router = APIRouter(prefix="/api/v1/drops", tags=["zones"])

    @router.post(
        "/{zone}",
        operation_id="dropRecords",
        summary="Send records to a drop zone",
        description=DESCRIPTION,
        response_model=ZoneResult,
        responses=ANSWERS,
        openapi_extra=takes({}, PREFER, IDEMPOTENCY_KEY, example=[{"id": "1"}]),
    )
    async def drop_records(request: Request, zone: ZoneName) -> Response:
        document = known.document(zone)
        sender = known.sender(front_door(request), document)
        make_drop = drop_maker(request, document)
        if sender is not None and not shows_key(request.scope["state"]["headers"], sender):
            return await take_signed(request, document, sender, refusals, make_drop)
        return await take_in(
            request,
            flow=zone,
            scopes=(zone,),
            media_types=MEDIA_TYPES,
            make_drop=make_drop,
        )

    return router
