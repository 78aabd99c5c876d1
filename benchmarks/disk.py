"""What a run costs on disk and until its receipt, flow by flow; what a day at a payload a second costs, with a waiting client and
without; and what deleting runs gives back.

`--beside PYTHON` has another release (its interpreter) do the same runs in turns with this one, and nothing else: a run is to write
half as much as there, and to be no slower.

Sizes are those of PostgreSQL's relations with indexes and of the files in the stack's home. PostgreSQL's log of changes is left
out: it is reused, up to `max_wal_size`; so are the ticks of sensors, of which Dagster keeps a day.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import psycopg
from clients import INGEST, one_by_one, request
from entities import CUSTOMER
from measuring import Targets, arguments, batches, bench_stack, table
from modules import request_body

from ingestion_assets_tests.stacks import RunningStack

DAY_S = 86_400
HALF = 0.5
NOT_SLOWER = 1.05  # the noise of two medians
SETTLE_S = 3.0
MESSAGES = 3
MODULES = 50
WITHOUT_A_CLIENT_GB = 0.5
WITH_A_CLIENT_GB = 2.0
_RELATIONS = """
    SELECT CASE WHEN nspname = 'public' AND relname = ANY(%(of_runs)s) THEN 'runs' WHEN nspname = 'public' THEN 'ticks'
                WHEN relname IN (
               'drops', 'dispatches', 'leases', 'receipt_records', 'rejects', 'run_heartbeats', 'disk_usage', 'format_drift'
           ) THEN 'ledger' ELSE 'data' END AS part,
           sum(pg_total_relation_size(pg_class.oid))::bigint
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') GROUP BY 1
"""
_COUNTS = """
    SELECT (SELECT count(*) FROM public.runs WHERE pipeline_name = %(flow)s),
           (SELECT count(*) FROM public.event_logs), (SELECT count(*) FROM public.asset_check_executions)
"""
_TO_RECEIPT = """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - requested_at))
    FROM ingestion.drops JOIN ingestion.dispatches USING (run_id) WHERE drops.flow = %s AND drops.finished_at > %s
"""
_KINDS = """
    SELECT coalesce(dagster_event_type, 'a log message'), count(*), sum(pg_column_size(event)) FROM public.event_logs
    WHERE run_id IN (SELECT run_id FROM public.runs WHERE pipeline_name = %s) GROUP BY 1 ORDER BY 3 DESC
"""
_BY_TABLE = """
    SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables
    WHERE schemaname = 'public' AND relname = ANY(%(of_runs)s) ORDER BY 2 DESC
