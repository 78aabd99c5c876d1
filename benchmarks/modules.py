"""Syncs of modules through the real stack, and the work inside a run against bare COPY and set-based SQL of the same rows.

Also: what a site costs beside 499 others against one alone, the memory of a large sync, and a hundred sites at once.
"""

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psutil
import psycopg
import sqlalchemy as sa
from measuring import ROOT, Targets, arguments, bench_stack, median, quantile, table, temporary_home

sys.path.insert(0, str(ROOT))

from ingestion_assets.landing import claims, finishing
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.intake import Intake
from ingestion_assets.landing.storage import open_storage
from ingestion_assets.modules.differences import COPIED, reported
from ingestion_assets.modules.flow import NAME, site_drop
from ingestion_assets.modules.module_tables import sites, states, syncs
from ingestion_assets.modules.schema import decode_request
from ingestion_assets.modules.sync import RemovalGuard
from ingestion_assets.modules.work import ModulesWork
from ingestion_assets.settings import Settings
from ingestion_assets.stores.postgres import copy_rows, engine, migrate
from ingestion_assets_tests.stacks import RunningStack

START = datetime(2026, 1, 1, tzinfo=UTC)
SITES = 500
MB = 2**20

# The floor: the rows are copied beside the inventory, what changed is closed and opened. It knows of no removals, keeps no audit,
# judges nothing, and tells nobody.
FLOOR_TABLES = sa.text("CREATE TABLE IF NOT EXISTS bare_states (LIKE ingestion.module_states INCLUDING ALL)")
FLOOR_STAGE = sa.text("""
    CREATE TEMPORARY TABLE IF NOT EXISTS bare_incoming (
        machine_name text COLLATE "C", name text, type text, version text, status boolean, schema_version bigint, package text,
        core_compatibility text[], dependencies text[], description text, project_link text, security_coverage boolean,
        project text COLLATE "C", datestamp bigint
    ) ON COMMIT DELETE ROWS
""")
FLOOR_CLOSE = sa.text("""
    UPDATE bare_states s SET until_sequence = :sequence, valid_to = :at FROM bare_incoming i
    WHERE s.site_id = 0 AND s.machine_name = i.machine_name AND s.until_sequence IS NULL AND s.version <> i.version
""")
FLOOR_OPEN = sa.text("""
    INSERT INTO bare_states (site_id, machine_name, sequence, valid_from, present, first_seen, seen_at, name, type, version,
        status, schema_version, package, core_compatibility, dependencies, description, project_link, security_coverage, project,
        datestamp)
    SELECT 0, machine_name, :sequence, :at, true, :at, :at, name, type, version, status, schema_version, package,
           core_compatibility, dependencies, description, project_link, security_coverage, project, datestamp
    FROM bare_incoming i
    WHERE NOT EXISTS (SELECT FROM bare_states s
                      WHERE s.site_id = 0 AND s.machine_name = i.machine_name AND s.until_sequence IS NULL)
""")
# A site's rows, copied to as many others as are wanted.
FILL = sa.text("""
    WITH filled AS (INSERT INTO ingestion.sites (name, sequence) SELECT 'filled', 1 FROM generate_series(1, :count) RETURNING id)
    INSERT INTO ingestion.module_states
    SELECT filled.id, machine_name, sequence, until_sequence, valid_from, valid_to, present, first_seen, seen_at, name, type, version,
           status, schema_version, package, core_compatibility, dependencies, description, project_link, security_coverage, project,
           datestamp
    FROM ingestion.module_states s CROSS JOIN filled WHERE s.site_id = :source
""")


def request_body(count: int, *, minute: int, changed: int = 0) -> bytes:
    """A full sync of `count` modules, the first `changed` of them in another version each minute."""
    modules = [
        {
            "machine_name": f"module_{index}", "name": f"Module {index}", "type": "contrib", "status": True, "package": "Bench",
            "version": f"8.x-1.{minute if index < changed else 0}", "core_compatibility": ["10.x"], "dependencies": ["token"],
            "description": "What it is for, in a sentence of some length, as modules have it.",
        }
        for index in range(count)
    ]  # fmt: skip
    body = {
        "site_info": {}, "modules": modules, "sync_timestamp": (START + timedelta(minutes=minute)).isoformat(),
        "drupal_version": "10.2.1", "php_version": "8.3.0", "sync_type": "full",
    }  # fmt: skip
    return json.dumps(body).encode()


