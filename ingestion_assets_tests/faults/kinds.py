"""Kinds of faults beside kills and stops: clocks that jump, syncs that fail, segments that are damaged, writes that arrive late.

Each is a round of load of all flows, through several front doors where these are what is hurt. What a round finds by itself, beside
what the audit finds, is returned as sentences.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp

import httpx

from ingestion_assets_tests.faults.campaign import LONG, Campaign
from ingestion_assets_tests.faults.damage import damaged_round
from ingestion_assets_tests.faults.doors import Door, more_doors
from ingestion_assets_tests.faults.load import Senders, held_back, unwaiting
from ingestion_assets_tests.faults.stopping import worker_children
from ingestion_assets_tests.faults.targets import kill
from ingestion_assets_tests.servers import wait_until

HOURS = 3600.0
FARTHEST = 6 * HOURS
SPARE_S = 30.0
LATE = ("sessions", "projects")
"""Collections of which an update is held back in a round, one at a time."""


def clocks_jump(running: Campaign, payloads: int) -> list[str]:
    """Two more front doors, hours behind and ahead, whose clocks jump; in every other round PostgreSQL is killed meanwhile."""
    rng = running.rng
    with more_doors(running.stack, Path(mkdtemp(dir=running.stack.home)), count=2) as (behind, ahead):

        def hurt(senders: Senders) -> float:
            dies_at = time.monotonic() + rng.uniform(1, 4) if rng.random() < 1 / 2 else None
            while not senders.is_over:
                behind.clock_off_by(-rng.uniform(0, FARTHEST))
                ahead.clock_off_by(rng.uniform(0, FARTHEST))
                if dies_at is not None and time.monotonic() > dies_at:
                    kill("PostgreSQL", running.stack, senders, rng)
                    dies_at = None
                time.sleep(rng.uniform(0.3, 1.5))  # until the next jump, not a wait
            return time.monotonic()

        behind.clock_off_by(-rng.uniform(HOURS, FARTHEST))
        ahead.clock_off_by(rng.uniform(HOURS, FARTHEST))
        running.under_load(hurt, running.payloads(payloads), names=("clocks",), doors=(behind.url, ahead.url))
        behind.clock_off_by(-HOURS)
        ahead.clock_off_by(HOURS)
        return [
            f"{name} does not say that its clock is off"
            for name, door in (("behind", behind), ("ahead", ahead))
            if not _says(door)
        ]


def _says(door: Door) -> bool:
    def said() -> bool:
        return "clock" in httpx.get(f"{door.url}/health/ready", timeout=10).text

    with suppress(AssertionError):
        wait_until(said, seconds=SPARE_S, what="the door to tell of its clock")
    return said()


def syncs_fail(running: Campaign, payloads: int) -> list[str]:
    """Two more front doors whose syncs are slow, fail, or both, from moment to moment; some payloads are sent to be given up
    where nothing was accepted, and the oracles know nothing of these."""
    rng = running.rng
    with more_doors(running.stack, Path(mkdtemp(dir=running.stack.home)), count=2) as doors:

        def hurt(senders: Senders) -> float:
            while not senders.is_over:
                for door in doors:
                    slow, failing = rng.choice(((0, 0.0), (300, 0.0), (0, 0.3), (0, 1.0), (100, 0.3)))
                    door.syncs(slower_ms=slow, failing=failing)
                time.sleep(rng.uniform(0.3, 1.5))  # for how long they are like that, not a wait
            for door in doors:
                door.syncs()
            return time.monotonic()

        singly = payloads if LONG else payloads // 2
        singles = [load.single(rng) for load in running.loads.values() for _ in range(singly)]
        sent = [*running.payloads(payloads), *singles]
        rng.shuffle(sent)
        running.under_load(hurt, sent, names=("syncs",), doors=[door.url for door in doors])
    return []


def writes_come_late(running: Campaign, payloads: int) -> list[str]:
    """Updates in MongoDB are held back while the worker's processes that sent them are killed. Then more is sent to the same
    sessions; the late updates arrive once all of it is done."""
    mongodb = running.mongodb
    assert mongodb is not None, "this needs a campaign with late writes"
    killed = threading.Event()

    def hurt(_: Senders) -> float:
        try:
            for number, collection in enumerate(LATE, start=1):
                mongodb.hold(collection)
                with suppress(AssertionError):
                    wait_until(lambda: mongodb.held >= number, seconds=SPARE_S, what="an update")  # noqa: B023
                if mongodb.held < number:
                    break
                time.sleep(running.rng.uniform(0.0, 0.5))  # the point at which they are killed, not a wait
                for pid in worker_children(running):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            mongodb.hold("")
        finally:
            killed.set()
        return time.monotonic()

    made = [unwaiting(one) for one in running.payloads(payloads)]
    first, second = made[: len(made) // 2], made[len(made) // 2 :]
    running.under_load(
        hurt, [*first, *(held_back(one, until=killed) for one in second)], names=("late writes",)
    )
    return [] if mongodb.release() else ["no write was held back"]


Kind = Callable[[Campaign, int], list[str]]
KINDS: Mapping[str, Kind] = {
    "clocks": clocks_jump, "syncs": syncs_fail, "damage": damaged_round, "late writes": writes_come_late,
}  # fmt: skip
