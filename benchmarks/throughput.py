"""Messages a second from the first POST to the last receipt done, against bare `insert_many` of the same documents.

The floor is measured on the same server before and after, on halves of the documents, so that a slow minute counts for both.
"""

import asyncio
import sys
import time
from typing import LiteralString

import floors
import psycopg
from clients import request, send_all
from measuring import BATCH, Targets, arguments, batches, bench_stack, table

CONNECTIONS = 4
GIVE_UP_S = 600

_OPEN = "SELECT count(*) FILTER (WHERE state NOT IN ('done', 'failed')), count(*) FILTER (WHERE state = 'failed') FROM ingestion.drops"
_LAST = "SELECT extract(epoch FROM max(finished_at))::float8 FROM ingestion.drops"
_STAGES = """
    SELECT asset_key::json ->> 1, sum(took)::float8 FROM (
        SELECT id, asset_key, extract(epoch FROM timestamp - lag(timestamp) OVER (PARTITION BY run_id ORDER BY id)) AS took
        FROM public.event_logs
        WHERE dagster_event_type IN ('STEP_START', 'ASSET_MATERIALIZATION') AND step_key = 'conversations_claim'
            AND timestamp AT TIME ZONE 'UTC' >= to_timestamp(%s)
    ) ended WHERE asset_key IS NOT NULL GROUP BY 1 ORDER BY min(id)
"""
_RUNS = "SELECT count(*) FROM public.runs"
_FACTS = "SELECT count(*) FROM ingestion.conversation_facts"


def wait_for_all(connection: psycopg.Connection) -> float:
    """Wait until no drop is open; the Unix time at which the last one was finished."""
    deadline = time.monotonic() + GIVE_UP_S
    while True:
        row = connection.execute(_OPEN).fetchone()
        assert row is not None
        assert row[1] == 0, f"{row[1]} payloads failed"
        if row[0] == 0:
            last = connection.execute(_LAST).fetchone()
            assert last is not None
            return last[0]
        assert time.monotonic() < deadline, f"{row[0]} payloads are still open after {GIVE_UP_S} s"
        time.sleep(0.25)


def one_value(connection: psycopg.Connection, query: LiteralString) -> int:
    """The one number that a query gives."""
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__)
    amount = 20_000 if options.quick else 100_000
    bodies = batches(count=amount // BATCH + 2, seed=23)
    warm_up, bodies = bodies[:2], bodies[2:]
    documents = floors.documents(bodies)
    half = len(documents) // 2
    with bench_stack() as stack:
        mongodb_url, token = stack.environment["INGESTION_MONGODB_URL"], stack.admin_token
        warm = [request(stack.url, body, token=token) for body in warm_up]
        assert all(answer.status == 200 for answer in asyncio.run(send_all(stack.url, warm, connections=1)))
        before = floors.insert_bare(mongodb_url, documents[:half])
        with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
            runs_before, stored_before = one_value(connection, _RUNS), one_value(connection, _FACTS)
            prepared = [request(stack.url, body, token=token, prefer="respond-async") for body in bodies]
            first = time.time()
            answers = asyncio.run(send_all(stack.url, prepared, connections=CONNECTIONS))
            accepted = time.time() - first
            refused = [answer for answer in answers if answer.status != 202]
            assert not refused, (refused[0].status, refused[0].body[:300])
            ours = wait_for_all(connection) - first
            runs = one_value(connection, _RUNS) - runs_before
            stored = one_value(connection, _FACTS) - stored_before
            stages = connection.execute(_STAGES, (first,)).fetchall()
        after = floors.insert_bare(mongodb_url, documents[half:])
    bare = before + after
    table(
        f"{amount:,} messages, {len(documents):,} of them different", ("", "s", "messages/s"),
        [
            (f"accepted, {CONNECTIONS} connections", f"{accepted:.1f}", f"{amount / accepted:,.0f}"),
            (f"first POST to last receipt, {runs} runs", f"{ours:.1f}", f"{amount / ours:,.0f}"),
            ("bare insert_many, first half", f"{before:.1f}", f"{half / before:,.0f}"),
            ("bare insert_many, second half", f"{after:.1f}", f"{(len(documents) - half) / after:,.0f}"),
        ],
    )  # fmt: skip
    table(
        "where the time of the runs goes", ("", "s", "of the whole"),
        [(f"stage {name}", f"{seconds:.2f}", f"{seconds / ours:.0%}") for name, seconds in stages],
    )  # fmt: skip
    targets = Targets()
    targets.at_least("share of the messages that is stored", stored / len(documents), 1)
    targets.at_most("time against bare insert_many", ours / bare, 1.3, "x")
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
