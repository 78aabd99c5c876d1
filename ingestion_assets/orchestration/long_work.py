"""What a run that takes long asks and tells between two pieces of its work.

What it has done until then is durable by the flow's own tables, so a run that ends at a safe point, or is killed after it, costs
no more than the piece at hand: the next one goes on there.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import sqlalchemy as sa

from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.landing.progress import ProgressWriter
from ingestion_assets.landing.safe_points import wanted_of
from ingestion_assets.orchestration import heartbeats

SafePoint = Literal["continue", "pause", "cancel", "drain"]
SAID_AFTER_S, SAID_EVERY_S = 5.0, 60.0


class LongWork:
    """One run's view of what is wanted of it.

    `say` writes into the run's log: the first time `said_after_s` seconds after the start, so that short runs say nothing, then at
    ever longer intervals, a minute at most.
    """

    def __init__(
        self,
        engine: sa.Engine,
        claim: Claim,
        *,
        say: Callable[[str], object],
        said_after_s: float = SAID_AFTER_S,
    ) -> None:
        self._engine = engine
        self._claim = claim
        self._say = say
        self._progress = ProgressWriter(engine, claim.claim_id)
        self._pause_s = said_after_s
        self._say_at = time.monotonic() + said_after_s

    def safe_point(self, drop: DropRef) -> SafePoint:
        """Whether to go on with the drop. Anything but `continue` ends the work on it now: its outcome is `unfinished`.

        Costs two small queries: to be asked between pieces that take longer. Raises `ClaimLostError` where the drop, or the lane of
        a rebuild, was given to another run meanwhile, and what SQLAlchemy raises while the ledger is away.
        """
        with self._engine.connect() as connection:
            wanted = wanted_of(connection, self._claim, drop)
            if wanted is not None:
                return wanted
            draining = heartbeats.is_asked_to_stop(connection, run_id=self._claim.run_id)
        return "drain" if draining else "continue"

    def progress(self, drop: DropRef, state: Mapping[str, Any]) -> None:
        """Tell how far the drop is: its receipt and those who follow it show the newest state, the run's log one now and then."""
        self._progress.note(drop.id, state)
        if time.monotonic() >= self._say_at:
            self._pause_s = min(2 * self._pause_s, SAID_EVERY_S)
            self._say_at = time.monotonic() + self._pause_s
            self._say(f"Payload {drop.id}: {', '.join(f'{name} {value}' for name, value in state.items())}")

    def flush(self) -> None:
        """Write the progress that is not written yet."""
        self._progress.flush()
