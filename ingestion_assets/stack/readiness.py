"""How to tell that each part of a stack does its work. Probes answer at once and do not raise."""

import http.client
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import psutil

from ingestion_assets.settings import Settings
from ingestion_assets.stack.plan import StackPlan
from ingestion_assets.stores.embedded import (
    LOOPBACK,
    listens,
    mongodb_answers,
    postgres_answers,
    redis_answers,
)

Probe = Callable[[], bool]


def store_probes(plan: StackPlan) -> dict[str, Probe]:
    """Each store answers, be it embedded or not."""
    return {
        "PostgreSQL": lambda: postgres_answers(plan.urls["postgres_url"]),
        "MongoDB": lambda: mongodb_answers(plan.urls["mongodb_url"]),
        "Redis": lambda: redis_answers(plan.urls["redis_url"]),
    }


def program_probes(
    *, settings: Settings, plan: StackPlan, workers: Mapping[str, int], pid_of: Callable[[str], int]
) -> dict[str, Probe]:
    """Each of our own programs does its work; `workers` are the processes on each queue. A user's code servers hold nothing up."""
    since = time.time()
    postgres = plan.urls["postgres_url"]
    code_server_port = int(plan.environment["DAGSTER_CODE_SERVER_PORT"])
    probes: dict[str, Probe] = {
        "code-server": lambda: listens(code_server_port, host=LOOPBACK),
        "webserver": lambda: answers_http(settings.reached_at, settings.webserver_port, "/server_info"),
        "frontdoor": lambda: answers_http(settings.reached_at, settings.port, "/health/ready"),
    }
    for queue, number in workers.items():
        name = f"worker-{queue}"
        probes[name] = partial(lambda name, number: _has_children(pid_of(name), number), name, number)
    # The last to be up, and the dearest to ask: they are asked one after the other.
    probes["daemon"] = lambda: _daemon_beats(postgres, since=since)
    return probes


def answers_http(host: str, port: int, path: str) -> bool:
    """Whether GET `path` gives 200."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _daemon_beats(postgres_url: str, *, since: float) -> bool:
    """Whether the sensor daemon has reported since `since`."""
    import psycopg  # noqa: PLC0415

    with suppress(psycopg.Error), psycopg.connect(postgres_url, connect_timeout=2) as connection:
        return bool(
            connection.execute(
                "SELECT 1 FROM public.daemon_heartbeats WHERE daemon_type = 'SENSOR'"
                " AND timestamp >= to_timestamp(%s) AT TIME ZONE 'UTC'",
                (since,),
            ).fetchone()
        )
    return False


def _has_children(pid: int, count: int) -> bool:
    """Whether a worker has loaded the code and forked its processes."""
    try:
        return pid != 0 and len(psutil.Process(pid).children()) >= count
    except psutil.Error:
        return False