@dataclass(frozen=True, slots=True)
class Runs:
    """What a run does with a claim, without the run: the flow's own work on a database."""

    engine: sa.Engine
    settings: Settings

    def site(self) -> int:
        with self.engine.begin() as connection:
            return connection.execute(
                sa.insert(sites).values(name="bench").returning(sites.c.id)
            ).scalar_one()

    def land(self, site_id: int, bodies: Sequence[bytes]) -> None:
        """Put payloads on landing storage and into the ledger."""

        async def accept() -> None:
            intake = Intake(
                storage=open_storage(self.settings), engine=self.engine, on_registered=lambda _: None
            )
            await intake.start()
            for body in bodies:
                await intake.accept(site_drop(site_id, body, records=1, principal="bench", attributes={}))
            await intake.stop()

        asyncio.run(accept())

    def work(self, site_id: int) -> float:
        """Seconds from a site's next claimed payload to what is to be said of it."""
        run, lane = str(uuid.uuid4()), Lane(NAME, str(site_id), str(site_id))
        with self.engine.begin() as connection:
            claim = claims.claim_landed(
                connection, lane, claim_id=run, run_id=run, dispatch_id=None, max_bytes=1, lease_s=60
            )
        work = ModulesWork(
            claim=claim, site_id=site_id, storage=open_storage(self.settings), engine=self.engine, guard=RemovalGuard(),
            is_transient=lambda _: False,
        )  # fmt: skip
        started = time.perf_counter()
        outcomes = work.outcomes()
        seconds = time.perf_counter() - started
        assert [one.failed for one in outcomes] == [False], outcomes
        with self.engine.begin() as connection:
            finishing.finish(connection, claim, outcomes)
        return seconds

    def floor(self, body: bytes, minute: int) -> float:
        """Seconds of the bare statements for the same rows, read the same way."""
        started = time.perf_counter()
        rows = [reported(module) for module in decode_request(body).modules]
        values = {"sequence": minute, "at": START + timedelta(minutes=minute)}
        with self.engine.begin() as connection:
            connection.execute(FLOOR_STAGE)
            copy_rows(connection, "bare_incoming", COPIED, rows)
            connection.execute(FLOOR_CLOSE, values)
            connection.execute(FLOOR_OPEN, values)
        return time.perf_counter() - started