"""
OF_RUNS = ["event_logs", "asset_check_executions", "asset_event_tags", "run_tags", "runs"]


@dataclass(frozen=True, slots=True)
class State:
    """What there is: bytes by part, and numbers of rows."""

    size: dict[str, int]
    runs: int
    events: int
    checks: int


def look(stack: RunningStack, flow: str) -> State:
    """The stack now, with all that it has to write on disk."""
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
        relations = connection.execute(_RELATIONS, {"of_runs": OF_RUNS}).fetchall()
        size = dict.fromkeys(("runs", "ticks", "ledger", "data"), 0) | dict(relations)
        counts = connection.execute(_COUNTS, {"flow": flow}).fetchone()
    assert counts is not None
    for part, folder in {"files of runs": "dagster", "landed bytes": "landing", "logs": "logs"}.items():
        size[part] = _allocated(stack.home / folder)
    return State(size, *counts)


def _allocated(folder: Path) -> int:
    return sum(path.lstat().st_blocks * 512 for path in (folder, *folder.rglob("*")))


Send = Callable[[int, str | None], None]
"""Post the payload of that number, with that preference."""


def senders(stack: RunningStack, number: int) -> dict[str, Send]:
    """For each flow how to send a small payload."""
    bodies = batches(count=number, seed=5, size=MESSAGES)
    token = stack.admin_token
    headers = {"X-API-Key": token}
    with httpx.Client(base_url=f"{stack.url}/api/v1", headers=headers, timeout=60) as client:
        site = client.post("/sites", json={"name": "disk"}).raise_for_status().json()["id"]

    def post(path: str, body: bytes, prefer: str | None, media_type: str = "application/json") -> None:
        data = request(stack.url, body, token=token, prefer=prefer, path=path, media_type=media_type)
        (answer,) = one_by_one(stack.url, [data])
        assert answer.status in (200, 202), (answer.status, answer.body[:300])

    return {
        "conversations": lambda n, prefer: post(INGEST, bodies[n], prefer),
        "entities": lambda n, prefer: post("/ingest/message", (CUSTOMER % n).encode(), prefer, "text/plain"),
        "modules": lambda n, prefer: post(
            f"/api/v1/sites/{site}/modules/sync", request_body(MODULES, minute=n, changed=1), prefer
        ),
    }


@dataclass(frozen=True, slots=True)
class Cost:
    """What a run of a flow costs, on the average: rows of Dagster, kB by part; the median of seconds from its dispatch on."""

    runs: int
    events: float
    checks: float
    kilobytes: dict[str, float]
    to_receipt_s: float

    @property
    def written(self) -> float:
        """kB that Dagster writes, in tables and files."""
        return sum(self.kilobytes[part] for part in ("runs", "files of runs", "logs"))

    def row(self) -> tuple[str, ...]:
        of = self.kilobytes
        return (
            str(self.runs), f"{self.events:.0f}", f"{self.checks:.0f}", f"{of['runs']:.1f}",
            f"{of['files of runs'] + of['logs']:.1f}", f"{of['ledger']:.1f}", f"{of['landed bytes']:.1f}",
            f"{of['data']:.1f}", f"{self.to_receipt_s:.3f}",
        )  # fmt: skip


COLUMNS = (
    "", "runs", "events", "checks", "kB of Dagster", "kB of files", "kB of ledger", "kB landed", "kB of data",
    "s to receipt",
)  # fmt: skip


def costs(
    flow: str, stacks: Sequence[RunningStack], posts: Sequence[dict[str, Send]], number: int
) -> list[Cost]:
    """What a run costs in each of the stacks, over so many with a payload each, in turns."""
    for post in posts:
        post[flow](0, None)
    begun = datetime.now(UTC)
    before = [look(stack, flow) for stack in stacks]
    for n in range(1, number + 1):
        for post in posts:
            post[flow](n, None)
    time.sleep(SETTLE_S)
    found = []
    for stack, was in zip(stacks, before, strict=True):
        now = look(stack, flow)
        runs = now.runs - was.runs
        with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
            (to_receipt,) = connection.execute(_TO_RECEIPT, (flow, begun)).fetchall()
        found.append(
            Cost(
                runs, (now.events - was.events) / runs, (now.checks - was.checks) / runs,
                {part: (size - was.size[part]) / runs / 1000 for part, size in now.size.items()}, to_receipt[0],
            )
        )  # fmt: skip
    return found


def events_of(stack: RunningStack, flow: str) -> None:
    """What the runs of a flow say, kind by kind."""
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
        kinds = connection.execute(_KINDS, (flow,)).fetchall()
        runs = connection.execute(
            "SELECT count(*) FROM public.runs WHERE pipeline_name = %s", (flow,)
        ).fetchall()[0][0]
    rows = [(kind, f"{count / runs:.1f}", f"{size / runs / 1000:.2f}") for kind, count, size in kinds]
    table(f"what a run of {flow} says", ("", "a run", "kB a run"), rows)


def beside(python: str, number: int) -> int:
    """This release and another in turns."""
    targets = Targets()
    with bench_stack(sync_rate_limit="") as ours, bench_stack(python=python, sync_rate_limit="") as theirs:
        posts = [senders(stack, number + 2) for stack in (ours, theirs)]
        rows = []
        for flow in posts[0]:
            here, there = costs(flow, (ours, theirs), posts, number)
            rows += [(flow, *here.row()), ("  the other release", *there.row())]
            targets.at_most(f"{flow}: events of a run, against the other", here.events / there.events, HALF)
            targets.at_most(f"{flow}: bytes of a run, against the other", here.written / there.written, HALF)
            slower = here.to_receipt_s / there.to_receipt_s
            targets.at_most(f"{flow}: dispatch to receipt, against the other", slower, NOT_SLOWER)
            events_of(ours, flow)
        table("a run of one small payload, in turns", COLUMNS, rows)
    return targets.verdict()


def a_day(
    stack: RunningStack, send: Send, first: int, seconds: int, prefer: str | None
) -> tuple[State, State]:
    """A payload a second for so long."""
    before = look(stack, "conversations")
    started = time.monotonic()
    for n in range(seconds):
        send(first + n, prefer)
        time.sleep(max(0.0, started + n + 1 - time.monotonic()))
    time.sleep(SETTLE_S)
    return before, look(stack, "conversations")


def gigabytes_a_day(before: State, after: State, seconds: int) -> dict[str, float]:
    """By part, as it went on for these seconds."""
    return {part: (size - before.size[part]) * DAY_S / seconds / 1e9 for part, size in after.size.items()}


def giving_back(stack: RunningStack) -> None:
    """Delete every run that may go, and look at what that changes."""
    os.environ |= {
        name: value
        for name, value in stack.environment.items()
        if name.startswith(("INGESTION_", "DAGSTER_"))
    }
    from dagster import DagsterInstance  # noqa: PLC0415

    from ingestion_assets.orchestration.expired_runs import (  # noqa: PLC0415
        bytes_of_a_run,
        delete_runs,
        expired_runs,
        make_room,
    )

    def sizes() -> dict[str, int]:
        with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
            return dict(connection.execute(_BY_TABLE, {"of_runs": OF_RUNS}).fetchall())

    with DagsterInstance.from_config(str(stack.home / "dagster")) as instance:
        estimated = bytes_of_a_run(instance)
        runs = expired_runs(instance, before=datetime.now(UTC) + timedelta(minutes=1))
        begun = sizes()
        started = time.monotonic()
        delete_runs(instance, runs)
        took = time.monotonic() - started
        deleted = sizes()
        make_room(instance)
        vacuumed = sizes()
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
        for name in begun:
            connection.execute(f"VACUUM FULL public.{name}")
    full = sizes()
    table(
        f"deleting {len(runs)} runs, {took * 1000 / max(1, len(runs)):.1f} ms each (estimated {estimated / 1000:.0f} kB a run)",
        ("MB", "before", "deleted", "after VACUUM", "after VACUUM FULL"),
        [
            (name, *(f"{state.get(name, 0) / 1e6:.2f}" for state in (begun, deleted, vacuumed, full)))
            for name in begun
        ],
    )  # fmt: skip


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__, beside="interpreter of another release, to compare the runs with")
    number, seconds = (40, 100) if options.quick else (150, 240)
    if options.beside:
        return beside(options.beside, number)
    targets = Targets()
    with bench_stack(sync_rate_limit="") as stack:
        posts = senders(stack, 1 + number + 2 * seconds + 1)
        rows = [(flow, *costs(flow, [stack], [posts], number)[0].row()) for flow in posts]
        table("a run of one small payload", COLUMNS, rows)
        for flow in posts:
            events_of(stack, flow)
        send = posts["conversations"]
        days = []
        for name, prefer, first, limit in (
            ("nobody waits", "respond-async", number + 1, WITHOUT_A_CLIENT_GB),
            ("a client waits", None, number + 1 + seconds, WITH_A_CLIENT_GB),
        ):
            before, after = a_day(stack, send, first, seconds, prefer)
            day = gigabytes_a_day(before, after, seconds)
            of_runs = day["runs"] + day["files of runs"] + day["logs"]
            days.append(
                (
                    name, f"{(after.runs - before.runs) * DAY_S / seconds:,.0f}", f"{of_runs:.2f}", f"{day['ledger']:.2f}",
                    f"{day['landed bytes']:.2f}", f"{day['data']:.2f}",
                )
            )  # fmt: skip
            targets.at_most(f"runs of a day at a payload a second, {name}", of_runs, limit, " GB")
        table(
            f"a day at a payload a second, from {seconds} s",
            ("", "runs", "GB of runs", "GB of ledger", "GB landed", "GB of data"), days,
        )  # fmt: skip
        giving_back(stack)
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
