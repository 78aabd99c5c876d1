"""What a person wants of a payload: that it pauses, goes on, or is cancelled.

Where no run works on it, that takes effect at once. A run that does finds it at its next safe point (`drops.wanted`), gives the
payload back unfinished, and the ledger then does what is wanted at that moment. What a run finished before stays finished.
"""

from typing import Literal
from uuid import UUID

import msgspec
import sqlalchemy as sa

from ingestion_assets.landing.channels import announce, announce_change, announce_finished

Wanted = Literal["pause", "cancel"]

CANCELLED = {"code": "cancelled", "reason": "it was cancelled on request"}
PAUSED = {"code": "paused", "reason": "it was paused on request; resume it to have it go on"}
ERRORS_OF = {
    "cancelled": msgspec.json.encode([CANCELLED]).decode(),
    "paused": msgspec.json.encode([PAUSED]).decode(),
}
"""Values of the parameters that the statements below have."""

STATE_BACK = "CASE drops.wanted WHEN 'cancel' THEN 'failed' WHEN 'pause' THEN 'held' ELSE 'landed' END"
"""SQL: the state of a claimed drop that goes back to the ledger."""
ERRORS_BACK = "CASE drops.wanted WHEN 'cancel' THEN CAST(:cancelled AS jsonb) WHEN 'pause' THEN CAST(:paused AS jsonb) END"
"""SQL: why it has that state; NULL where nothing was wanted."""

_PAUSE = sa.text("""
    UPDATE ingestion.drops SET wanted = 'pause',
        state = CASE state WHEN 'landed' THEN 'held' ELSE state END,
        errors = CASE state WHEN 'landed' THEN CAST(:paused AS jsonb) ELSE errors END
    WHERE id = :id AND (state = 'landed' OR state = 'claimed' AND wanted IS DISTINCT FROM 'cancel'
                        OR state = 'held' AND wanted = 'pause')
    RETURNING id
""").bindparams(paused=ERRORS_OF["paused"])
_CANCEL = sa.text("""
    UPDATE ingestion.drops SET wanted = 'cancel',
        state = CASE drops.state WHEN 'claimed' THEN drops.state ELSE 'failed' END,
        finished_at = CASE WHEN drops.state <> 'claimed' THEN coalesce(finished_at, clock_timestamp()) END,
        errors = CASE drops.state WHEN 'claimed' THEN errors ELSE CAST(:cancelled AS jsonb) END
    FROM (SELECT id, state FROM ingestion.drops WHERE id = :id FOR UPDATE) before
    WHERE drops.id = before.id
      AND (drops.state IN ('landed', 'claimed', 'held') OR drops.state = 'failed' AND wanted = 'cancel')
    RETURNING drops.state, before.state <> drops.state AS ended
""").bindparams(cancelled=ERRORS_OF["cancelled"])
_RESUME = sa.text("""
    UPDATE ingestion.drops SET wanted = NULL, not_before = NULL,
        state = CASE state WHEN 'held' THEN 'landed' ELSE state END,
        claim = CASE state WHEN 'held' THEN NULL ELSE claim END,
        errors = CASE state WHEN 'held' THEN NULL ELSE errors END,
        queued_at = CASE state WHEN 'held' THEN clock_timestamp() ELSE queued_at END
    WHERE id = :id AND (state IN ('held', 'claimed') AND wanted = 'pause' OR state = 'landed' AND NOT :paused_alone)
    RETURNING flow, lane, state
""")


def pause(connection: sa.Connection, drop_id: UUID) -> bool:
    """Hold a payload, at once or at its run's next safe point. False where it is over, or held by its flow."""
    paused = connection.execute(_PAUSE, {"id": drop_id}).one_or_none()
    announce_change(connection, [drop_id] if paused else [])
    return paused is not None


def cancel(connection: sa.Connection, drop_id: UUID) -> bool:
    """End a payload as failed, at once or at its run's next safe point. False where it was over before."""
    cancelled = connection.execute(_CANCEL, {"id": drop_id}).one_or_none()
    if cancelled is not None and cancelled.ended:
        announce_finished(connection, [drop_id])
    announce_change(connection, [drop_id] if cancelled else [])
    return cancelled is not None


def resume(connection: sa.Connection, drop_id: UUID) -> bool:
    """Have a payload go on that was paused, or that waits because its run was cancelled. False where there is no such wait."""
    return _resume(connection, drop_id, paused_alone=False)


def resume_paused(connection: sa.Connection, drop_id: UUID) -> bool:
    """The same of one that a person paused, and of no other."""
    return _resume(connection, drop_id, paused_alone=True)


def _resume(connection: sa.Connection, drop_id: UUID, *, paused_alone: bool) -> bool:
    resumed = connection.execute(_RESUME, {"id": drop_id, "paused_alone": paused_alone}).one_or_none()
    if resumed is None:
        return False
    if resumed.state == "landed":
        announce(connection, [(resumed.flow, resumed.lane)])
    announce_change(connection, [drop_id])
    return True