@contextmanager
def own_database(url: str, name: str) -> Iterator[Runs]:
    """A migrated database beside the stack's, and a landing folder; both gone at the end."""
    target = sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as server, temporary_home() as folder:
        server.execute(f"CREATE DATABASE {name}".encode())
        migrate(target)
        try:
            yield Runs(engine(target), Settings(_env_file=None, home=folder, postgres_url=target))
        finally:
            engine(target).dispose()
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def over_the_floor(runs: Runs, *, count: int, turns: int) -> list[tuple[str, float, float]]:
    """Best seconds of the work and of the floor, taken in turns, by how much of a site has changed."""
    with runs.engine.begin() as connection:
        connection.execute(FLOOR_TABLES)
    site_id, first = runs.site(), request_body(count, minute=0)
    runs.land(site_id, [first])
    runs.work(site_id)
    runs.floor(first, 0)
    found = []
    for number, (label, changed) in enumerate(
        (("all changed", count), ("5 % changed", count // 20), ("nothing changed", 0)), 1
    ):
        minutes = range(number * 1000, number * 1000 + turns)
        bodies = [request_body(count, minute=minute, changed=changed) for minute in minutes]
        runs.land(site_id, bodies)
        pairs = [
            (runs.work(site_id), runs.floor(body, minute))
            for minute, body in zip(minutes, bodies, strict=True)
        ]
        found.append((label, min(work for work, _ in pairs), min(floor for _, floor in pairs)))
    return found


def last_over_first(full: Runs, alone: Runs, *, count: int, turns: int) -> tuple[float, float]:
    """Median seconds of a new site's first sync where 499 others have their rows, and in an empty database, in turns."""
    body = request_body(count, minute=0)
    source = full.site()
    full.land(source, [body])
    full.work(source)
    with full.engine.begin() as connection:
        connection.execute(FILL, {"source": source, "count": SITES - 2})
    pairs = []
    for _ in range(turns):
        pair = []
        for runs in (full, alone):
            site_id = runs.site()
            runs.land(site_id, [body])
            pair.append(runs.work(site_id))
            with runs.engine.begin() as connection:  # the next one is the 500th, and the first, again
                for its in (states, syncs):
                    connection.execute(sa.delete(its).where(its.c.site_id == site_id))
        pairs.append(pair)
    return median([one for one, _ in pairs]), median([one for _, one in pairs])


class Workers:
    """Memory of the processes that execute runs."""

    def __init__(self, stack: RunningStack) -> None:
        self._database = stack.environment["INGESTION_POSTGRES_URL"]
        self._parent = psutil.Process(stack.pid_of("worker-default"))

    def peak_above_idle(self, sync: Callable[[], httpx.Response]) -> float:
        """MB that the process of one sync's run held at the most above what it held before: resident, by the kernel's count."""
        children = [one for one in self._parent.children() if one.status() != psutil.STATUS_ZOMBIE]
        idle = {one.pid: _memory(one.pid, "VmRSS") for one in children}
        for pid in idle:
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # the peak starts anew
        receipt = sync().headers["X-Receipt-Id"]
        query = "SELECT h.pid FROM ingestion.run_heartbeats h JOIN ingestion.drops d USING (run_id) WHERE d.id = %s"
        with psycopg.connect(self._database) as connection:
            row = connection.execute(query, [receipt]).fetchone()
        assert row is not None, "the run has no heartbeat"
        return _memory(row[0], "VmHWM") - idle[row[0]]


def _memory(pid: int, name: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1]) / 1024


def through_the_stack(stack: RunningStack, *, turns: int) -> tuple[list[float], list[float], int, float]:
    """Seconds of 1000 modules from request to answer; MB of 2000 above idle, first and later; a hundred sites: how many
    succeeded, and seconds until the last was answered.
    """
    headers = {"X-API-Key": stack.admin_token, "Content-Type": "application/json", "Prefer": "wait=120"}
    limits = httpx.Limits(max_connections=128)
    with httpx.Client(base_url=f"{stack.url}/api/v1", headers=headers, timeout=150, limits=limits) as client:

        def site() -> int:
            return client.post("/sites", content=b'{"name":"bench"}').raise_for_status().json()["id"]

        def sync(site_id: int, body: bytes) -> httpx.Response:
            answer = client.post(f"/sites/{site_id}/modules/sync", content=body)
            assert answer.status_code == 200, answer.text
            return answer

        workers = Workers(stack)
        large = [request_body(2000, minute=minute, changed=2000) for minute in range(4)]
        of_memory = site()
        memory = [workers.peak_above_idle(lambda body=body: sync(of_memory, body)) for body in large]

        one, taken = site(), []
        for minute in range(turns + 1):
            body = request_body(1000, minute=minute, changed=50)
            started = time.perf_counter()
            sync(one, body)
            taken.append(time.perf_counter() - started)

        many, body = [site() for _ in range(100)], request_body(300, minute=0)
        started = time.perf_counter()
        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(lambda site_id: sync(site_id, body), many))
        burst = time.perf_counter() - started
        succeeded = sum(answer.json()["new_modules"] == 300 for answer in answers)
        return taken[1:], memory, succeeded, burst


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__)
    targets = Targets()
    with bench_stack(sync_rate_limit="", worker_spare_mb=1000) as stack:
        taken, memory, succeeded, burst = through_the_stack(stack, turns=5 if options.quick else 20)
        url = stack.environment["INGESTION_POSTGRES_URL"]
        with own_database(url, "bench_full") as full, own_database(url, "bench_alone") as alone:
            last, first = last_over_first(full, alone, count=2000, turns=5 if options.quick else 15)
            floors = over_the_floor(alone, count=1000, turns=10 if options.quick else 25)
    table(
        "1000 modules, the work inside a run",
        ("", "ms", "floor ms", "x"),
        [
            (label, f"{work * 1e3:.1f}", f"{floor * 1e3:.1f}", f"{work / floor:.2f}")
            for label, work, floor in floors
        ],
    )
    for label, work, floor in floors:
        targets.at_most(f"work over bare SQL, {label}", work / floor, 1.5, "x")
    targets.at_most("2000 modules, the 500th site over the first", last / first, 1.2, "x")
    targets.at_most("1000 modules from request to answer, p50", median(taken), 1.5, " s")
    targets.at_most("1000 modules from request to answer, slowest", quantile(taken, 1), 5, " s")
    targets.at_most("2000 modules, first sync of a worker, memory above idle", memory[0], 100, " MB")
    targets.at_most("2000 modules, later syncs, memory above idle", max(memory[1:]), 100, " MB")
    targets.at_least("sites of 100 at once, 300 modules each, that succeeded", succeeded, 100)
    targets.at_most("100 sites at once, until the last was answered", burst, 60, " s")
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
