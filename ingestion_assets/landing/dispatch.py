"""The one decision on starting runs, shared by the front door's wake and the sensor.

A run is started for a lane iff the lane has landed drops whose time has come, no run holds the lane, and no run that
was asked for is still to claim them. A lane rests for a while after each start, as every run costs disk, unless somebody
waits for what is in it or much has gathered. Of a flow that allows only so many runs at once no more are asked for; the others
wait in the ledger, where what is urgent can still overtake. A lane whose runs end one after the other before they claim anything, for
whatever reason, gets its next one ever later. `lanes_to_dispatch` decides; the ledger's unique index on pending dispatches
makes the decision hold when several processes take it at once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from uuid import UUID

import sqlalchemy as sa
import uuid_utils.compat
from sqlalchemy.dialects.postgresql import insert

from ingestion_assets.landing.drops import PRIORITY, Lane
from ingestion_assets.landing.flows import PRIORITY_STEP, Flow, Runs
from ingestion_assets.landing.partition_keys import keys_of
from ingestion_assets.landing.run_tags import DISPATCH_TAG, FLOW_TAG, LANE_TAG, PARTITION_TAG
from ingestion_assets.landing.tables import dispatches

IN_VAIN_AT_ONCE = 3
IN_VAIN_FIRST_S = 5.0
IN_VAIN_LONGEST_S = 300.0
GATHERED_DROPS = 100  # or so many bytes: more than a run's start costs, so that a lane under load never rests
GATHERED_BYTES = 2**20
DISPATCHED_FIRST = 1000  # added to a flow's priority: dispatched runs go before backfills in Dagster's queue

_NO_RUNS: Mapping[str, Runs] = MappingProxyType({})
_NO_BOUND: Mapping[str, int] = MappingProxyType({})
_NO_PRIORITIES: Mapping[Lane, int] = MappingProxyType({})
_NO_FLOWS: Mapping[str, Flow] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class LaneState:
    """A lane with landed drops whose time has come."""

    lane: Lane
    oldest: datetime
    leased: bool
    pending: bool
    in_vain: int = 0
    """How many of its newest runs, one after the other, were lost before they claimed anything; ten at most are counted."""
    in_vain_s: float = 0.0
    """Seconds since the last of those was lost."""
    rest_s: float = 0.0
    """Seconds until its rest is over: none where much has gathered, or where what is oldest was in a run before."""
    priority: int = 0
    """What the oldest has of its own."""
    waited_s: float = 0.0
    """For how many seconds the oldest has waited, without what runs worked on it."""

    @property
    def paused_s(self) -> float:
        """Seconds until a run may follow those in vain: none after two, then 5, 10, 20… up to five minutes after the last."""
        if self.in_vain < IN_VAIN_AT_ONCE:
            return 0.0
        pause_s = min(IN_VAIN_LONGEST_S, IN_VAIN_FIRST_S * 2 ** (self.in_vain - IN_VAIN_AT_ONCE))
        return max(0.0, pause_s - self.in_vain_s)

    def rank(self, runs: Runs | None) -> int:
        """Its priority: what its flow says, what the oldest has of its own, and what that has gained by waiting."""
        if runs is None:
            return self.priority
        aged = int(self.waited_s // runs.aging_s()) if runs.aging_s is not None else 0
        return runs.priority + self.priority + aged * PRIORITY_STEP

    def due_in_s(self, *, waited_for: bool = False) -> float:
        """Seconds until its next run may be asked for, at the earliest. `waited_for`: somebody waits for what is in it."""
        return max(self.paused_s, 0.0 if waited_for else self.rest_s)


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A run that is asked for. It claims the lane when it starts."""

    id: UUID
    lane: Lane
    priority: int = 0
    named: str | None = None
    """What its partition is called in Dagster, where that is not what it is called in the ledger."""

    @property
    def key(self) -> str:
        """Its partition in Dagster."""
        return self.named or self.lane.partition

    def tags(self) -> dict[str, str]:
        """Run tags. The ledger re-dispatches lost runs, so Dagster's own retries stay off."""
        return {
            FLOW_TAG: self.lane.flow,
            LANE_TAG: self.lane.name,
            DISPATCH_TAG: str(self.id),
            PARTITION_TAG: self.key,
            "dagster/max_retries": "0",
            "dagster/priority": str(DISPATCHED_FIRST + self.priority),
        }


