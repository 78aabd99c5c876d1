"""Whatever is killed at a random point of whichever stage: one snapshot as if nothing had happened, one outcome, nothing left.

`INGESTION_LONG_TESTS=1` kills each target twice in each stage.
"""

import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import sqlalchemy as sa

from ingestion_assets.stores.postgres import engine
from ingestion_assets_tests.faults.targets import PROGRAMS
from ingestion_assets_tests.repositories import planted
from ingestion_assets_tests.repositories.conftest import LONG
from ingestion_assets_tests.repositories.git_repository import GitRepository
from ingestion_assets_tests.repositories.git_server import Server
from ingestion_assets_tests.repositories.stored import tables
from ingestion_assets_tests.servers import wait_until, wait_until_empty
from ingestion_assets_tests.stacks import RunningStack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

INGESTION = "/api/v1/ingestion"
PATIENCE_S = 120
STOPS_S = 5.0
CHILD = "worker child"
TARGETS = (CHILD, "GPU worker", "PostgreSQL", "Valkey")
_STORED = "SELECT EXISTS (SELECT FROM repositories.{} WHERE {}) FROM (SELECT 1) one"
_BUILT = "snapshot_id IN (SELECT id FROM repositories.snapshots WHERE published_at IS NULL)"
_BEGUN = {
    "cloning": _STORED.format("jobs", "state = 'running'"),
    "parsing": _STORED.format("files", _BUILT),
    "linking": _STORED.format("parsed", "true"),
    "embedding": _STORED.format("symbols", _BUILT),
    "training": _STORED.format("chunks", "true"),
    "publishing": _STORED.format("files", f"stable IS NOT NULL AND {_BUILT}"),
}
"""What is stored once a stage has begun, of a repository that nothing else is stored of."""
LATER_S = {
    "cloning": 0.5,
    "parsing": 0.5,
    "linking": 0.05,
    "embedding": 0.5,
    "training": 0.3,
    "publishing": 0.01,
}
"""Within so many seconds of that it is killed."""
KILLS = (
    [[(target, stage)] for _ in range(2) for stage in _BEGUN for target in TARGETS] if LONG
    else [[(CHILD, "parsing"), ("PostgreSQL", "publishing")], [("Valkey", "cloning"), ("GPU worker", "embedding")]]
)  # fmt: skip


@pytest.fixture(scope="module")
def ledger(stack: RunningStack) -> sa.Engine:
    return engine(stack.environment["INGESTION_POSTGRES_URL"])


@pytest.fixture(scope="module")
def repository(client: httpx.Client, server: Server, served: Path) -> Iterator[str]:
    """A repository that is not indexed; no other is."""
    for one in client.get("/api/v1/repositories").raise_for_status().json()["items"]:
        client.delete(f"/api/v1/repositories/{one['repository']}").raise_for_status()
    GitRepository(served / "killed").commit(planted.files())
    yield f"{server.host.removeprefix('http://')}/killed"


@pytest.fixture(scope="module")
def undisturbed(client: httpx.Client, ledger: sa.Engine, repository: str) -> Mapping[str, list[str]]:
    """All that is stored after a run that nobody disturbed."""
    job = submit(client, repository)
    assert outcome(client, job)["status"] == "complete"
    return tables(ledger)


def submit(client: httpx.Client, repository: str) -> dict[str, Any]:
    return client.post(f"{INGESTION}/ingest/{repository}").raise_for_status().json()


def outcome(client: httpx.Client, job: Mapping[str, Any]) -> dict[str, Any]:
    """The job's only outcome, once it has one."""

    def outcomes() -> list[dict[str, Any]]:
        try:
            answer = client.get(f"{INGESTION}/jobs/history", params={"limit": 100})
        except httpx.TransportError:
            return []
        found = answer.json()["jobs"] if answer.is_success else []
        return [one for one in found if one["job_id"] == job["job_id"]]

    wait_until(outcomes, seconds=PATIENCE_S, what="the job to have its outcome")
    (only,) = outcomes()
    return only


def at_work(ledger: sa.Engine) -> psutil.Process | None:
    """The process that works on a repository."""
    query = sa.text("""
        SELECT beats.pid FROM ingestion.run_heartbeats beats JOIN ingestion.drops ON drops.run_id = beats.run_id
        WHERE drops.flow = 'repositories' AND drops.state = 'claimed' AND beats.ended_at IS NULL
    """)
    with ledger.connect() as connection:
        found = connection.scalar(query)
    return psutil.Process(found) if found is not None and psutil.pid_exists(found) else None


