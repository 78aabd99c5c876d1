"""Which drops a run works on: taking them under the lane's lease, finishing them, giving them back.

A claim belongs to the *root* run, so that Dagster's retries and re-executions go on with the same drops. The lease is
what keeps two runs out of one lane; it belongs to the run that lives, is renewed by its worker's heartbeat and ends
by itself when the worker does.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from ingestion_assets.landing.clock import Sample, take_sample
from ingestion_assets.landing.dispatch import announce
from ingestion_assets.landing.drops import DropOutcome, LandedDrop, Lane, Reject
from ingestion_assets.landing.progress import announce_change
from ingestion_assets.landing.record_outcomes import pack
from ingestion_assets.landing.rejects import insert_rejects
from ingestion_assets.landing.segments import unpack
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.landing.tables import dispatches, drops, leases
from ingestion_assets.landing.wanted import ERRORS_BACK, ERRORS_OF, FINISHED_CHANNEL, STATE_BACK

MAX_DROPS = 5000
ISOLATE_FROM_ATTEMPT = 2


class LaneBusyError(Exception):
    """Another live run holds the lane."""


class ClaimLostError(Exception):
    """The claim is no longer this run's: its lease ended and the drops were given to another run."""


@dataclass(frozen=True, slots=True)
class DropRef:
    """A claimed drop without its bytes."""

    id: UUID
    flow: str
    partition: str
    lane: str
    principal: str
    subject: str | None
    received_at: datetime
    attributes: dict[str, str]
    records: int
    size_bytes: int
    body_sha256: bytes
    segment: str
    offset: int
    length: int
    state: str


@dataclass(frozen=True, slots=True)
class Claim:
    """The drops of one run, oldest first. `claim_id` is the root run's id, `run_id` that of the run at work.

    `clock`: the ledger's, by which ages are reckoned.
    """

    claim_id: str
    run_id: str
    lanes: tuple[Lane, ...]
    drops: tuple[DropRef, ...]
    clock: Sample = field(compare=False)
    rebuild: bool = False

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


_REF = [drops.c[name] for name in DropRef.__dataclass_fields__]


def _refs(rows: Sequence[sa.Row[Any]]) -> tuple[DropRef, ...]:
    return tuple(sorted((DropRef(*row) for row in rows), key=lambda drop: drop.id))


def take_lease(connection: sa.Connection, lane: Lane, *, run_id: str, lease_s: float) -> None:
    """Hold the lane for a run, for `lease_s` from now unless it is renewed. Raises `LaneBusyError`."""
    taken = connection.execute(
        sa.text("""
            INSERT INTO ingestion.leases AS lease (flow, lane, holder, expires_at)
            VALUES (:flow, :lane, :run_id, clock_timestamp() + make_interval(secs => :lease_s))
            ON CONFLICT (flow, lane) DO UPDATE
                SET holder = excluded.holder, expires_at = excluded.expires_at
                WHERE lease.holder = excluded.holder OR lease.expires_at < clock_timestamp()
            RETURNING holder
        """),
        {"flow": lane.flow, "lane": lane.name, "run_id": run_id, "lease_s": lease_s},
    ).one_or_none()
    if taken is None:
        holder = connection.scalar(
            sa.select(leases.c.holder).where(leases.c.flow == lane.flow, leases.c.lane == lane.name)
        )
        raise LaneBusyError(f"run {holder} is working on the lane {lane.name} of {lane.flow}")


