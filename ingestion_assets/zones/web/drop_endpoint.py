"""`POST /api/v1/drops/{zone}`: records for a drop zone. The door counts them and lands them as they came; its run reads them."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
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
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.receiving import Arrival, take_in
from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.zones.document import ZoneDocument
from ingestion_assets.zones.framing import UnreadableError, frame, kind_of
from ingestion_assets.zones.partition_values import MixedValuesError, partition_value
from ingestion_assets.zones.web.known_zones import KnownZones
from ingestion_assets.zones.web.zone_views import ZoneResult
from ingestion_assets.zones.zone_flow import CSV, JSON, LINES, MEDIA_TYPE

ZoneName = Annotated[str, Path(description="The zone's name.", pattern="^[a-z][a-z0-9_]*$", max_length=40)]
MEDIA_TYPES = frozenset({JSON, LINES, "application/ndjson", "application/jsonl", CSV})
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


def drop_router(known: KnownZones) -> APIRouter:
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
        return await take_in(
            request,
            flow=zone,
            scopes=(zone,),
            media_types=MEDIA_TYPES,
            make_drop=drop_maker(request, document),
        )

    return router


def drop_maker(request: Request, document: ZoneDocument) -> Callable[[Arrival, bytes], NewDrop]:
    """Makes a payload of the zone of a request that was let in."""
    door = front_door(request)
    flow = door.flows[document.name]

    def make(arrival: Arrival, body: bytes) -> NewDrop:
        media_type = arrival.headers.get(b"content-type", b"")[:256].decode("latin-1")
        if kind_of(media_type) == "json":
            door.bodies.check_depth(body)
        try:
            records = frame(body, media_type=media_type, path=document.path)
            subject = partition_value(document.partitions, records)
        except UnreadableError as error:
            raise Problem(400, f"The body holds no records: {error}.", errors=_items(error)) from error
        except MixedValuesError as error:
            raise Problem(422, str(error), errors=_items(error)) from error
        if not records:
            raise Problem(
                422, "The body holds no record.", errors=[error_item("body", msg="no record", type="empty")]
            )
        partition = flow.partition_of(door.clock.now(), subject)
        return NewDrop(
            flow=flow.name,
            partition=partition,
            lane=flow.lane_of(partition, 0),
            principal=arrival.principal.name,
            subject=subject,
            body=body,
            records=len(records),
            idempotency_key=arrival.idempotency_key,
            attributes={**arrival.attributes, MEDIA_TYPE: media_type},
        )

    return make


def _items(error: Exception) -> list[dict[str, Any]]:
    return [error_item("body", msg=str(error), type="unreadable")]
