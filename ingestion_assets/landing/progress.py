"""How far a run is with a payload: the newest state of each in `ingestion.progress`, told to whoever listens.

What a state holds is the flow's; it is a hint for people and never read back by a run, whose own durable work is what counts.
"""

import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.landing.channels import PROGRESS
from ingestion_assets.stores.error_text import text_of
from ingestion_assets.stores.storable_text import storable_json

EVERY_S = 0.5
MOST_BYTES = 16 * 1024

# Only the run that holds the payload says how far it is.
_NOTE = sa.text(f"""
    WITH noted AS (
        INSERT INTO ingestion.progress AS known (drop_id, number, at, state)
        SELECT id, 1, clock_timestamp(), CAST(:state AS jsonb) FROM ingestion.drops
        WHERE id = :drop_id AND state = 'claimed' AND claim = :claim_id
        ON CONFLICT (drop_id) DO UPDATE SET number = known.number + 1, at = excluded.at, state = excluded.state
        RETURNING drop_id
    ) SELECT pg_notify('{PROGRESS}', drop_id::text) FROM noted
""")

log = structlog.get_logger(__name__)


def note_progress(connection: sa.Connection, claim_id: str, states: Mapping[UUID, bytes]) -> None:
    """Write the states (JSON) of payloads of a claim; of those that the claim lost, nothing."""
    for drop_id in sorted(states):
        values = {"drop_id": drop_id, "claim_id": claim_id, "state": states[drop_id].decode()}
        connection.execute(_NOTE, values)


class ProgressWriter:
    """Writes how far a claim is, each payload at most every `every_s` seconds; the last state of a burst is never left out.

    A ledger that does not take it holds up nobody: that is logged, and the next state is written.
    """

    def __init__(self, engine: sa.Engine, claim_id: str, *, every_s: float = EVERY_S) -> None:
        self._engine = engine
        self._claim_id = claim_id
        self._every_s = every_s
        self._lock = threading.Lock()
        self._pending: dict[UUID, bytes] = {}
        self._next = 0.0
        self._timer: threading.Timer | None = None

    def note(self, drop_id: UUID, state: Mapping[str, Any]) -> None:
        """The payload has come so far. Raises `ValueError` for a state of more than 16 KiB of JSON."""
        encoded = msgspec.json.encode(storable_json(state))
        if len(encoded) > MOST_BYTES:
            raise ValueError(f"a state of {len(encoded):,} bytes is too large: progress is a summary")
        with self._lock:
            self._pending[drop_id] = encoded
            early = self._next - time.monotonic()
            if early > 0:
                if self._timer is None:
                    self._timer = threading.Timer(early, self.flush)
                    self._timer.daemon = True
                    self._timer.start()
                return
        self.flush()

    def flush(self) -> None:
        """Write what is not written yet."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            states, self._pending = self._pending, {}
            if not states:
                return
            self._next = time.monotonic() + self._every_s
            try:
                with self._engine.begin() as connection:
                    note_progress(connection, self._claim_id, states)
            except SQLAlchemyError as error:
                log.warning("progress_not_written", claim=self._claim_id, error=text_of(error))