def claim_landed(
    connection: sa.Connection,
    lane: Lane,
    *,
    claim_id: str,
    run_id: str,
    dispatch_id: UUID | None,
    max_bytes: int,
    lease_s: float,
) -> Claim:
    """Take what has landed in a lane, oldest first, up to `max_bytes` (at least one drop).

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
    taken = connection.execute(
        sa.text(f"""
            WITH eligible AS MATERIALIZED (
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
                  AND (n = 1 OR NOT isolated AND bytes <= :max_bytes)
            )
            UPDATE ingestion.drops SET state = 'claimed', claim = :claim_id, run_id = :run_id,
                   claimed_at = clock_timestamp()
            FROM chosen WHERE drops.id = chosen.id AND drops.state = 'landed'
            RETURNING {", ".join(f'drops."{column.name}"' for column in _REF)}
        """),
        {
            "flow": lane.flow,
            "lane": lane.name,
            "claim_id": claim_id,
            "run_id": run_id,
            "isolate_from": ISOLATE_FROM_ATTEMPT,
            "max_drops": MAX_DROPS,
            "max_bytes": max_bytes,
        },
    ).all()
    return Claim(claim_id, run_id, (lane,), _refs(taken), clock)


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
    mine = (drops.c.flow == flow) & (drops.c.partition == partition) & ~drops.c.attributes.has_key("alias_of")
    if take_open:
        connection.execute(
            sa.update(drops)
            .where(mine, drops.c.state.in_(("landed", "failed")), drops.c.wanted.is_(None))
            .values(
                state="claimed",
                claim=claim_id,
                run_id=run_id,
                claimed_at=sa.func.clock_timestamp(),
                queued_at=sa.func.clock_timestamp(),
                finished_at=None,
            )
        )
    held = drops.c.state == "done"
    if take_open:
        held |= (drops.c.state == "claimed") & (drops.c.claim == claim_id)
    rows = connection.execute(sa.select(*_REF).where(mine, held)).all()
    return Claim(claim_id, run_id, tuple(lanes), _refs(rows), take_sample(connection), rebuild=True)


def load(storage: LandingStorage, refs: Sequence[DropRef]) -> list[LandedDrop]:
    """The drops with their bytes, verified.

    Raises `CorruptSegmentError`, `FileNotFoundError`; `LandingUnavailableError`, which will pass.
    """
    return [
        LandedDrop(
            id=ref.id,
            flow=ref.flow,
            partition=ref.partition,
            lane=ref.lane,
            principal=ref.principal,
            subject=ref.subject,
            received_at=ref.received_at,
            attributes=ref.attributes,
            records=ref.records,
            body=unpack(
                storage.read(ref.segment, offset=ref.offset, length=ref.length),
                digest=ref.body_sha256,
                size=ref.size_bytes,
            ),
        )
        for ref in refs
    ]


def renew(connection: sa.Connection, *, run_ids: Sequence[str], lease_s: float) -> None:
    """Keep the leases of live runs; the workers' heartbeat calls it."""
    connection.execute(
        sa.text("""
            UPDATE ingestion.leases SET expires_at = clock_timestamp() + make_interval(secs => :lease_s)
            WHERE holder = ANY(:run_ids)
        """),
        {"run_ids": list(run_ids), "lease_s": lease_s},
    )


_GOES_BACK = "(outcome.state = 'landed' OR outcome.state = 'held' AND drops.wanted = 'cancel')"
_FINISH = sa.text(f"""
    UPDATE ingestion.drops SET
        state = CASE WHEN {_GOES_BACK} THEN {STATE_BACK} ELSE outcome.state END,
        wanted = CASE WHEN {_GOES_BACK} THEN wanted END,
        claim = CASE WHEN {_GOES_BACK} THEN NULL ELSE claim END,
        queued_at = CASE WHEN {_GOES_BACK} THEN clock_timestamp() ELSE queued_at END,
        finished_at = CASE WHEN outcome.state IN ('done', 'failed') OR {_GOES_BACK} AND wanted = 'cancel'
                      THEN clock_timestamp() END,
        result = outcome.result,
        errors = CASE WHEN {_GOES_BACK} THEN {ERRORS_BACK} ELSE outcome.errors END
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS outcome (id uuid, state text, result jsonb, errors jsonb)
    WHERE drops.id = outcome.id AND drops.state = 'claimed' AND drops.claim = :claim_id
    RETURNING drops.id, drops.state
""")


def finish(connection: sa.Connection, claim: Claim, outcomes: Sequence[DropOutcome]) -> None:
    """End the drops of a claim, keep their outcomes, free the lanes and tell the waiting.

    Those that are unfinished go back, to be taken again at once, unless somebody wants them to pause or be cancelled. Drops of
    a rebuild that were done before keep the receipt they gave. Raises `ClaimLostError`, and then writes nothing.
    """
    expected = {drop.id for drop in claim.drops if not (claim.rebuild and drop.state == "done")}
    ended = [outcome for outcome in outcomes if outcome.drop_id in expected]
    if missing := expected - {outcome.drop_id for outcome in ended}:
        raise ValueError(f"no outcome for {len(missing)} drops of the claim, {min(missing)} among them")
    rows = [
        {
            "id": str(outcome.drop_id),
            "state": outcome.state,
            "result": None if outcome.unfinished else outcome.result,
            "errors": list(outcome.errors) or None,
        }
        for outcome in ended
    ]
    updated = connection.execute(
        _FINISH,
        {"rows": msgspec.json.encode(rows).decode(), "claim_id": claim.claim_id, **ERRORS_OF},
    ).all()
    if len(updated) != len(rows):
        raise ClaimLostError(
            f"{len(rows) - len(updated)} of {len(rows)} drops are no longer held by run {claim.run_id}"
        )
    _insert_records(connection, ended)
    insert_rejects(connection, {drop.id: drop.flow for drop in claim.drops}, ended)
    release(connection, claim.run_id)
    _notify_finished(connection, [row.id for row in updated if row.state != "landed"])
    announce_change(connection, [row.id for row in updated if row.state == "landed"])