def lanes_to_dispatch(
    states: Collection[LaneState],
    *,
    at_most: int,
    waited_for: Collection[tuple[str, str | None]] = (),
    runs: Mapping[str, Runs] = _NO_RUNS,
    room: Mapping[str, int] = _NO_BOUND,
) -> list[Lane]:
    """The lanes that need a run, by priority, then longest waiting first.

    `waited_for`: flow and name of those that do not rest; `runs`: what flows say of theirs; `room`: how many more of a
    flow may go on, where that is bounded.
    """
    waiting = [
        state
        for state in states
        if not state.leased
        and not state.pending
        and not state.due_in_s(waited_for=(state.lane.flow, state.lane.name) in waited_for)
    ]
    left = dict(room)
    chosen: list[Lane] = []
    for state in sorted(
        waiting, key=lambda state: (-state.rank(runs.get(state.lane.flow)), state.oldest, state.lane)
    ):
        flow = state.lane.flow
        if flow in left:
            if left[flow] <= 0:
                continue
            left[flow] -= 1
        chosen.append(state.lane)
    return chosen[:at_most]


_BUSY = sa.text("""
    SELECT flow, count(*) AS runs FROM (
        SELECT flow, holder AS run FROM ingestion.leases
        WHERE flow = ANY(:flows) AND expires_at > clock_timestamp() GROUP BY flow, holder
        UNION ALL SELECT flow, id::text FROM ingestion.dispatches WHERE flow = ANY(:flows) AND state = 'pending'
    ) run GROUP BY flow
""")


def room(connection: sa.Connection, runs: Mapping[str, Runs]) -> dict[str, int]:
    """How many more runs may go on, of those of these flows that allow only so many at once. Reads nothing where none does."""
    bounds = {flow: bound for flow, one in runs.items() if (bound := one.bound()) is not None}
    if not bounds:
        return {}
    busy = {row.flow: row.runs for row in connection.execute(_BUSY, {"flows": list(bounds)})}
    return {flow: max(0, at_once - busy.get(flow, 0)) for flow, at_once in bounds.items()}


# From lane to lane by the index, then the oldest of each: a long backlog costs no more to look at than a short one.
_ALL_LANES = """
    SELECT flow, lane FROM (
        WITH RECURSIVE lanes AS (
            (SELECT flow, lane FROM ingestion.drops
             WHERE state = 'landed' AND flow = ANY(:flows) ORDER BY flow, lane LIMIT 1)
            UNION ALL
            SELECT next.flow, next.lane FROM lanes CROSS JOIN LATERAL (
                SELECT flow, lane FROM ingestion.drops
                WHERE state = 'landed' AND flow = ANY(:flows) AND (flow, lane) > (lanes.flow, lanes.lane)
                ORDER BY flow, lane LIMIT 1
            ) next
        ) SELECT flow, lane FROM lanes
    ) every
"""
_NAMED_LANES = "SELECT flow, lane FROM unnest(CAST(:flows AS text[])) flow CROSS JOIN unnest(CAST(:lanes AS text[])) lane"
_STATES = """
    SELECT l.flow, oldest.partition, l.lane, oldest.received_at AS oldest,
           EXISTS (SELECT FROM ingestion.leases lease
                   WHERE lease.flow = l.flow AND lease.lane = l.lane
                     AND lease.expires_at > clock_timestamp()) AS leased,
           EXISTS (SELECT FROM ingestion.dispatches d
                   WHERE d.flow = l.flow AND d.lane = l.lane AND d.state = 'pending') AS pending,
           vain.in_vain, vain.in_vain_s, coalesce(resting.rest_s, 0)::float8 AS rest_s, oldest.priority, oldest.waited_s
    FROM ({lanes}) l CROSS JOIN LATERAL (
        SELECT partition, received_at, claimed_at, coalesce((attributes ->> '{priority}')::int, 0) AS priority,
               greatest(0, extract(epoch FROM clock_timestamp() - coalesce(queued_at, received_at)))::float8 AS waited_s
        FROM ingestion.drops
        WHERE state = 'landed' AND flow = l.flow AND lane = l.lane
          AND (not_before IS NULL OR not_before <= clock_timestamp())
        ORDER BY id LIMIT 1
    ) oldest CROSS JOIN LATERAL (
        SELECT count(*) AS in_vain,
               coalesce(extract(epoch FROM clock_timestamp() - max(ended_at)), 0)::float8 AS in_vain_s
        FROM (
            SELECT ended_at, bool_and(state = 'lost' AND run_id IS NULL) OVER (ORDER BY requested_at DESC) AS in_vain
            FROM (SELECT requested_at, state, run_id, ended_at FROM ingestion.dispatches d
                  WHERE d.flow = l.flow AND d.lane = l.lane
                  ORDER BY requested_at DESC LIMIT 10) newest
        ) run WHERE run.in_vain
    ) vain LEFT JOIN LATERAL (
        SELECT rest_s FROM (
            SELECT :rest_s - extract(epoch FROM clock_timestamp() - requested_at) AS rest_s FROM ingestion.dispatches d
            WHERE d.flow = l.flow AND d.lane = l.lane AND d.state = 'finished'
              AND d.requested_at > clock_timestamp() - make_interval(secs => :rest_s)
            ORDER BY requested_at DESC LIMIT 1
        ) newest WHERE rest_s > 0 AND oldest.claimed_at IS NULL AND NOT (
            SELECT count(*) >= {drops} OR coalesce(sum(size_bytes), 0) >= {bytes} FROM (
                SELECT size_bytes FROM ingestion.drops
                WHERE state = 'landed' AND flow = l.flow AND lane = l.lane ORDER BY id LIMIT {drops}
            ) gathered
        )
    ) resting ON true
"""
_MUCH = {"drops": GATHERED_DROPS, "bytes": GATHERED_BYTES, "priority": PRIORITY}
STATES_OF_ALL_LANES = sa.text(_STATES.format(lanes=_ALL_LANES, **_MUCH))
STATES_OF_NAMED_LANES = sa.text(_STATES.format(lanes=_NAMED_LANES, **_MUCH))