def children_of(process: psutil.Process | None) -> list[psutil.Process]:
    """What a process started, git and parsers, as long as it lives."""
    try:
        return [] if process is None else process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(target: str, stack: RunningStack, ledger: sa.Engine, stage: str) -> None:
    """Kill a target within a stage; it is back when this returns, and what the killed one started is gone."""
    begun = sa.text(_BEGUN[stage])
    until = time.monotonic() + PATIENCE_S
    with ledger.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        while not connection.scalar(begun):  # without a rest: the last stage takes milliseconds
            assert time.monotonic() < until, f"{stage} did not begin"
    working = at_work(ledger)
    time.sleep(random.uniform(0, LATER_S[stage]))  # the point at which it is killed, not a wait
    started = children_of(working)
    if target == CHILD:
        assert working is not None
        working.send_signal(signal.SIGKILL)
    else:
        before = stack.pid_of(PROGRAMS[target])
        os.kill(before, signal.SIGKILL)
        wait_until(
            lambda: stack.pid_of(PROGRAMS[target]) not in (0, before), seconds=60, what=f"a new {target}"
        )
    if target in {CHILD, "GPU worker"}:
        wait_until(lambda: not any(map(lives, started)), seconds=STOPS_S, what="its children to end")


_LEFT = sa.text("""
    SELECT 'job ' || id || ' is ' || state AS said FROM repositories.jobs WHERE ended_at IS NULL
    UNION ALL SELECT 'drop ' || id || ' is ' || state FROM ingestion.drops WHERE state IN ('landed', 'claimed', 'held')
    UNION ALL SELECT 'lane ' || lane || ' is leased to ' || holder FROM ingestion.leases
""")


def left(ledger: sa.Engine, stack: RunningStack) -> list[str]:
    """What is open still, or lies about."""
    try:
        with ledger.connect() as connection:
            said = list(connection.scalars(_LEFT))
    except sa.exc.OperationalError as error:
        return [f"not to be asked: {error}"]
    return said + [f"{one} is left" for one in (stack.home / "scratch" / "repositories").iterdir()]


@pytest.mark.parametrize("kills", KILLS, ids=lambda kills: ", ".join(" in ".join(one) for one in kills))
def test_killed(
    client: httpx.Client, stack: RunningStack, ledger: sa.Engine, repository: str, undisturbed: Mapping[str, list[str]],
    kills: Sequence[tuple[str, str]],
) -> None:  # fmt: skip
    client.delete(f"/api/v1/repositories/{repository}").raise_for_status()
    wait_until_empty(lambda: left(ledger, stack), seconds=PATIENCE_S)
    assert not any(tables(ledger).values())
    job = submit(client, repository)
    for target, stage in kills:
        began = time.monotonic()
        kill(target, stack, ledger, stage)
    done = outcome(client, job)
    print(f"{time.monotonic() - began:.1f} s from {target} in {stage} to the outcome")
    assert done["status"] == "complete", done
    wait_until_empty(lambda: left(ledger, stack), seconds=PATIENCE_S)
    assert tables(ledger) == undisturbed
    assert outcome(client, job) == done


@pytest.mark.parametrize("program", ["git", "extraction"])
def test_a_cancelled_job_ends_its_programs(
    client: httpx.Client, stack: RunningStack, ledger: sa.Engine, server: Server, served: Path, program: str
) -> None:
    submitted = "never/ending" if program == "git" else "slow"
    if program == "extraction":  # the parser
        noise = random.Random(2)
        slow = {f"{n}.js": bytes(noise.choices(range(1, 256), k=1_000_000)) for n in range(4)}
        GitRepository(served / submitted).commit(slow)
    job = submit(client, f"{server.host.removeprefix('http://')}/{submitted}")
    found: list[psutil.Process] = []

    def is_at_work() -> bool:
        found[:] = children_of(at_work(ledger))
        return any(program in command(one) for one in found)

    wait_until(is_at_work, seconds=PATIENCE_S, what=f"{program} to be at work")
    client.post(f"{job['receipt_url']}/cancel").raise_for_status()
    wait_until(lambda: not any(map(lives, found)), seconds=STOPS_S, what=f"{program} to end")
    done = outcome(client, job)
    assert (done["status"], done["error"]) == ("failed", "it was cancelled on request")
    wait_until_empty(lambda: left(ledger, stack), seconds=PATIENCE_S)


def command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""
