"""Messages a second from the first POST to the last receipt done, against bare `insert_many` of the same documents.

The floor is measured on the same server before and after, on halves of the documents, so that a slow minute counts for both.
"""

import asyncio
import sys
import time

import floors
import psycopg
from clients import request, send_all
from measuring import BATCH, Targets, arguments, batches, bench_stack, table

CONNECTIONS = 4
GIVE_UP_S = 600

_OPEN = "SELECT count(*) FILTER (WHERE state NOT IN ('done', 'failed')), count(*) FILTER (WHERE state = 'failed') FROM ingestion.drops"
_LAST = "SELECT extract(epoch FROM max(finished_at))::float8 FROM ingestion.drops"
_RUNS = """
    SELECT count(*), min(start_time), max(end_time), sum(end_time - start_time) FROM public.runs
"""


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
            prepared = [request(stack.url, body, token=token, prefer="respond-async") for body in bodies]
            first = time.time()
            answers = asyncio.run(send_all(stack.url, prepared, connections=CONNECTIONS))
            accepted = time.time() - first
            assert all(answer.status == 202 for answer in answers), [
                a.body[:300] for a in answers if a.status != 202
            ][:1]
            ours = wait_for_all(connection) - first
            runs = connection.execute(_RUNS).fetchone()
            assert runs is not None
            stored = connection.execute("SELECT count(*) FROM ingestion.conversation_facts").fetchone()
            assert stored is not None
        after = floors.insert_bare(mongodb_url, documents[half:])
    bare = before + after
    table(
        f"{amount:,} messages, {len(documents):,} of them different", ("", "s", "messages/s"),
        [
            (f"accepted, {CONNECTIONS} connections", f"{accepted:.1f}", f"{amount / accepted:,.0f}"),
            (f"first POST to last receipt, {runs[0] - 2} runs", f"{ours:.1f}", f"{amount / ours:,.0f}"),
            ("bare insert_many, first half", f"{before:.1f}", f"{half / before:,.0f}"),
            ("bare insert_many, second half", f"{after:.1f}", f"{(len(documents) - half) / after:,.0f}"),
        ],
    )  # fmt: skip
    targets = Targets()
    targets.at_least("share of the messages that is stored", stored[0] / len(documents), 1)
    targets.at_most("time against bare insert_many", ours / bare, 1.3, "x")
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
