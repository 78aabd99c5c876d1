"""The work: a payload `{"steps": 20, "step_s": 0.5}` is so many steps, each begun once unless a run is killed within it."""

import time
from typing import TYPE_CHECKING

import msgspec
import sqlalchemy as sa

from ingestion_assets.landing import claims
from ingestion_assets.landing.claims import DropRef
from ingestion_assets.landing.drop_outcomes import DropOutcome

if TYPE_CHECKING:
    from ingestion_assets.orchestration.claiming import Working

_TABLE = (
    "CREATE SCHEMA IF NOT EXISTS long_tests",
    """
    CREATE TABLE IF NOT EXISTS long_tests.begun (
        drop_id uuid, step int, run_id text, at timestamptz DEFAULT clock_timestamp(), done_at timestamptz,
        PRIMARY KEY (drop_id, step, run_id)
    )
    """,
)
_DONE = sa.text(
    "SELECT count(DISTINCT step) FROM long_tests.begun WHERE drop_id = :drop_id AND done_at IS NOT NULL"
)
_BEGIN = sa.text("INSERT INTO long_tests.begun (drop_id, step, run_id) VALUES (:drop_id, :step, :run_id)")
_END = sa.text("""
    UPDATE long_tests.begun SET done_at = clock_timestamp() WHERE drop_id = :drop_id AND step = :step AND run_id = :run_id
""")


class Payload(msgspec.Struct, forbid_unknown_fields=True):
    """What a client sends."""

    steps: int
    step_s: float = 1.0


class LongTestsWork:
    """Drop after drop, step after step, until a safe point says otherwise."""

    def __init__(self, run: "Working") -> None:
        self._run = run
        with run.engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext('long_tests'))"))
            for statement in _TABLE:
                connection.execute(sa.text(statement))
        self._outcomes: list[DropOutcome] | None = None

    def outcomes(self) -> list[DropOutcome]:
        if self._outcomes is None:
            self._outcomes = [self._work_on(drop) for drop in self._run.claim.drops]
        return self._outcomes

    def _work_on(self, drop: DropRef) -> DropOutcome:
        (landed,) = claims.load(self._run.storage, [drop])
        payload = msgspec.json.decode(landed.body, type=Payload)
        with self._run.engine.connect() as connection:
            done = connection.scalar(_DONE, {"drop_id": drop.id}) or 0
        for step in range(done, payload.steps):
            if self._run.safe_point(drop) != "continue":
                return DropOutcome(drop.id, {}, unfinished=True)
            values = {"drop_id": drop.id, "step": step, "run_id": self._run.claim.run_id}
            with self._run.engine.begin() as connection:
                connection.execute(_BEGIN, values)
            time.sleep(payload.step_s)
            with self._run.engine.begin() as connection:
                connection.execute(_END, values)
            self._run.progress(drop, {"step": step + 1, "of": payload.steps})
        return DropOutcome(drop.id, {"steps": payload.steps})