def _insert_records(connection: sa.Connection, outcomes: Sequence[DropOutcome]) -> None:
    rows = [
        {"drop_id": outcome.drop_id, "outcomes": pack(outcome.records)}
        for outcome in outcomes
        if outcome.records
    ]
    if rows:
        connection.execute(
            sa.text("""
                INSERT INTO ingestion.receipt_records (drop_id, outcomes) VALUES (:drop_id, :outcomes)
                ON CONFLICT (drop_id) DO UPDATE SET outcomes = excluded.outcomes
            """),
            rows,
        )


def release(connection: sa.Connection, run_id: str) -> None:
    """End the run's leases and dispatch, and tell whoever starts the next run that its lanes are free."""
    lanes = connection.execute(
        sa.delete(leases).where(leases.c.holder == run_id).returning(leases.c.flow, leases.c.lane)
    ).all()
    connection.execute(
        sa.update(dispatches)
        .where(dispatches.c.run_id == run_id, dispatches.c.state == "claimed")
        .values(state="finished", ended_at=sa.func.clock_timestamp())
    )
    announce(connection, [(lane.flow, lane.lane) for lane in lanes])


def _notify_finished(connection: sa.Connection, ids: Sequence[UUID]) -> None:
    """Tell the waiting front doors. A notification holds less than 8000 bytes, so 200 ids at a time."""
    for start in range(0, len(ids), 200):
        payload = ",".join(map(str, ids[start : start + 200]))
        connection.execute(sa.select(sa.func.pg_notify(FINISHED_CHANNEL, payload)))


def give_back(
    connection: sa.Connection,
    claim_id: str,
    *,
    error: dict[str, Any],
    transient: bool,
    delay_s: float,
    max_attempts: int,
    pause_s: float = 0.0,
    alone: bool = False,
) -> int:
    """Return the drops of a claim that was not finished; the last attempt makes them `failed`. Gives their number.

    `alone`: they were too much together, so each is taken alone the next time; one that already was is `failed`.

    `transient` errors are nobody's fault and do not count as an attempt. The first time they may be taken again at
    once, then after `delay_s`, 3, 7, 15… times that, up to a minute; in any case not within `pause_s`. A failed drop is kept
    whole as a reject of kind `payload`; one that was to be paused or cancelled is now. The lanes stay held: `release` frees them.
    """
    rows = connection.execute(
        sa.text(f"""
            UPDATE ingestion.drops SET
                attempts = CASE WHEN :alone THEN GREATEST(attempts + :counted, :isolate_from) ELSE attempts + :counted END,
                deferrals = deferrals + 1,
                state = CASE WHEN ended.for_good THEN 'failed' ELSE {STATE_BACK} END,
                wanted = CASE WHEN wanted = 'cancel' OR NOT ended.for_good THEN wanted END,
                finished_at = CASE WHEN ended.for_good OR wanted = 'cancel' THEN clock_timestamp() END,
                not_before = clock_timestamp()
                    + make_interval(secs => GREATEST(:pause_s, LEAST(60, :delay_s * (2 ^ LEAST(deferrals, 10) - 1)))),
                claim = NULL,
                errors = CAST(CASE WHEN wanted = 'cancel' THEN :cancelled ELSE :errors END AS jsonb)
            FROM (
                SELECT id AS drop_id, attempts + :counted >= :max_attempts OR :alone AND attempts >= :isolate_from AS for_good
                FROM ingestion.drops WHERE claim = :claim_id AND state = 'claimed'
            ) ended
            WHERE id = ended.drop_id AND claim = :claim_id AND state = 'claimed'
            RETURNING id, flow, state, wanted
        """),
        {
            "claim_id": claim_id,
            "counted": 0 if transient else 1,
            "delay_s": delay_s,
            "pause_s": pause_s,
            "max_attempts": max_attempts,
            "alone": alone,
            "isolate_from": ISOLATE_FROM_ATTEMPT,
            "errors": msgspec.json.encode([error]).decode(),
            **ERRORS_OF,
        },
    ).all()
    faulty = {row.id: row.flow for row in rows if row.state == "failed" and row.wanted is None}
    end_as_rejects(connection, faulty, error)
    _notify_finished(connection, [row.id for row in rows if row.wanted is not None])
    return len(rows)


def end_as_rejects(connection: sa.Connection, failed: Mapping[UUID, str], error: dict[str, Any]) -> None:
    """Keep failed drops (with their flows) as rejects of kind `payload`, and tell those who wait for them."""
    insert_rejects(connection, failed, [_payload_reject(drop_id, error) for drop_id in failed])
    _notify_finished(connection, list(failed))


def _payload_reject(drop_id: UUID, error: dict[str, Any]) -> DropOutcome:
    reason = str(error.get("reason", "the run failed"))
    return DropOutcome(drop_id, {}, rejects=[Reject(-1, "payload", str(error.get("code")), reason, b"")])
