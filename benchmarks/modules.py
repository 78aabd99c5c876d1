"""Syncs of modules through the real stack and without it: latency, overhead over the bare SQL, growth, memory, a burst of sites.

`python -m benchmarks.modules [--home FOLDER]` starts a stack of its own. Every figure comes with the floor it is compared with,
measured in the same run.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import sqlalchemy as sa
import uuid_utils.compat

from ingestion_assets.modules.schema import decode_request
from ingestion_assets.modules.differences import COPIED, reported
from ingestion_assets.modules.sync import Incoming, RemovalGuard, apply_sync
from ingestion_assets.modules.tables import sites
from ingestion_assets.stores.postgres import copy_rows, engine, migrate
from ingestion_assets_tests.stacks import running_stack

START = datetime(2026, 1, 1, tzinfo=UTC)
BARE = """
    CREATE TEMPORARY TABLE IF NOT EXISTS bare_incoming (
        machine_name text COLLATE "C", name text, type text, version text, status boolean, schema_version bigint, package text,
        core_compatibility text[], dependencies text[], description text, project_link text, security_coverage boolean,
        project text COLLATE "C", datestamp bigint
    ) ON COMMIT DELETE ROWS
"""
BARE_CLOSE = """
    UPDATE bare_states s SET until_sequence = :sequence, valid_to = :at FROM bare_incoming i
    WHERE s.site_id = 0 AND s.machine_name = i.machine_name AND s.until_sequence IS NULL AND s.version <> i.version
"""
BARE_OPEN = """
    INSERT INTO bare_states (site_id, machine_name, sequence, valid_from, present, first_seen, seen_at, name, type, version,
        status, schema_version, package, core_compatibility, dependencies, description, project_link, security_coverage, project,
        datestamp)
    SELECT 0, machine_name, :sequence, :at, true, :at, :at, name, type, version, status, schema_version, package,
           core_compatibility, dependencies, description, project_link, security_coverage, project, datestamp
    FROM bare_incoming i
    WHERE NOT EXISTS (SELECT FROM bare_states s
                      WHERE s.site_id = 0 AND s.machine_name = i.machine_name AND s.until_sequence IS NULL)
"""


FILL = """
    WITH source AS (SELECT max(id) AS id FROM ingestion.sites),
    filled AS (INSERT INTO ingestion.sites (name, sequence) SELECT 'filled', 1 FROM generate_series(1, 480) RETURNING id)
    INSERT INTO ingestion.module_states
    SELECT filled.id, machine_name, sequence, until_sequence, valid_from, valid_to, present, first_seen, seen_at, name, type, version,
           status, schema_version, package, core_compatibility, dependencies, description, project_link, security_coverage, project,
           datestamp
    FROM ingestion.module_states s JOIN source ON s.site_id = source.id CROSS JOIN filled
    ORDER BY filled.id, machine_name
