"""How a claim ends: with an outcome for each of its drops, or by giving back what was not finished.

Both hold only while the claim is still this run's. What a run's end does not decide (pauses, holding, redriving) has modules
of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa

from ingestion_assets.landing.channels import announce_change, announce_finished
from ingestion_assets.landing.claims import ISOLATE_FROM_ATTEMPT, Claim, ClaimLostError
from ingestion_assets.landing.drop_outcomes import DropOutcome, Reject
from ingestion_assets.landing.leases import release
from ingestion_assets.landing.record_outcomes import pack
from ingestion_assets.landing.rejects import insert_rejects
from ingestion_assets.landing.wanted import ERRORS_BACK, ERRORS_OF, STATE_BACK

UNFINISHED_AGAIN_S = 1.0
MOST_NOT_COUNTED = 20
"""How often a payload whose runs are lost may go back uncounted because they came on: one that kills each of them ends all the same."""

_CAME_ON = "EXISTS (SELECT FROM ingestion.progress WHERE drop_id = drops.id AND at >= drops.claimed_at)"
"""SQL: whether the run that holds the drop has told of progress with it."""
_AGAIN_S = "LEAST(60, :delay_s * (2 ^ LEAST(deferrals, 10) - 1))"
"""SQL: seconds before a drop that goes back may be taken again: none, then once, 3, 7, 15… times the delay, up to a minute."""
_GOES_BACK = "(outcome.state = 'landed' OR outcome.state = 'held' AND drops.wanted = 'cancel')"
_FINISH = sa.text(f"""
    UPDATE ingestion.drops SET
        state = CASE WHEN {_GOES_BACK} THEN {STATE_BACK} ELSE outcome.state END,
        wanted = CASE WHEN {_GOES_BACK} THEN wanted END,
        claim = CASE WHEN {_GOES_BACK} THEN NULL ELSE claim END,
        attempts = CASE WHEN {_GOES_BACK} THEN 0 ELSE attempts END,
        deferrals = CASE WHEN NOT {_GOES_BACK} THEN deferrals WHEN {_CAME_ON} THEN 0 ELSE deferrals + 1 END,
        not_before = CASE WHEN {_GOES_BACK} AND NOT {_CAME_ON}
                     THEN clock_timestamp() + make_interval(secs => {_AGAIN_S}) END,
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

    Those that are unfinished go back with all their attempts, unless somebody wants them to pause or be cancelled. One that the run told
    of progress with is taken again at once; any other too, the first time, then ever later: a flow that never comes on would
    run without a pause. Drops of a rebuild that were done before keep the receipt they gave. Raises `ClaimLostError`, and then writes nothing.
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
        {
            "rows": msgspec.json.encode(rows).decode(),
            "claim_id": claim.claim_id,
            "delay_s": UNFINISHED_AGAIN_S,
            **ERRORS_OF,
        },
    ).all()
    if len(updated) != len(rows):
        raise ClaimLostError(
            f"{len(rows) - len(updated)} of {len(rows)} drops are no longer held by run {claim.run_id}"
        )
    _insert_records(connection, ended)
    insert_rejects(connection, {drop.id: drop.flow for drop in claim.drops}, ended)
    release(connection, claim.run_id)
    announce_finished(connection, [row.id for row in updated if row.state != "landed"])
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

    `transient` errors are nobody's fault and do not count as an attempt; nor does a run that told of progress with the only drop it
    held, `MOST_NOT_COUNTED` times at most. The first time they may be taken again at
    once, then after `delay_s`, 3, 7, 15… times that, up to a minute; in any case not within `pause_s`. While a run worked on them
    they did not wait: they count as queued that much later. A failed drop is kept whole as a reject of kind `payload`; one that was to be paused or cancelled is now. The lanes stay held: `release` frees them.
    """
    rows = connection.execute(
        sa.text(f"""
            UPDATE ingestion.drops SET
                attempts = CASE WHEN :alone THEN GREATEST(attempts + ended.counted, :isolate_from) ELSE attempts + ended.counted END,
                deferrals = deferrals + 1,
                state = CASE WHEN ended.for_good THEN 'failed' ELSE {STATE_BACK} END,
                wanted = CASE WHEN wanted = 'cancel' OR NOT ended.for_good THEN wanted END,
                finished_at = CASE WHEN ended.for_good OR wanted = 'cancel' THEN clock_timestamp() END,
                not_before = clock_timestamp()
                    + make_interval(secs => GREATEST(:pause_s, {_AGAIN_S})),
                queued_at = coalesce(queued_at, received_at) + (clock_timestamp() - claimed_at),
                claim = NULL,
                errors = CAST(CASE WHEN wanted = 'cancel' THEN :cancelled ELSE :errors END AS jsonb)
            FROM (
                SELECT drop_id, counted, attempts + counted >= :max_attempts OR :alone AND attempts >= :isolate_from AS for_good
                FROM (
                    SELECT id AS drop_id, attempts,
                           CASE WHEN count(*) OVER () = 1 AND deferrals < :most_not_counted AND {_CAME_ON} THEN 0
                           ELSE CAST(:counted AS int) END AS counted
                    FROM ingestion.drops WHERE claim = :claim_id AND state = 'claimed'
                ) held
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
            "most_not_counted": MOST_NOT_COUNTED,
            "errors": msgspec.json.encode([error]).decode(),
            **ERRORS_OF,
        },
    ).all()
    faulty = {row.id: row.flow for row in rows if row.state == "failed" and row.wanted is None}
    end_as_rejects(connection, faulty, error)
    announce_finished(connection, [row.id for row in rows if row.wanted is not None])
    return len(rows)


def end_as_rejects(connection: sa.Connection, failed: Mapping[UUID, str], error: dict[str, Any]) -> None:
    """Keep failed drops (with their flows) as rejects of kind `payload`, and tell those who wait for them."""
    insert_rejects(connection, failed, [_payload_reject(drop_id, error) for drop_id in failed])
    announce_finished(connection, list(failed))


def _payload_reject(drop_id: UUID, error: dict[str, Any]) -> DropOutcome:
    reason = str(error.get("reason", "the run failed"))
    return DropOutcome(drop_id, {}, rejects=[Reject(-1, "payload", str(error.get("code")), reason, b"")])


_END_WAITING = sa.text("""
    UPDATE ingestion.drops SET state = 'done', finished_at = clock_timestamp(), result = CAST(:result AS jsonb), errors = NULL, wanted = NULL
    WHERE id = :id AND state IN ('landed', 'held') RETURNING id
""")


def end_waiting(connection: sa.Connection, drop_id: UUID, result: Mapping[str, Any]) -> bool:
    """End a payload that no run works on, paused or not, with its flow's word on it. False where it is not waiting any more."""
    values = {"id": drop_id, "result": msgspec.json.encode(result).decode()}
    ended = connection.execute(_END_WAITING, values).one_or_none()
    announce_finished(connection, [drop_id] if ended else [])
    return ended is not None
