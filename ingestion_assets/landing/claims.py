"""Which drops a run works on: taking them under the lane's lease, and their bytes. How a claim ends: `finishing`.

A claim belongs to the *root* run, so that Dagster's retries and re-executions go on with the same drops; the lease, to the run
that lives.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing.clock import Sample, take_sample
from ingestion_assets.landing.drops import AcceptedFacts, LandedDrop, Lane, accepted_facts
from ingestion_assets.landing.leases import take_lease
from ingestion_assets.landing.segments import unpack
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.landing.tables import dispatches, drops, leases

MAX_DROPS = 5000
ISOLATE_FROM_ATTEMPT = 2


class ClaimLostError(Exception):
    """The claim is no longer this run's: its lease ended and the drops were given to another run."""


class DropRef(AcceptedFacts, frozen=True):
    """A claimed drop without its bytes, and where they lie."""

    size_bytes: int
    body_sha256: bytes
    segment: str
    offset: int
    length: int
    state: str


@dataclass(slots=True)
class Claim:
    """The drops of one run, oldest first. `claim_id` is the root run's id, `run_id` that of the run at work.

    `drops` may grow while the run works (`join_landed`). `clock`: the ledger's, by which ages are reckoned.
    """

    claim_id: str
    run_id: str
    lanes: tuple[Lane, ...]
    drops: tuple[DropRef, ...]
    clock: Sample = field(compare=False)
    rebuild: bool = False

    def add(self, more: tuple[DropRef, ...]) -> None:
        self.drops = tuple(sorted((*self.drops, *more), key=lambda drop: drop.id))

    def chunks(self, max_bytes: int) -> Iterator[tuple[DropRef, ...]]:
        """The drops in groups of at most `max_bytes` (at least one drop each)."""
        group: list[DropRef] = []
        size = 0
        for drop in self.drops:
            if group and size + drop.size_bytes > max_bytes:
                yield tuple(group)
                group, size = [], 0
            group.append(drop)
            size += drop.size_bytes
        if group:
            yield tuple(group)


_REF = [drops.c[name] for name in DropRef.__struct_fields__]


_TAKE = sa.text(f"""
    WITH held AS MATERIALIZED (
        SELECT FROM ingestion.leases WHERE flow = :flow AND lane = :lane AND holder = :run_id FOR SHARE
    ), eligible AS MATERIALIZED (
        SELECT id, size_bytes, attempts >= :isolate_from AS isolated
        FROM ingestion.drops
        WHERE flow = :flow AND lane = :lane AND state = 'landed'
          AND (not_before IS NULL OR not_before <= clock_timestamp())
        ORDER BY id LIMIT :max_drops
    ), ranked AS (
        SELECT id, isolated, row_number() OVER together AS n, sum(size_bytes) OVER together AS bytes
        FROM eligible WINDOW together AS (PARTITION BY isolated ORDER BY id)
    ), chosen AS (
        SELECT id FROM ranked
        WHERE isolated = (SELECT isolated FROM eligible ORDER BY id LIMIT 1)
          AND (n <= :at_least OR NOT isolated AND bytes <= :max_bytes)
          AND EXISTS (SELECT FROM held)
          AND (SELECT count(*) >= :from_drops OR sum(size_bytes) >= :from_bytes FROM eligible)
          AND NOT EXISTS (SELECT FROM ingestion.drops
                          WHERE claim = :claim_id AND state = 'claimed' AND attempts >= :isolate_from)
    )
    UPDATE ingestion.drops SET state = 'claimed', claim = :claim_id, run_id = :run_id, claimed_at = clock_timestamp()
    FROM chosen WHERE drops.id = chosen.id AND drops.state = 'landed'
    RETURNING {", ".join(f'drops."{column.name}"' for column in _REF)}
""")


def _refs(rows: Sequence[sa.Row[Any]]) -> tuple[DropRef, ...]:
    return tuple(sorted((DropRef(**row._mapping) for row in rows), key=lambda drop: drop.id))


def claim_landed(
    connection: sa.Connection,
    lane: Lane,
    *,
    claim_id: str,
    run_id: str,
    dispatch_id: UUID | None,
    max_bytes: int,
    lease_s: float,
    max_drops: int = MAX_DROPS,
) -> Claim:
    """Take what has landed in a lane, oldest first, up to `max_drops` of `max_bytes` together (at least one drop).

    A drop that was in two lost or failed runs already is taken alone, so that a poisonous one fails alone; whether one of
    those is taken or the others are, the oldest decides, so that neither waits for ever. What this run holds from an
    earlier try is taken up again. Raises `LaneBusyError`.
    """
    take_lease(connection, lane, run_id=run_id, lease_s=lease_s)
    clock = take_sample(connection)
    if dispatch_id is not None:
        connection.execute(
            sa.update(dispatches)
            .where(dispatches.c.id == dispatch_id, dispatches.c.state == "pending")
            .values(state="claimed", run_id=run_id)
        )
    held = connection.execute(
        sa.select(*_REF).where(drops.c.claim == claim_id, drops.c.state == "claimed")
    ).all()
    if held:
        return Claim(claim_id, run_id, (lane,), _refs(held), clock)
    claim = Claim(claim_id, run_id, (lane,), (), clock)
    claim.add(_take(connection, claim, max_bytes=max_bytes, max_drops=max_drops, at_least=1))
    return claim


