"""From a message of a queue to durable payloads of a flow: what all sources share."""

import asyncio

import msgspec
import structlog

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.landing.drops import IdempotencyConflictError, NewDrop
from ingestion_assets.landing.flows import Body, RefusedError

log = structlog.get_logger(__name__)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """`key` is the same whenever the message is delivered; by the suffix of `name` the flow knows how to read `content`."""

    key: str
    name: str
    content: bytes
    principal: str
    attributes: dict[str, str]


async def land(door: FrontDoor, flow_name: str, message: Message) -> None:
    """Make it durable. Once is enough: the same key again lands nothing.

    Raises `RefusedError` for what will never be a payload of the flow, `LandingUnavailableError` for what will be one later.
    """
    flow = door.flows[flow_name]
    for number, (body, attributes) in enumerate(await _bodies(door, flow_name, message)):
        partition = flow.partition_of(door.clock.now(), body.subject)
        drop = NewDrop(
            flow=flow_name,
            partition=partition,
            lane=flow.lane_of(partition, number),
            principal=message.principal,
            subject=body.subject,
            body=body.data,
            records=body.records,
            idempotency_key=f"{message.key}#{number}" if number else message.key,
            attributes={**message.attributes, **attributes},
        )
        try:
            accepted = await door.intake.accept(drop)
        except IdempotencyConflictError as error:
            raise RefusedError("its id came before with another content") from error
        if not accepted.replayed:
            door.metrics.count_accepted(flow_name)


async def _bodies(door: FrontDoor, flow_name: str, message: Message) -> list[tuple[Body, dict[str, str]]]:
    size, most = len(message.content), door.settings.max_decoded_bytes
    if size > most:
        raise RefusedError(f"it has {size} bytes, more than the {most} a payload may have")
    try:
        read = await asyncio.to_thread(door.flows[flow_name].read_inbox, message.name, message.content)
    except RefusedError:
        raise
    except Exception as error:  # one that the flow's reader trips over holds up no other
        log.exception("message_unreadable", flow=flow_name, key=message.key)
        raise RefusedError(f"it could not be read: {type(error).__name__}") from error
    return [(body, dict(attributes)) for body, attributes in read]
