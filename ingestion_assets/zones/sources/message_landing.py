"""From a message of a queue to durable payloads of a flow: what all sources share."""

import asyncio
from collections.abc import Iterable

import msgspec
import structlog

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.landing.drops import IdempotencyConflictError, NewDrop
from ingestion_assets.landing.flows import Body, RefusedError

AT_ONCE = 100
AT_ONCE_BYTES = 8 * 2**20

log = structlog.get_logger(__name__)


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """`key` is the same whenever the message is delivered; by the suffix of `name` the flow knows how to read `content`."""

    key: str
    name: str
    content: bytes
    principal: str
    attributes: dict[str, str]


class Portion:
    """How many messages a source takes at once, by the largest of the last: so many have `AT_ONCE_BYTES`, and twice the last at most."""

    def __init__(self) -> None:
        self.count = 1

    def taken(self, sizes: Iterable[int]) -> None:
        """What was taken had these sizes, in bytes."""
        largest = max(sizes, default=0)
        if largest:
            self.count = max(1, min(AT_ONCE, 2 * self.count, AT_ONCE_BYTES // largest))


async def land_received(door: FrontDoor, flow_name: str, message: Message) -> None:
    """`land` a message that is in memory already, once the memory for bodies has room for it.

    Raises a 503 `Problem` where it has none for long: to be taken again later; else what `land` raises.
    """
    check_size(door, len(message.content))
    with door.body_memory.reserve() as reservation:
        await reservation.grow(len(message.content))
        await land(door, flow_name, message)


def check_size(door: FrontDoor, size: int) -> None:
    """Raises `RefusedError` for what is larger than a payload may be."""
    most = door.settings.max_decoded_bytes
    if size > most:
        raise RefusedError(f"it has {size} bytes, more than the {most} a payload may have")


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
    check_size(door, len(message.content))
    try:
        read = await asyncio.to_thread(door.flows[flow_name].read_inbox, message.name, message.content)
    except RefusedError:
        raise
    except Exception as error:  # one that the flow's reader trips over holds up no other
        log.exception("message_unreadable", flow=flow_name, key=message.key)
        raise RefusedError(f"it could not be read: {type(error).__name__}") from error
    return [(body, dict(attributes)) for body, attributes in read]
