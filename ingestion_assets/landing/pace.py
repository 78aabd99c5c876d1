"""How long a payload that is accepted now will wait for its run: what waits before it, at the pace of the last minutes' runs.

A run claims thousands of payloads at once, so the pace is not payloads over time: a flow that gets one a second ends one a
second, and takes a burst of five thousand with its next run all the same. What a run can do is seen in runs that had much to
do. The best of those that ended counts, or, where none did, of those at work, as if they ended now: too long a wait turns
payloads away, too short a one only leaves that to the age of the oldest. A run that is at one payload for hours says nothing of
others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import sqlalchemy as sa

EACH_BYTES = 16 * 1024  # what a payload costs by being one: its row, receipt and outcomes, as bytes of a body
FULL_RUN = 5000 * EACH_BYTES  # as many payloads as a run claims
TELLING = 0.1  # a run that had so much of what waits, or of what fills a run, tells of the pace
SHORTEST_S = 1.0
NO_BOUND: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Run:
    """What a run claimed (bytes, a payload's `EACH_BYTES` included), and for how long it was, or has been, at it."""

    work: float
    seconds: float
    ended: bool


def expected_wait_s(
    lanes: Sequence[float], runs: Sequence[Run], *, at_once: int | None = None
) -> float | None:
    """Seconds until what waits in the lanes, so much in each, is done; None if no run tells.

    Lanes are worked on side by side, `at_once` of them where that is bounded.
    """
    # What the average payload finds in its own lane, however many have next to nothing; or before it in all of them.
    own = sum(lane * lane for lane in lanes) / sum(lanes)
    work = own if at_once is None else max(own, sum(lanes) / at_once)
    for ended in (True, False):
        telling = TELLING * (min(own, FULL_RUN) if ended else FULL_RUN)
        paces = [
            run.work / max(run.seconds, SHORTEST_S)
            for run in runs
            if run.work >= telling and run.ended is ended
        ]
        if paces:
            return work / max(paces)
    return None


_WAITING = sa.text(f"""
    SELECT flow, lane, sum(size_bytes + {EACH_BYTES})::float8 AS work FROM ingestion.drops
    WHERE state = 'landed' AND flow = ANY(:flows) AND (not_before IS NULL OR not_before <= clock_timestamp())
    GROUP BY flow, lane
""")
_RUNS = sa.text(f"""
    SELECT flow, sum(size_bytes + {EACH_BYTES})::float8 AS work,
           EXTRACT(epoch FROM max(coalesce(finished_at, clock_timestamp())) - min(claimed_at))::float8 AS seconds,
           bool_and(state <> 'claimed') AS ended
    FROM ingestion.drops
    WHERE claimed_at IS NOT NULL AND claim IS NOT NULL AND flow = ANY(:flows)
      AND (state = 'claimed' OR finished_at > now() - interval '5 minutes')
    GROUP BY flow, claim
""")


def expected_waits(
    connection: sa.Connection, flows: Sequence[str], at_once: Mapping[str, int]
) -> Mapping[str, float]:
    """By flow, where a run tells; reads what is open, and what ended within five minutes."""
    waiting: dict[str, list[float]] = {}
    for row in connection.execute(_WAITING, {"flows": list(flows)}):
        waiting.setdefault(row.flow, []).append(row.work)
    runs: dict[str, list[Run]] = {}
    for row in connection.execute(_RUNS, {"flows": list(flows)}):
        runs.setdefault(row.flow, []).append(Run(row.work, row.seconds, row.ended))
    waits = {
        flow: expected_wait_s(lanes, runs.get(flow, ()), at_once=at_once.get(flow))
        for flow, lanes in waiting.items()
    }
    return {flow: seconds for flow, seconds in waits.items() if seconds is not None}