def lane_states(
    connection: sa.Connection,
    *,
    flows: Sequence[str],
    lanes: Sequence[str] | None = None,
    rest_s: float = 0.0,
) -> list[LaneState]:
    """Lanes with work, all or the named ones, that rest for `rest_s` after the start of a run. Reads the oldest drop of each,
    and some of those that rest."""
    values = {"flows": list(flows), "rest_s": rest_s}
    rows = (
        connection.execute(STATES_OF_ALL_LANES, values)
        if lanes is None
        else connection.execute(STATES_OF_NAMED_LANES, {**values, "lanes": list(lanes)})
    )
    return [
        LaneState(
            Lane(row.flow, row.partition, row.lane),
            row.oldest,
            row.leased,
            row.pending,
            row.in_vain,
            row.in_vain_s,
            row.rest_s,
            row.priority,
            row.waited_s,
        )
        for row in rows
    ]


def priorities(states: Collection[LaneState], runs: Mapping[str, Runs]) -> dict[Lane, int]:
    """What goes first in Dagster's queue, too."""
    return {state.lane: state.rank(runs.get(state.lane.flow)) for state in states}


def request(
    connection: sa.Connection,
    lanes: Sequence[Lane],
    priorities: Mapping[Lane, int] = _NO_PRIORITIES,
    flows: Mapping[str, Flow] = _NO_FLOWS,
) -> list[Dispatch]:
    """Write down that runs are being asked for; lanes that somebody else just asked for are left out. `flows` say what their
    partitions are called in Dagster."""
    keys = {
        name: keys_of(connection, flows.get(name), {lane.partition for lane in lanes if lane.flow == name})
        for name in {lane.flow for lane in lanes}
    }
    dispatched = []
    for lane in lanes:
        key = keys[lane.flow][lane.partition]
        dispatch = Dispatch(
            uuid_utils.compat.uuid7(),
            lane,
            priorities.get(lane, 0),
            named=None if key == lane.partition else key,
        )
        inserted = connection.execute(
            insert(dispatches)
            .values(id=dispatch.id, flow=lane.flow, lane=lane.name, partition=lane.partition, state="pending")
            .on_conflict_do_nothing()
            .returning(dispatches.c.id)
        ).one_or_none()
        if inserted is not None:
            dispatched.append(dispatch)
    return dispatched
