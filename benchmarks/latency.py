"""Seconds from the POST of 1000 messages to the answer with its statistics, through the whole stack.

Against the targets, against the same stack under Dagster's default launcher, and beside the bare driver; and with 64
clients at once.
"""

import asyncio
import sys
import time
from uuid import UUID

import floors
import msgspec
import psycopg
import traces
import yaml
from clients import Answer, one_by_one, request, send_all
from measuring import (
    DAGSTER_YAML,
    Targets,
    arguments,
    as_rows,
    batches,
    bench_stack,
    median,
    quantile,
    table,
)

from ingestion_assets_tests.stacks import RunningStack

PAUSE_S = 0.3
CLIENTS = 64
CLIENTS_SIZE = 250
PEER_WAIT = "wait=60"


def default_launcher_yaml() -> str:
    """The stack's `dagster.yaml` with the launcher and the coordinator that Dagster comes with."""
    config = yaml.safe_load(DAGSTER_YAML.read_text(encoding="utf-8"))
    config["run_launcher"] = {"module": "dagster._core.launcher", "class": "DefaultRunLauncher"}
    config["run_coordinator"] = {"module": "dagster._core.run_coordinator", "class": "QueuedRunCoordinator"}
    config["run_monitoring"] = {"enabled": False}  # the default launcher has no health to monitor
    return yaml.safe_dump(config)


def post_one_by_one(stack: RunningStack, bodies: list[bytes], *, prefer: str | None = None) -> list[Answer]:
    """Post with a pause between, as a client now and then does."""
    answers = one_by_one(
        stack.url, [request(stack.url, body, token=stack.admin_token, prefer=prefer) for body in bodies],
        after_each=lambda _: time.sleep(PAUSE_S),
    )  # fmt: skip
    for answer in answers:
        assert answer.status == 200, (answer.status, answer.body[:500])
        stats = msgspec.json.decode(answer.body)["stats"]
        assert stats["messages_failed"] == 0 and stats["messages_processed"] > 0, stats
    return answers


def newest_drops(stack: RunningStack, number: int) -> list[UUID]:
    """The drops accepted last, oldest of them first."""
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as connection:
        rows = connection.execute(
            "SELECT id FROM ingestion.drops ORDER BY id DESC LIMIT %s", (number,)
        ).fetchall()
    return [row[0] for row in reversed(rows)]


def count_runs(stack: RunningStack) -> int:
    """All runs of the stack so far."""
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM public.runs").fetchone()
    assert row is not None
    return row[0]


def many_clients(stack: RunningStack, targets: Targets) -> None:
    """64 clients at once, each one batch."""
    bodies = batches(count=CLIENTS, seed=64, size=CLIENTS_SIZE)
    before = count_runs(stack)
    answers = asyncio.run(
        send_all(
            stack.url,
            [request(stack.url, body, token=stack.admin_token) for body in bodies],
            connections=CLIENTS,
        )
    )
    runs = count_runs(stack) - before
    seconds = [answer.seconds for answer in answers]
    answered = sum(answer.status == 200 for answer in answers)
    table(
        f"{CLIENTS} clients at once, {CLIENTS_SIZE} messages each", ("", "s"),
        as_rows({"first answered": min(seconds), "median": median(seconds), "last": max(seconds)}),
    )  # fmt: skip
    targets.at_least(f"of {CLIENTS} clients at once, answered with 200", answered, CLIENTS)
    targets.at_most(f"longest wait of {CLIENTS} clients", max(seconds), 15, " s")
    targets.at_most(f"runs for {CLIENTS} requests", runs, CLIENTS / 8)


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__)
    number, warm_up, peers = (8, 3, 2) if options.quick else (24, 5, 5)
    targets = Targets()
    bodies = batches(count=warm_up + number + peers + 1, seed=11)
    ours, theirs = bodies[: warm_up + number], bodies[warm_up + number :]
    with bench_stack() as stack:
        post_one_by_one(stack, ours[:warm_up])
        answers = post_one_by_one(stack, ours[warm_up:])
        seconds = [answer.seconds for answer in answers]
        stored = [floors.documents([body]) for body in ours[warm_up : warm_up + 6]]
        bare = median([floors.insert_bare(stack.environment["INGESTION_MONGODB_URL"], one) for one in stored])
        drops = newest_drops(stack, number)
        where = traces.breakdown(
            stack.environment["INGESTION_POSTGRES_URL"], list(zip(answers, drops, strict=True))
        )
        many_clients(stack, targets)
    with bench_stack(dagster_yaml=default_launcher_yaml()) as peer:
        post_one_by_one(peer, theirs[:1], prefer=PEER_WAIT)
        peer_seconds = median(
            [answer.seconds for answer in post_one_by_one(peer, theirs[1:], prefer=PEER_WAIT)]
        )
    p50 = median(seconds)
    table(
        f"POST of 1000 messages to 200, {number} requests", ("", "s", "of the median"),
        [
            ("median", f"{p50:.3f}", ""),
            ("95th percentile", f"{quantile(seconds, 0.95):.3f}", ""),
            ("under Dagster's default launcher, median", f"{peer_seconds:.3f}", f"{peer_seconds / p50:.1f}x"),
            ("bare insert_many of the same documents", f"{bare:.3f}", f"{bare / p50:.0%}"),
        ],
    )  # fmt: skip
    table(
        "where the time goes (medians)", ("", "s", "of the median"),
        [(part.name, f"{part.seconds:.3f}", f"{part.seconds / p50:.0%}") for part in where],
    )  # fmt: skip
    targets.at_most("median", p50, 1.5, " s")
    targets.at_most("95th percentile", quantile(seconds, 0.95), 3, " s")
    targets.at_least("times faster than under the default launcher", peer_seconds / p50, 5)
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
