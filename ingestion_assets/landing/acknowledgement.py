"""What payloads are answered with, once they are durable, and how these answers reach the event loop."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

from ingestion_assets.landing.drops import Accepted, IdempotencyConflictError
from ingestion_assets.landing.registration import Known
from ingestion_assets.landing.segments import Header

Waiting = tuple["asyncio.Future[Accepted]", Header]
"""A payload that is not answered yet."""
Answer = tuple["asyncio.Future[Accepted]", Accepted | BaseException]


def answer_all(answers: Sequence[Answer]) -> None:
    """In the event loop: give the answers to those who still wait for them."""
    for future, answer in answers:
        if future.done():
            continue
        if isinstance(answer, BaseException):
            future.set_exception(answer)
        else:
            future.set_result(answer)


def unregistered(waiting: Sequence[Waiting]) -> list[Answer]:
    """Durable, the row comes later."""
    return [(future, acknowledged(header, header.id, registered=False)) for future, header in waiting]


def registered(header: Header, known: Known | None) -> Accepted | Exception:
    """Durable, with a row of its own or that of `known`, which had the same idempotency key."""
    if known is None:
        return acknowledged(header, header.id)
    try:
        return replayed(header, known)
    except IdempotencyConflictError as error:
        return error


def replayed(header: Header, known: Known) -> Accepted:
    """The receipt that was given out for the same key. Raises `IdempotencyConflictError`."""
    if known.body_sha256 != header.sha256:
        raise IdempotencyConflictError(str(known.id))
    return acknowledged(header, known.id, replayed=True)


def acknowledged(
    header: Header, drop_id: UUID, *, replayed: bool = False, registered: bool = True
) -> Accepted:
    """The payload of this header as the receipt `drop_id`."""
    return Accepted(
        id=drop_id,
        flow=header.flow,
        partition=header.partition,
        subject=header.subject,
        records=header.records,
        size_bytes=header.size,
        received_at=header.received_at,
        replayed=replayed,
        registered=registered,
    )
