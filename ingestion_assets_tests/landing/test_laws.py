"""Landing storage and ledger under any order of what can happen to them; after each step the laws hold.

Set `INGESTION_LONG_TESTS=1` for a long search.
"""

import os
import random
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import hypothesis
import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingestion_assets.landing import claims, finishing, late_segments, leases, registration, rejects
from ingestion_assets.landing.clock import LedgerClock
from ingestion_assets.landing.drop_outcomes import DropOutcome, RecordOutcome
from ingestion_assets.landing.drops import Lane, NewDrop
from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.landing.redriving import take_again
from ingestion_assets.landing.segments import encode, pack
from ingestion_assets.landing.storage import segment_path

LONG = bool(os.environ.get("INGESTION_LONG_TESTS"))
LANES = [Lane("notes", "2026-01-31", name) for name in ("a", "b")]
MAX_ATTEMPTS = 3
TABLES = ("drops", "leases", "dispatches", "landing_watermark", "retired_segments", "unreadable_segments")

which = st.randoms(use_true_random=False)


class Acknowledged(msgspec.Struct):
    """A payload that a client was told is accepted."""

    segment: str
    body: bytes
    lane: str
    key: str | None
    redrives: int = 0


class LandingAndLedger(RuleBasedStateMachine):
    """Two front doors, each with a wall clock of its own; one landing storage; one ledger; runs that claim and end."""

    engine: sa.Engine

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.storage = LocalStorage(Path(self.folder.name) / "landing")
        self.off = [0.0, 0.0]
        self.doors = [self.started_door(number) for number in range(2)]
        self.sweep = late_segments.Sweep(self.storage)
        self.acknowledged: dict[UUID, Acknowledged] = {}
        self.written: dict[str, bytes] = {}
        self.damaged: set[str] = set()
        self.registered: list[
            str
        ] = []  # segments whose payloads have rows, in the order in which they got them
        self.claims: dict[str, claims.Claim] = {}
        self.finished: dict[UUID, int] = {}
        self.last: UUID | None = None
        self.runs = 0
        with self.engine.begin() as connection:
            for table in TABLES:  # not TRUNCATE, which waits for whoever reads one, autovacuum too
                connection.execute(sa.text(f"DELETE FROM ingestion.{table}"))

    def teardown(self) -> None:
        self.folder.cleanup()

    def started_door(self, number: int) -> LedgerClock:
        clock = LedgerClock(self.engine, wall=lambda: time.time() + self.off[number])
        clock.sample()
        return clock

    # What can happen

    @rule(
        door=st.integers(0, 1), bodies=st.lists(st.binary(max_size=40), min_size=1, max_size=3),
        key=st.none() | st.sampled_from(["k", "l"]), lane=st.sampled_from(LANES), row=st.booleans(),
    )  # fmt: skip
    def accept(self, door: int, bodies: list[bytes], key: str | None, lane: Lane, *, row: bool) -> None:
        """A group is durable and acknowledged; its rows follow at once, or not before somebody looks for them."""
        clock = self.doors[door]
        made = [
            pack(
                NewDrop(
                    flow=lane.flow, partition=lane.partition, lane=lane.name, principal="test", body=body, records=1,
                    idempotency_key=key,
                ),
                drop_id=clock.new_id(), received_at=clock.now(),
            )
            for body in bodies
        ]  # fmt: skip
        path = segment_path(clock.new_id(), clock.now())
        data, entries = encode(made, path)
        self.storage.write(path, data)
        clock.wait_past_ids()
        self.written[path] = data
        ids = [one.header.id for one in made]
        assert self.last is None or min(ids) > self.last, "what is sent after an answer is later"
        self.last = max(ids)
        for one in made:
            self.acknowledged[one.header.id] = Acknowledged(path, one.body, lane.name, key)
        if row:
            with self.engine.begin() as connection:
                registration.register(connection, [registration.Landed(path, entry) for entry in entries])
            self.registered.append(path)

    @rule(door=st.integers(0, 1), seconds=st.sampled_from([-1e7, -3600.0, 0.0, 60.0, 3600.0, 1e8]))
    def clock_jumps(self, door: int, seconds: float) -> None:
        self.off[door] = seconds

    @rule(door=st.integers(0, 1))
    def door_restarts(self, door: int) -> None:
        self.doors[door] = self.started_door(door)

    @rule(sweeps=st.booleans())
    def look(self, *, sweeps: bool) -> None:
        """As the sensor does; afterwards each payload has its row, or lies in a segment that is known to be unreadable."""
        without = {path for path in self.written if not self.has_rows(path)}
        found = late_segments.register_late(self.engine, self.storage, sweep=self.sweep if sweeps else None)
        self.registered += sorted(path for path in without if self.has_rows(path))
        listed = self.listed()
        assert set(found.unreadable) <= listed
        rows = self.rows()
        for drop_id, one in self.acknowledged.items():
            assert drop_id in rows or one.segment in listed, f"{drop_id} is lost"

    @precondition(lambda self: self.written)
    @rule(chosen=which)
    def damage(self, chosen: random.Random) -> None:
        """A byte changes or the end is cut off, before there are rows."""
        path = chosen.choice(sorted(self.written))
        data = self.written[path]
        file = self.storage.root / path
        if self.has_rows(path):
            return
        self.damaged.add(path)
        if chosen.random() < 0.5:
            file.write_bytes(data[: chosen.randrange(len(data))])
        else:
            at = chosen.randrange(len(data))
            file.write_bytes(data[:at] + bytes([data[at] ^ chosen.randint(1, 255)]) + data[at + 1 :])

    @precondition(lambda self: self.damaged)
    @rule(chosen=which)
    def restore(self, chosen: random.Random) -> None:
        path = chosen.choice(sorted(self.damaged))
        file = self.storage.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.written[path])
        self.damaged.discard(path)

    @precondition(lambda self: self.registered)
    @rule()
    def ledger_crashes(self) -> None:
        """Rows are committed without waiting for the disk: the last ones may be lost, unless a run has claimed them."""
        path = self.registered[-1]
        lost = sa.text("""
            DELETE FROM ingestion.drops WHERE segment = :path AND NOT EXISTS (
                SELECT FROM ingestion.drops WHERE segment = :path AND NOT attributes ? 'alias_of'
                  AND (state <> 'landed' OR deferrals > 0 OR queued_at IS NOT NULL))
        """)
        with self.engine.begin() as connection:
            if connection.execute(lost, {"path": path}).rowcount:
                self.registered.pop()

    @rule(lane=st.sampled_from(LANES))
    def claim(self, lane: Lane) -> None:
        self.runs += 1
        run = f"run {self.runs}"
        with self.engine.connect() as connection, connection.begin() as transaction:
            try:
                claim = claims.claim_landed(
                    connection, lane, claim_id=run, run_id=run, dispatch_id=None, max_bytes=60, lease_s=1000
                )
            except leases.LaneBusyError:
                transaction.rollback()
                assert any(lane in other.lanes for other in self.claims.values()), "nobody holds the lane"
                return
        assert not any(lane in other.lanes for other in self.claims.values()), "two runs hold one lane"
        self.claims[run] = claim

    @precondition(lambda self: self.claims)
    @rule(chosen=which)
    def join(self, chosen: random.Random) -> None:
        """A run at work takes what has landed meanwhile, too."""
        claim = self.claims[chosen.choice(sorted(self.claims))]
        with self.engine.begin() as connection:
            joined = claims.join_landed(connection, claim, from_drops=1, from_bytes=1, max_bytes=60)
        claim.add(joined)
        assert {ref.lane for ref in joined} <= {claim.lanes[0].name}

    @precondition(lambda self: self.claims)
    @rule(chosen=which)
    def finish(self, chosen: random.Random) -> None:
        """A run reads what it claimed and ends it; what it cannot read fails."""
        claim = self.claims.pop(chosen.choice(sorted(self.claims)))
        outcomes = []
        for ref in claim.drops:
            (drop,) = claims.load(self.storage, [ref])
            assert drop.body == self.acknowledged[ref.id].body
            outcomes.append(DropOutcome(ref.id, {}, [RecordOutcome("stored")]))
            self.finished[ref.id] = self.finished.get(ref.id, 0) + 1
        with self.engine.begin() as connection:
            finishing.finish(connection, claim, outcomes)

    @precondition(lambda self: self.claims)
    @rule(chosen=which, transient=st.booleans())
    def give_back(self, chosen: random.Random, *, transient: bool) -> None:
        """A run fails or is lost. Its late word counts for nothing then."""
        claim = self.claims.pop(chosen.choice(sorted(self.claims)))
        with self.engine.begin() as connection:
            finishing.give_back(
                connection, claim.claim_id, error={"code": "odd", "reason": "odd"}, transient=transient, delay_s=0,
                max_attempts=MAX_ATTEMPTS,
            )  # fmt: skip
            leases.release(connection, claim.run_id)
        if claim.drops:
            outcomes = [DropOutcome(ref.id, {}) for ref in claim.drops]
            with pytest.raises(claims.ClaimLostError), self.engine.begin() as connection:
                finishing.finish(connection, claim, outcomes)

    @rule()
    def redrive(self) -> None:
        """What failed as a whole is sent on its way again."""
        with self.engine.connect() as connection:
            failed = rejects.list_rejects(connection, kind="payload", open_only=True).items
        for reject in failed:
            take_again(self.engine, reject)

    # What holds after each step

    @invariant()
    def nothing_is_lost_or_doubled(self) -> None:
        rows = self.rows()
        assert rows.keys() <= self.acknowledged.keys(), "a payload that nobody was told of"
        assert all(number == 1 for number in self.finished.values()), "a payload was ended twice"
        for drop_id, one in self.acknowledged.items():
            row = rows.get(drop_id)
            if row is None:
                assert (self.storage.root / one.segment).exists()
                continue
            assert row["lane"] == one.lane
            if row["state"] == "done" and "alias_of" not in row["attributes"]:
                assert drop_id in self.finished
        for drop_id in self.finished:
            assert rows[drop_id]["state"] == "done"

    @invariant()
    def a_key_stands_for_one_payload(self) -> None:
        keyed = [(row["idempotency_key"]) for row in self.rows().values() if row["idempotency_key"]]
        assert len(keyed) == len(set(keyed))
        rows = self.rows()
        for row in rows.values():
            if alias_of := row["attributes"].get("alias_of"):
                assert row["state"] == (
                    "done" if row["body_sha256"] == rows[UUID(alias_of)]["body_sha256"] else "failed"
                )

    @invariant()
    def what_is_claimed_is_held_by_a_run(self) -> None:
        held = {ref.id for claim in self.claims.values() for ref in claim.drops}
        claimed = {drop_id for drop_id, row in self.rows().items() if row["state"] == "claimed"}
        assert claimed == held

    def rows(self) -> dict[UUID, dict[str, Any]]:
        with self.engine.connect() as connection:
            found = connection.execute(
                sa.text(
                    "SELECT id, lane, state, attributes, idempotency_key, body_sha256 FROM ingestion.drops"
                )
            )
            return {row.id: dict(row._mapping) for row in found}

    def listed(self) -> set[str]:
        with self.engine.connect() as connection:
            return {row.path for row in late_segments.list_unreadable(connection)}

    def has_rows(self, path: str) -> bool:
        with self.engine.connect() as connection:
            return bool(
                connection.scalar(
                    sa.text("SELECT EXISTS (SELECT FROM ingestion.drops WHERE segment = :p)"), {"p": path}
                )
            )


def test_the_laws_hold_whatever_happens(engine: sa.Engine) -> None:
    LandingAndLedger.engine = engine
    hypothesis.stateful.run_state_machine_as_test(
        LandingAndLedger,
        settings=hypothesis.settings(
            max_examples=500 if LONG else 40, stateful_step_count=60 if LONG else 40, deadline=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        ),
    )  # fmt: skip
