"""Payloads accepted a second (respond-async, 32 clients), against a bare ASGI app that reads the body and syncs in groups.

The two servers run side by side and are measured in turns. Everything that a payload passes is there (key, limits, checks,
segment, ledger); runs are not started, because their work would be measured with it.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import msgspec
import psutil
from clients import keep_sending, request
from measuring import ROOT, Targets, arguments, median, table, temporary_home

from ingestion_assets.samples.transcripts import messages
from ingestion_assets.stores.embedded import embedded_postgres, embedded_valkey, free_port
from ingestion_assets.stores.postgres import engine, migrate
from ingestion_assets_tests.servers import running, wait_until
from ingestion_assets_tests.stacks import clean_environment

CLIENTS = 32
TOKEN = "benchmark-admin-token"  # noqa: S105
BENCHMARKS = ROOT / "benchmarks"


def body_of(size: int, *, seed: int) -> bytes:
    """A batch of about `size` bytes."""
    lines: list[object] = []
    total = 0
    for line in messages(lines=3000, seed=seed):
        encoded = len(msgspec.json.encode(line)) + 1
        if total + encoded > size and lines:
            continue
        lines.append(line)
        total += encoded
        if total > size * 0.95 or len(lines) == 1000:
            break
    return msgspec.json.encode({"messages": lines})


@contextmanager
def server(script: str, *arguments: str, port: int, environment: dict[str, str]) -> Iterator[psutil.Process]:
    """A server of ours, listening, within the block."""
    process = subprocess.Popen((sys.executable, str(BENCHMARKS / script), *arguments), env=environment)
    try:
        wait_until(lambda: process.poll() is not None or answers(port), seconds=60, what=script)
        assert process.poll() is None, f"{script} ended"
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=20)


def answers(port: int) -> bool:
    """Whether a POST there is answered."""
    try:
        return httpx.post(f"http://127.0.0.1:{port}/", timeout=5).status_code > 0
    except httpx.HTTPError:
        return False


def busy(process: psutil.Process) -> float:
    """Processor seconds of a process so far."""
    times = process.cpu_times()
    return times.user + times.system


def rate(
    url: str, bodies: list[bytes], *, seconds: float, process: psutil.Process
) -> tuple[float, float, float]:
    """Requests a second, and what share of a core the server and this client used."""
    requests = [request(url, body, token=TOKEN, prefer="respond-async") for body in bodies]
    server_before, own_before = busy(process), time.process_time()
    began = time.time()
    answered = asyncio.run(keep_sending(url, requests, connections=CLIENTS, seconds=seconds))
    took = time.time() - began
    refused = [answer for answer in answered if answer.status != 202]
    assert not refused, (refused[0].status, refused[0].body[:300])
    return (
        len(answered) / took,
        (busy(process) - server_before) / took,
        (time.process_time() - own_before) / took,
    )


def main() -> int:
    """Measure and judge."""
    options = arguments(__doc__)
    seconds, turns = (2.0, 3) if options.quick else (3.0, 9)
    targets = Targets()
    rows = []
    with temporary_home() as home, running(embedded_postgres(folder=home / "postgres", port=free_port())) as postgres, \
            running(embedded_valkey(folder=home / "valkey", port=free_port())) as valkey:  # fmt: skip
        migrate(postgres.url)
        engine(postgres.url).dispose()
        port, bare_port = free_port(), free_port()
        environment = clean_environment(
            home, port=port, postgres_url=postgres.url, redis_url=valkey.url, admin_token=TOKEN, rate_limit="",
            log_level="WARNING", max_inflight_bytes=512 * 2**20,
        ) | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(BENCHMARKS))), "MALLOC_ARENA_MAX": "2"}  # fmt: skip
        with server("accepting_door.py", port=port, environment=environment) as ours, \
                server("bare_app.py", str(bare_port), str(home / "bare"), port=bare_port, environment=environment) as bare:  # fmt: skip
            for name, size in (("1 KB", 1000), ("1 MB", 1_000_000)):
                bodies = [body_of(size, seed=seed) for seed in range(8)]
                both = [
                    ("front door", f"http://127.0.0.1:{port}", ours),
                    ("bare app", f"http://127.0.0.1:{bare_port}", bare),
                ]
                results: dict[str, list[tuple[float, float, float]]] = {label: [] for label, _, _ in both}
                for _, url, process in both:
                    rate(url, bodies, seconds=1, process=process)
                for _ in range(turns):
                    for label, url, process in both:
                        results[label].append(rate(url, bodies, seconds=seconds, process=process))
                for label, measured in results.items():
                    rows.append(
                        (
                            f"{name}, {label}",
                            *(
                                f"{median(column):,.{digits}f}"
                                for column, digits in zip(zip(*measured, strict=True), (0, 2, 2), strict=True)
                            ),
                        )
                    )
                ratios = [
                    a[0] / b[0] for a, b in zip(results["front door"], results["bare app"], strict=True)
                ]
                targets.at_least(f"rate of {name} bodies against the bare app", median(ratios), 0.5, "x")
    table(
        f"{CLIENTS} clients, medians of {turns} turns",
        ("", "requests/s", "server, cores", "client, cores"),
        rows,
    )
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