"""


@contextmanager
def empty_database(url: str) -> Iterator[sa.Engine]:
    """A second database on the same server, migrated and empty: what the full one is compared with, in turns."""
    name = "bench_empty"
    target = sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    with engine(url).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
        migrate(target)
        yield engine(target)
        engine(target).dispose()
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def request_body(count: int, *, minute: int, changed: int = 0) -> bytes:
    """A full sync of `count` modules, `changed` of them in another version than in minute 0."""
    modules = [
        {
            "machine_name": f"module_{index}", "name": f"Module {index}", "type": "contrib", "status": True, "package": "Bench",
            "version": f"8.x-1.{minute if index < changed else 0}", "core_compatibility": ["10.x"], "dependencies": ["token"],
            "description": "What it is for, in a sentence of some length, as modules have it.",
        }
        for index in range(count)
    ]  # fmt: skip
    moment = (START + timedelta(minutes=minute)).isoformat()
    body = {
        "site_info": {}, "modules": modules, "sync_timestamp": moment, "drupal_version": "10.2.1", "php_version": "8.3.0",
        "sync_type": "full",
    }  # fmt: skip
    return json.dumps(body).encode()


def through_the_stack(home: Path) -> dict[str, Any]:
    """1000 modules from request to answer; 100 sites within a minute; memory of a sync of 2000."""
    figures: dict[str, Any] = {}
    with running_stack(home, sync_rate_limit="", rate_limit="") as stack:
        admin = {"X-API-Key": stack.admin_token, "Content-Type": "application/json", "Prefer": "wait=60"}
        with httpx.Client(base_url=stack.url, headers=admin, timeout=90) as client:

            def site() -> int:
                return (
                    client.post("/api/v1/sites", content=b'{"name":"bench"}').raise_for_status().json()["id"]
                )

            def sync(site_id: int, body: bytes) -> float:
                started = time.perf_counter()
                answer = client.post(f"/api/v1/sites/{site_id}/modules/sync", content=body).raise_for_status()
                assert answer.status_code == 200, answer.text
                return time.perf_counter() - started

            one = site()
            sync(one, request_body(1000, minute=0))
            took = sorted(sync(one, request_body(1000, minute=minute, changed=50)) for minute in range(1, 16))
            figures["1000_modules_p50_s"] = round(statistics.median(took), 3)
            figures["1000_modules_max_s"] = round(took[-1], 3)
            workers = [
                p
                for p in psutil.process_iter(["cmdline"])
                if str(home) in " ".join(_environment(p)) and _is_worker(p)
            ]
            idle = sum(p.memory_info().rss for p in workers)
            peak = idle
            with ThreadPoolExecutor(1) as pool:
                work = pool.submit(sync, one, request_body(2000, minute=20))
                while not work.done():
                    peak = max(peak, sum(p.memory_info().rss for p in workers if p.is_running()))
                    time.sleep(0.01)
                work.result()
            figures["2000_modules_memory_above_idle_mb"] = round((peak - idle) / 2**20, 1)
            many = [site() for _ in range(100)]
            body = request_body(300, minute=0)
            started = time.perf_counter()
            with ThreadPoolExecutor(100) as pool:
                list(pool.map(lambda site_id: sync(site_id, body), many))
            figures["100_sites_s"] = round(time.perf_counter() - started, 1)
    return figures


def _environment(process: psutil.Process) -> list[str]:
    try:
        return list(process.environ().values())
    except psutil.Error:
        return []


def _is_worker(process: psutil.Process) -> bool:
    return any("worker" in part for part in process.info["cmdline"] or ())


def in_the_database(url: str) -> dict[str, Any]:
    """The work inside a run against bare COPY and set-based SQL of the same rows; and its growth over 500 sites of 2000 modules."""
    own = engine(url)
    with own.begin() as connection:
        connection.execute(sa.text("CREATE TABLE bare_states (LIKE ingestion.module_states INCLUDING ALL)"))

    def make_site(database: sa.Engine = own) -> int:
        with database.begin() as connection:
            return connection.execute(
                sa.insert(sites).values(name="bench").returning(sites.c.id)
            ).scalar_one()

    def ours(site_id: int, body: bytes, database: sa.Engine = own) -> float:
        started = time.perf_counter()
        incoming = Incoming(
            id=uuid_utils.compat.uuid7(), site_id=site_id, request=decode_request(body), received_at=datetime.now(UTC),
            principal="bench", attributes={},
        )  # fmt: skip
        with database.begin() as connection:
            apply_sync(connection, incoming, guard=RemovalGuard())
        return time.perf_counter() - started

    def bare(body: bytes, minute: int) -> float:
        started = time.perf_counter()
        rows = [reported(module) for module in decode_request(body).modules]
        values = {"sequence": minute, "at": START + timedelta(minutes=minute)}
        with own.begin() as connection:
            connection.execute(sa.text(BARE))
            copy_rows(connection, "bare_incoming", COPIED, rows)
            connection.execute(sa.text(BARE_CLOSE), values)
            connection.execute(sa.text(BARE_OPEN), values)
        return time.perf_counter() - started

    def compared(*, changed: int, base: int) -> tuple[float, float]:
        """Best of twenty, of ours and of the bare one, taken in turns."""
        pairs = []
        for minute in range(base, base + 20):
            body = request_body(1000, minute=minute, changed=changed)
            pairs.append((ours(one, body), bare(body, minute)))
        return min(mine for mine, _ in pairs), min(floor for _, floor in pairs)

    one = make_site()
    ours(one, request_body(1000, minute=0))
    bare(request_body(1000, minute=0), 0)
    figures: dict[str, Any] = {}
    for label, changed, base in (
        ("all_changed", 1000, 100),
        ("some_changed", 50, 200),
        ("none_changed", 0, 300),
    ):
        mine, floor = compared(changed=changed, base=base)
        figures[f"1000_modules_{label}_over_bare_sql"] = round(mine / floor, 2)
        figures[f"1000_modules_{label}_ms"] = round(mine * 1000, 1)
    body = request_body(2000, minute=0)
    ours(make_site(), body)
    with own.begin() as connection:
        connection.execute(sa.text(FILL))
    with empty_database(url) as beside:
        pairs = [(ours(make_site(), body), ours(make_site(beside), body, beside)) for _ in range(20)]
    figures["2000x500_last_over_first"] = round(
        statistics.median(big for big, _ in pairs[3:]) / statistics.median(small for _, small in pairs[3:]), 2
    )
    figures["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    with own.begin() as connection:
        connection.execute(sa.text("DROP TABLE bare_states"))
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["stack", "database"])
    parser.add_argument(
        "--postgres", help="URL of a migrated database; without it the stack part alone is run."
    )
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    if given.only != "database":
        with tempfile.TemporaryDirectory(prefix="bench-modules-") as folder:
            figures |= through_the_stack(Path(folder) / "home")
    if given.postgres:
        figures |= in_the_database(given.postgres)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