def join_landed(
    connection: sa.Connection,
    claim: Claim,
    *,
    from_drops: int,
    from_bytes: int,
    max_bytes: int,
    max_drops: int = MAX_DROPS,
) -> tuple[DropRef, ...]:
    """Take what has landed in the claim's lane meanwhile, too, from so many drops or bytes on, while the claim is within its bounds.

    None where the lane is not the run's any more, and where a drop of the claim, or the next one, is to be taken alone. They are the
    claim's (`Claim.add`) once the transaction is committed.
    """
    return _take(
        connection,
        claim,
        max_bytes=max_bytes - sum(drop.size_bytes for drop in claim.drops),
        max_drops=max_drops - len(claim.drops),
        from_drops=from_drops,
        from_bytes=from_bytes,
    )


def _take(
    connection: sa.Connection,
    claim: Claim,
    *,
    max_bytes: int,
    max_drops: int,
    at_least: int = 0,
    from_drops: int = 0,
    from_bytes: int = 0,
) -> tuple[DropRef, ...]:
    """`at_least`: how many are taken however large they are."""
    (lane,) = claim.lanes
    taken = connection.execute(
        _TAKE,
        {
            "flow": lane.flow,
            "lane": lane.name,
            "claim_id": claim.claim_id,
            "run_id": claim.run_id,
            "isolate_from": ISOLATE_FROM_ATTEMPT,
            "max_drops": max(0, max_drops),
            "max_bytes": max_bytes,
            "at_least": at_least,
            "from_drops": from_drops,
            "from_bytes": from_bytes,
        },
    ).all()
    return _refs(taken)


def partition_lanes(connection: sa.Connection, *, flow: str, partition: str) -> list[Lane]:
    """The lanes that drops of a partition ever had."""
    names = connection.scalars(
        sa.select(drops.c.lane).where(drops.c.flow == flow, drops.c.partition == partition).distinct()
    )
    return sorted(Lane(flow, partition, name) for name in names)


def claim_partition(
    connection: sa.Connection,
    lanes: Sequence[Lane],
    *,
    flow: str,
    partition: str,
    claim_id: str,
    run_id: str,
    lease_s: float,
    take_open: bool,
) -> Claim:
    """Take a whole partition to rebuild it. Raises `LaneBusyError`.

    With `take_open` the drops that wait or failed are claimed too, so that this run ends them, but for those that somebody
    cancelled; without, only those that are done are looked at, and the ledger stays as it is.
    """
    for lane in lanes:
        take_lease(connection, lane, run_id=run_id, lease_s=lease_s)
    mine = (drops.c.flow == flow) & (drops.c.partition == partition)
    open_ones = drops.c.state.in_(("landed", "failed")) if take_open else None
    refs = take_to_rebuild(connection, mine, open_ones=open_ones, claim_id=claim_id, run_id=run_id)
    return Claim(claim_id, run_id, tuple(lanes), refs, take_sample(connection), rebuild=True)


def take_to_rebuild(
    connection: sa.Connection,
    mine: sa.ColumnElement[bool],
    *,
    open_ones: sa.ColumnElement[bool] | None,
    claim_id: str,
    run_id: str,
) -> tuple[DropRef, ...]:
    """Those of `mine` that are done, and the `open_ones`, which are claimed; none of these, and the ledger stays as it is. The lanes
    are held already."""
    mine &= ~drops.c.attributes.has_key("alias_of")
    held = drops.c.state == "done"
    if open_ones is not None:
        connection.execute(
            sa.update(drops)
            .where(mine, open_ones, drops.c.wanted.is_(None))
            .values(
                state="claimed",
                claim=claim_id,
                run_id=run_id,
                claimed_at=sa.func.clock_timestamp(),
                queued_at=sa.func.clock_timestamp(),
                finished_at=None,
            )
        )
        held |= (drops.c.state == "claimed") & (drops.c.claim == claim_id)
    return _refs(connection.execute(sa.select(*_REF).where(mine, held)).all())


def check_held(connection: sa.Connection, claim: Claim, ids: Collection[UUID]) -> None:
    """Raises `ClaimLostError` unless the claim still holds these drops."""
    among = drops.c.id == sa.any_(sa.literal(list(ids), sa.ARRAY(sa.UUID)))
    mine = sa.select(sa.func.count()).where(
        among, drops.c.state == "claimed", drops.c.claim == claim.claim_id
    )
    held = connection.execute(mine).scalar_one()
    if held != len(ids):
        raise ClaimLostError(f"{len(ids) - held} payloads are no longer held by run {claim.run_id}")


def require_lanes(connection: sa.Connection, claim: Claim) -> None:
    """Raises `ClaimLostError` where another run may have taken a lane of the claim; until the transaction's end none can.

    For what is written beside the drops: a rebuild holds payloads that are done, and work of hours may outlive its lease. Ask last,
    so that the lease is locked for no longer than the commit takes.
    """
    mine = sa.select(leases.c.flow, leases.c.lane).where(leases.c.holder == claim.run_id)
    held = {(row.flow, row.lane) for row in connection.execute(mine.with_for_update(read=True))}
    if lost := [lane.name for lane in claim.lanes if (lane.flow, lane.name) not in held]:
        raise ClaimLostError(f"run {claim.run_id} no longer holds the lane {', '.join(lost)}")


def load(storage: LandingStorage, refs: Sequence[DropRef]) -> list[LandedDrop]:
    """The drops with their bytes, verified.

    Raises `CorruptSegmentError`, `FileNotFoundError`; `LandingUnavailableError`, which will pass.
    """
    return [
        LandedDrop(
            **accepted_facts(ref),
            body=unpack(
                storage.read(ref.segment, offset=ref.offset, length=ref.length),
                digest=ref.body_sha256,
                size=ref.size_bytes,
            ),
        )
        for ref in refs
    ]
