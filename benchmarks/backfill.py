"""Seconds from the POST of one message to its answer while a long backfill waits in the queue, beside the usual time.

Both are measured in the same run, on the same stack.
"""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import msgspec
import psycopg
from measuring import ROOT, Targets, arguments, bench_stack, median, post_in_turn, table_of_seconds

from ingestion_assets.samples.transcripts import messages
from ingestion_assets_tests.stacks import RunningStack


def queued(stack: RunningStack) -> int:
    """Runs that wait in Dagster's queue."""
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as connection:
        row = connection.execute("SELECT count(*) FROM public.runs WHERE status = 'QUEUED'").fetchone()
    assert row is not None
    return row[0]


def backfill(stack: RunningStack, *, days: int) -> None:
    """Have the days before today rebuilt, as a person does on the command line."""
    today = datetime.now(UTC).date()
    subprocess.run(
        [
            sys.executable, "-m", "dagster", "job", "backfill", "-j", "conversations", "--noprompt",
            "--from", str(today - timedelta(days=days)), "--to", str(today - timedelta(days=1)),
        ],
        cwd=ROOT, env=stack.environment, check=True, capture_output=True,
    )  # fmt: skip


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__)
    days, number = (40, 8) if options.quick else (240, 20)
    bodies = [msgspec.json.encode({"messages": [line]}) for line in messages(lines=2 * number + 3, seed=240)]
    targets = Targets()
    with bench_stack() as stack:
        post_in_turn(stack, bodies[:3])
        usual = post_in_turn(stack, bodies[3 : 3 + number])
        backfill(stack, days=days)
        before = queued(stack)
        during = post_in_turn(stack, bodies[3 + number :])
        left = queued(stack)
    table_of_seconds(
        f"POST of one message to 200, {number} requests",
        {"usual": usual, f"behind {before} to {left} queued runs": during},
    )
    targets.at_least("runs still queued at the end", left, 1)
    targets.at_most("times its usual time behind a backfill", median(during) / median(usual), 2)
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
