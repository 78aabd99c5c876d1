"""A request's body as a payload of a zone: counted, and landed as it came."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request

from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.receiving import Arrival
from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.zones.document import ZoneDocument
from ingestion_assets.zones.framing import UnreadableError, frame, kind_of
from ingestion_assets.zones.partition_values import MixedValuesError, partition_value
from ingestion_assets.zones.zone_flow import MEDIA_TYPE


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
