"""Sending rejects on their way again: records as new payloads through the intake, whole payloads as they landed."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing.channels import announce
from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.landing.flows import Compose, Flow, RefusedError
from ingestion_assets.landing.intake import Intake
from ingestion_assets.landing.rejects import StoredReject
from ingestion_assets.landing.tables import drops, rejects


@dataclass(frozen=True, slots=True)
class Redriven:
    """A reject that was sent again, and the receipt of that try."""

    id: UUID
    receipt: UUID


@dataclass(frozen=True, slots=True)
class Left:
    """A reject that cannot be sent again here, and why."""

    id: UUID
    flow: str
    reason: str


async def redrive(
    engine: sa.Engine, intake: Intake, flows: Mapping[str, Flow], chosen: Sequence[StoredReject]
) -> tuple[list[Redriven], list[Left]]:
    """Send rejects again: records as new payloads (one per original, and one for each record that its flow sends alone),
    whole payloads as they landed. Gives those that were sent, and those that could not be.

    The same try made twice, at once or because its first answer was lost, gives the same receipt.
    """
    records: dict[tuple[UUID, int], list[StoredReject]] = defaultdict(list)
    done: list[Redriven] = []
    left: list[Left] = []
    for reject in chosen:
        if reject.position < 0:
            done.append(Redriven(reject.id, await asyncio.to_thread(take_again, engine, reject)))
            continue
        try:
            flow, _ = _composing(flows, reject.flow)
        except RefusedError as error:
            left.append(Left(reject.id, reject.flow, str(error)))
        else:
            alone = flow.redriven_alone(reject.record)
            records[reject.receipt, reject.position if alone else -1].append(reject)
    for (drop_id, _), group in records.items():
        try:
            receipt = await _redrive_records(engine, intake, flows, drop_id, group)
        except RefusedError as error:  # its flow has changed: it has other partitions now, say
            left += [Left(reject.id, reject.flow, str(error)) for reject in group]
            continue
        await asyncio.to_thread(_mark_sent, engine, [reject.id for reject in group], receipt)
        done += [Redriven(reject.id, receipt) for reject in group]
    return done, left


def _composing(flows: Mapping[str, Flow], name: str) -> tuple[Flow, Compose]:
    """The flow, and how it makes a payload of rejected records. Raises `RefusedError`."""
    flow = flows.get(name)
    if flow is None:
        raise RefusedError(f"there is no flow {name} here")
    if flow.compose is None:
        raise RefusedError(f"the flow {name} does not say how a rejected record becomes a payload")
    return flow, flow.compose


async def _redrive_records(
    engine: sa.Engine,
    intake: Intake,
    flows: Mapping[str, Flow],
    drop_id: UUID,
    group: Sequence[StoredReject],
) -> UUID:
    origin = await asyncio.to_thread(_origin, engine, drop_id)
    flow, compose = _composing(flows, origin.flow)
    group = sorted(group, key=lambda reject: reject.position)
    body = compose([reject.record for reject in group], origin.attributes)
    partition = flow.partition_of(intake.clock.now(), origin.subject)
    accepted = await intake.accept(
        NewDrop(
            flow=flow.name,
            partition=partition,
            lane=flow.lane_of(partition, drop_id.int),
            principal=origin.principal,
            subject=origin.subject,
            body=body.data,
            records=body.records,
            idempotency_key=_key(group, body.data),
            attributes=origin.attributes | {"redrive_of": str(drop_id)},
        )
    )
    return accepted.id


def _key(group: Sequence[StoredReject], body: bytes) -> str:
    """The same for the same rejects until they are marked as sent."""
    digest = sha256(b"".join(reject.id.bytes + str(reject.redriven_as).encode() for reject in group))
    digest.update(body)
    return f"redrive-{digest.hexdigest()}"


def _mark_sent(engine: sa.Engine, ids: Sequence[UUID], receipt: UUID) -> None:
    with engine.begin() as connection:
        _mark(connection, ids, receipt)


def _origin(engine: sa.Engine, drop_id: UUID) -> Any:
    with engine.connect() as connection:
        return connection.execute(sa.select(drops).where(drops.c.id == drop_id)).one()


def take_again(engine: sa.Engine, reject: StoredReject) -> UUID:
    """Have runs take a whole payload again, as it landed and at its old place in the order. Gives its receipt."""
    with engine.begin() as connection:
        redriven = connection.execute(
            sa.update(drops)
            .where(drops.c.id == reject.receipt, drops.c.state == "failed")
            .values(
                state="landed",
                wanted=None,
                attempts=0,
                deferrals=0,
                not_before=None,
                queued_at=sa.func.clock_timestamp(),
                finished_at=None,
                errors=None,
            )
            .returning(drops.c.flow, drops.c.lane)
        ).all()
        _mark(connection, [reject.id], reject.receipt)
        announce(connection, [(row.flow, row.lane) for row in redriven])
    return reject.receipt


def _mark(connection: sa.Connection, ids: Sequence[UUID], receipt: UUID) -> None:
    connection.execute(
        sa.update(rejects)
        .where(rejects.c.id.in_(ids))
        .values(redriven_at=sa.func.clock_timestamp(), redriven_as=receipt)
    )
