"""What a backfill of many days costs with and without ranges, what a live message waits for beside one, how soon a cancelled one ends.

All in the same run: a stack that rebuilds a day a run, then one that rebuilds ranges.
"""

import sys
import time
from dataclasses import dataclass

import msgspec
from measuring import Targets, arguments, bench_stack, post_in_turn, quantile, table, table_of_seconds

from ingestion_assets.samples.transcripts import messages
from ingestion_assets_tests import backfills
from ingestion_assets_tests.browser.ledger import ask
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

FULL_DAYS, PAYLOADS_A_DAY = 10, 3


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a whole backfill."""

    seconds: float
    runs: int
    events: int


def cost_of(stack: RunningStack, days: list[str]) -> Cost:
    """Rebuild these days."""
    started = time.monotonic()
    backfill = backfills.launch(stack, days)
    wait_until(
        lambda: backfills.status_of(stack, backfill) not in {"REQUESTED", "COMPLETED"}, seconds=3600, what="the backfill"
    )  # fmt: skip
    seconds = time.monotonic() - started
    runs = backfills.runs_of(stack, backfill)
    assert set(runs.values()) == {"SUCCESS"}, runs
    told = backfills.days_told(stack, list(runs))
    assert told == set(days), f"not done: {sorted(set(days) - told)}"
    events = ask(stack, "SELECT count(*) FROM event_logs WHERE run_id = ANY(%s)", list(runs))[0][0]
    return Cost(seconds, len(runs), events)


def fill(stack: RunningStack, days: list[str]) -> None:
    """Payloads of today, as if some had come on each of these days."""
    lines = list(messages(lines=200 * len(days) * PAYLOADS_A_DAY, seed=11))
    bodies = [
        msgspec.json.encode({"messages": lines[start : start + 200]}) for start in range(0, len(lines), 200)
    ]
    post_in_turn(stack, bodies)
    newest = "SELECT id FROM ingestion.drops WHERE flow = 'conversations' ORDER BY id DESC LIMIT %s"
    ids = [one for (one,) in ask(stack, newest, len(bodies))]
    move = "UPDATE ingestion.drops SET partition = %s, lane = %s WHERE id = ANY(%s) RETURNING id"
    for number, day in enumerate(days):
        ask(stack, move, day, day, ids[number :: len(days)])


def costs(stack: RunningStack, *, empty: int) -> dict[str, Cost]:
    """Of empty days and of full ones."""
    full = backfills.days_ago(last=empty + FULL_DAYS, first=empty + 1)
    fill(stack, full)
    return {
        f"{empty} empty days": cost_of(stack, backfills.days_ago(last=empty, first=1)),
        f"{FULL_DAYS} full days": cost_of(stack, full),
    }


def until_cancelled(stack: RunningStack, days: list[str]) -> float:
    """Seconds from the wish to cancel until none of a backfill's runs goes on."""
    backfill = backfills.launch(stack, days)
    wait_until(
        lambda: "STARTED" in backfills.runs_of(stack, backfill).values(), seconds=60, what="its first run"
    )
    started = time.monotonic()
    backfills.cancel(stack, backfill)
    wait_until(
        lambda: set(backfills.runs_of(stack, backfill).values()) <= {"CANCELED", "SUCCESS"}, seconds=60, what="its end"
    )  # fmt: skip
    return time.monotonic() - started


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__)
    empty, number = (40, 8) if options.quick else (240, 40)
    bodies = [msgspec.json.encode({"messages": [line]}) for line in messages(lines=2 * number + 3, seed=240)]
    targets = Targets()
    with bench_stack(backfill_days_a_run=1) as stack:
        before = costs(stack, empty=empty)
    with bench_stack() as stack:
        after = costs(stack, empty=empty)
        many = backfills.days_ago(last=empty + FULL_DAYS + number, first=empty + FULL_DAYS + 1)
        fill(stack, many)
        post_in_turn(stack, bodies[:3])
        usual = post_in_turn(stack, bodies[3 : 3 + number])
        backfill = backfills.launch(stack, many)
        during = post_in_turn(stack, bodies[3 + number :])
        statuses = list(backfills.runs_of(stack, backfill).values())
        at_work = sum(status in {"STARTED", "SUCCESS"} for status in statuses)
        to_do = sum(status in {"QUEUED", "STARTING", "STARTED"} for status in statuses)
        backfills.cancel(stack, backfill)
        wait_until(
            lambda: backfills.status_of(stack, backfill) not in {"REQUESTED", "CANCELING"}, seconds=120, what="the backfill to end",
        )  # fmt: skip
        cancelled = until_cancelled(stack, many)
    table(
        "A backfill: a day a run, and in ranges",
        ("", "seconds", "runs", "events", "seconds in ranges", "runs", "events", "times faster"),
        [
            (name, f"{one.seconds:.1f}", str(one.runs), str(one.events), f"{other.seconds:.1f}", str(other.runs),
             str(other.events), f"{one.seconds / other.seconds:.1f}")
            for (name, one), other in zip(before.items(), after.values(), strict=True)
        ],
    )  # fmt: skip
    table_of_seconds(
        f"POST of one message to 200, {number} requests",
        {"usual": usual, f"beside a backfill of {number} full days": during},
    )
    first, *_ = after
    targets.at_least("times faster in ranges, empty days", before[first].seconds / after[first].seconds, 5)
    targets.at_least("runs of backfills beside the messages", at_work, 1)
    targets.at_least("runs of backfills not at their end after the last message", to_do, 1)
    targets.at_most(
        "times its usual time beside a backfill, p95", quantile(during, 0.95) / quantile(usual, 0.95), 1.3
    )
    targets.at_most("seconds until a cancelled backfill has ended", cancelled, 10)
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
