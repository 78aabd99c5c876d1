"""A partition's payloads in groups, so that a rebuild holds one lane at a time, for as long as one group takes.

Whole partitions are claimed by `claims.claim_partition`; what landed meanwhile belongs to the runs that are dispatched for it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing.claims import MAX_DROPS, Claim, take_to_rebuild
from ingestion_assets.landing.clock import take_sample
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.leases import take_lease
from ingestion_assets.landing.tables import drops


@dataclass(frozen=True, slots=True)
class Group:
    """Some payloads of one lane, oldest first; of no lane and none for a partition without payloads."""

    partition: str
    lane: Lane | None = None
    ids: Sequence[UUID] = field(default_factory=tuple)


_WITH_PAYLOADS = sa.text("""
    SELECT partition FROM unnest(CAST(:partitions AS text[])) AS partition
    WHERE EXISTS (SELECT FROM ingestion.drops WHERE drops.flow = :flow AND drops.partition = partition.partition)
""")
_NEWEST = sa.text(
    "SELECT id FROM ingestion.drops WHERE flow = :flow AND partition = :partition ORDER BY id DESC LIMIT 1"
)
_PAGE = sa.text("""
    SELECT id, lane, size_bytes FROM ingestion.drops
    WHERE flow = :flow AND partition = :partition AND id > :after AND id <= :newest ORDER BY id LIMIT :at_most
""")
_IS_LIVE = sa.text("""
    SELECT EXISTS (SELECT FROM ingestion.dispatches WHERE flow = :flow AND lane = :lane AND state = 'pending')
        OR EXISTS (SELECT FROM ingestion.leases WHERE flow = :flow AND lane = :lane AND expires_at > clock_timestamp())
""")
_HAS_LANDED = sa.text("""
    SELECT EXISTS (SELECT FROM ingestion.drops WHERE flow = :flow AND lane = :lane AND state = 'landed'
                   AND (not_before IS NULL OR not_before <= clock_timestamp()))
""")


def with_payloads(connection: sa.Connection, *, flow: str, partitions: Sequence[str]) -> set[str]:
    """Those of the partitions for which anything ever landed that is still known."""
    values = {"flow": flow, "partitions": list(partitions)}
    return set(connection.scalars(_WITH_PAYLOADS, values))


def groups(
    engine: sa.Engine, *, flow: str, partition: str, max_bytes: int, max_drops: int = MAX_DROPS
) -> Iterator[Group]:
    """The payloads that a partition has now, in groups of one lane each, of at most `max_drops` of `max_bytes` together (at least
    one payload each). What lands while they are worked through is not among them, so that there is an end."""
    of = {"flow": flow, "partition": partition}
    with engine.connect() as connection:
        newest = connection.scalar(_NEWEST, of)
    after = UUID(int=0)
    while newest is not None and after < newest:
        with engine.connect() as connection:
            page = connection.execute(
                _PAGE, {**of, "after": after, "newest": newest, "at_most": MAX_DROPS}
            ).all()
        by_lane: dict[str, list[sa.Row[tuple[UUID, str, int]]]] = {}
        for row in page:
            by_lane.setdefault(row.lane, []).append(row)
        for name, rows in by_lane.items():
            lane = Lane(flow, partition, name)
            for ids in _cut(rows, max_bytes=max_bytes, max_drops=max_drops):
                yield Group(partition, lane, ids)
        after = page[-1].id if page else newest


def _cut(
    rows: Sequence[sa.Row[tuple[UUID, str, int]]], *, max_bytes: int, max_drops: int
) -> Iterator[list[UUID]]:
    ids: list[UUID] = []
    size = 0
    for row in rows:
        if ids and (size + row.size_bytes > max_bytes or len(ids) == max_drops):
            yield ids
            ids, size = [], 0
        ids.append(row.id)
        size += row.size_bytes
    if ids:
        yield ids


def claim_group(
    connection: sa.Connection, group: Group, *, claim_id: str, run_id: str, lease_s: float, take_open: bool
) -> Claim:
    """Take a group to rebuild it, like a partition by `claim_partition`, but for what has landed and is due: a run is on its way for
    that, and somebody may wait for its answer. Raises `LaneBusyError`."""
    if group.lane is None:
        return Claim(claim_id, run_id, (), (), take_sample(connection), rebuild=True)
    take_lease(connection, group.lane, run_id=run_id, lease_s=lease_s)
    waits = (drops.c.state == "landed") & (drops.c.not_before > sa.func.clock_timestamp())
    refs = take_to_rebuild(
        connection,
        drops.c.id == sa.any_(sa.literal(list(group.ids), sa.ARRAY(sa.UUID))),
        open_ones=waits | (drops.c.state == "failed") if take_open else None,
        claim_id=claim_id,
        run_id=run_id,
    )
    return Claim(claim_id, run_id, (group.lane,), refs, take_sample(connection), rebuild=True)


def has_landed(connection: sa.Connection, lane: Lane) -> bool:
    """Whether payloads wait in the lane whose time has come."""
    return bool(connection.scalar(_HAS_LANDED, {"flow": lane.flow, "lane": lane.name}))


def is_live(connection: sa.Connection, lane: Lane) -> bool:
    """Whether a run holds the lane, or has been asked for and is to claim it."""
    return bool(connection.scalar(_IS_LIVE, {"flow": lane.flow, "lane": lane.name}))
