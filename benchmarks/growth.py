"""What 100,000 stored messages cost more than 2,000: latency, sensor ticks, memory.

Latency is also compared with the bare driver's at both sizes, because the server under it may slow down with what it stores.
"""

import asyncio
import sys
import time
from collections import defaultdict

import floors
import msgspec
import psycopg
from clients import one_by_one, request, send_all
from measuring import BATCH, Targets, arguments, batches, bench_stack, median, memory_mb, table

from ingestion_assets_tests.stacks import RunningStack

FEW = 2_000
PAUSE_S = 0.3
REST_S = 40
GIVE_UP_S = 900
PROCESSES = {
    "frontdoor": "front door",
    "daemon": "daemon",
    "code-server": "code server",
    "worker-default": "worker",
}

_OPEN = "SELECT count(*) FROM ingestion.drops WHERE state NOT IN ('done', 'failed')"
_TICKS = """
    SELECT tick_body FROM public.job_ticks
    WHERE type = 'SENSOR' AND status <> 'STARTED' AND timestamp > now() AT TIME ZONE 'UTC' - make_interval(secs => %s)
"""


def fill(stack: RunningStack, bodies: list[bytes]) -> None:
    """Store messages, and wait until all are."""
    prepared = [request(stack.url, body, token=stack.admin_token, prefer="respond-async") for body in bodies]
    answers = asyncio.run(send_all(stack.url, prepared, connections=4))
    assert all(answer.status == 202 for answer in answers)
    deadline = time.monotonic() + GIVE_UP_S
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
        while (row := connection.execute(_OPEN).fetchone()) and row[0]:
            assert time.monotonic() < deadline, f"{row[0]} payloads are still open"
            time.sleep(0.25)


def latency(stack: RunningStack, bodies: list[bytes]) -> list[float]:
    """Seconds of each of some single requests."""
    answers = one_by_one(
        stack.url, [request(stack.url, body, token=stack.admin_token) for body in bodies],
        after_each=lambda _: time.sleep(PAUSE_S),
    )  # fmt: skip
    assert all(answer.status == 200 for answer in answers)
    return [answer.seconds for answer in answers]


def tick_seconds(stack: RunningStack) -> float:
    """One round of all sensors at rest: the sum of their median ticks, by Dagster's own records."""
    time.sleep(REST_S)
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as connection:
        rows = connection.execute(_TICKS, (REST_S,)).fetchall()
    ticks: dict[str, list[float]] = defaultdict(list)
    for tick in (msgspec.json.decode(row[0]) for row in rows):
        if tick.get("end_timestamp"):
            ticks[tick["job_name"]].append(tick["end_timestamp"] - tick["timestamp"])
    return sum(median(seconds) for seconds in ticks.values())


def memory(stack: RunningStack) -> dict[str, float]:
    """MB of each of our services, its child processes included."""
    return {label: memory_mb(stack.pid_of(name)) for name, label in PROCESSES.items()}


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__)
    many, number = (20_000, 8) if options.quick else (100_000, 20)
    filling = (many - FEW) // BATCH - number
    bodies = batches(count=FEW // BATCH + filling + 2 * number, seed=31)
    few_bodies, few_asked = bodies[: FEW // BATCH], bodies[FEW // BATCH : FEW // BATCH + number]
    rest, many_asked = bodies[FEW // BATCH + number : -number], bodies[-number:]
    measured: list[tuple[float, float, float, dict[str, float]]] = []
    # With two worker processes, memory would depend on which of them has had a run yet.
    with bench_stack(workers_default=1) as stack:
        mongodb_url = stack.environment["INGESTION_MONGODB_URL"]
        for before, asked in ((few_bodies, few_asked), (rest, many_asked)):
            fill(stack, before)
            latency(stack, asked[:1])
            seconds = median(latency(stack, asked[1:]))
            bare = median([floors.insert_bare(mongodb_url, floors.documents([body])) for body in asked[:5]])
            measured.append((seconds, bare, tick_seconds(stack), memory(stack)))
    (few_s, few_bare, few_tick, few_mb), (many_s, many_bare, many_tick, many_mb) = measured
    rows = [
        ("latency of 1000 messages, s", few_s, many_s),
        ("bare insert_many of the same, s", few_bare, many_bare),
        ("latency above bare insert_many, s", few_s - few_bare, many_s - many_bare),
        ("ticks of all sensors, s", few_tick, many_tick),
        *((f"memory of {label}, MB", few_mb[label], many_mb[label]) for label in few_mb),
    ]
    table(
        f"with {FEW:,} and {many:,} messages stored", ("", f"{FEW:,}", f"{many:,}", "ratio"),
        [(name, f"{few:.3f}", f"{much:.3f}", f"{much / few:.2f}x") for name, few, much in rows],
    )  # fmt: skip
    targets = Targets()
    for name, few, much in rows:
        if "bare" not in name:
            targets.at_most(f"growth of {name.partition(',')[0]}", much / few, 1.2, "x")
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
