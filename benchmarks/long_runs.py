"""Seconds from the POST of one message to its answer while a long run is at work, beside the usual time, in turns.

The long run is that of the tests: small steps that mostly wait, its progress told and followed. It takes a worker process for itself.
"""

import os
import sys
import time

import httpx
import msgspec
from measuring import ROOT, Targets, arguments, bench_stack, post_in_turn, quantile, table_of_seconds

from ingestion_assets.samples.transcripts import messages
from ingestion_assets_tests.servers import wait_until

STEP_S = 0.5
WITHIN_S = 60


def begin(client: httpx.Client) -> str:
    """A payload whose run is at work."""
    answer = client.post("/api/v1/long-tests", json={"steps": 100_000, "step_s": STEP_S}).raise_for_status()
    drop = answer.json()["id"]
    wait_until(lambda: receipt(client, drop)["progress"], seconds=WITHIN_S, what="the long run to be at work")
    return drop


def receipt(client: httpx.Client, drop: str) -> dict:
    return client.get(f"/api/v1/receipts/{drop}").raise_for_status().json()


def cancel(client: httpx.Client, drop: str) -> float:
    """Seconds until the run has ended at its next safe point."""
    began = time.monotonic()
    client.post(f"/api/v1/receipts/{drop}/cancel").raise_for_status()
    wait_until(lambda: receipt(client, drop)["state"] == "failed", seconds=WITHIN_S, what="the cancel")
    return time.monotonic() - began


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__)
    turns, number = (2, 8) if options.quick else (5, 20)
    lines = messages(lines=2 * turns * number + 3, seed=615)
    bodies = [msgspec.json.encode({"messages": [line]}) for line in lines]
    os.environ["PYTHONPATH"] = str(ROOT)  # where the stack's programs find the flow of the tests
    usual: list[float] = []
    during: list[float] = []
    ends: list[float] = []
    with (
        bench_stack(flows="ingestion_assets_tests.long_flow.flow", workers_default=3) as stack,
        httpx.Client(base_url=stack.url, headers={"X-API-Key": stack.admin_token}, timeout=60) as client,
    ):
        post_in_turn(stack, bodies[:3])
        for turn in range(turns):
            start = 3 + 2 * turn * number
            usual += post_in_turn(stack, bodies[start : start + number])
            drop = begin(client)
            during += post_in_turn(stack, bodies[start + number : start + 2 * number])
            assert receipt(client, drop)["state"] == "claimed"
            ends.append(cancel(client, drop))
    table_of_seconds(
        f"POST of one message to 200, {turns} turns of {number} requests",
        {"usual": usual, "beside a long run": during},
    )
    targets = Targets()
    p95 = quantile(during, 0.95) / quantile(usual, 0.95)
    targets.at_most("times its usual 95th percentile beside a long run", p95, 1.2)
    targets.at_most("seconds from a cancel to the end of the run, at most", max(ends), STEP_S + 2, " s")
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
