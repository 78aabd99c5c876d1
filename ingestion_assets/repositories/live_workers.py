"""The processes that work on repositories: that they live, and what the status of the whole is.

A process beats by a thread of its own from its start on, so that one without work counts too. While it works, the heartbeat of its run
counts as well: a stage that lets no other thread run does not make it look dead.
"""

import logging
import socket
import threading
import uuid
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.settings import load_settings
from ingestion_assets.stores import postgres

OFFLINE_S = 15.0
ERROR_S = 300.0
DAY_S = 86_400.0
OFFLINE = "Offline"

log = logging.getLogger(__name__)

_BEAT = sa.text("""
    INSERT INTO repositories.workers (id, name) VALUES (:id, :name)
    ON CONFLICT (id) DO UPDATE SET beat_at = clock_timestamp()
""")
_PRUNE = sa.text(
    "DELETE FROM repositories.workers WHERE beat_at < clock_timestamp() - make_interval(secs => :day_s)"
)


def begin() -> None:
    """Have the calling process beat until it ends."""
    threading.Thread(target=_beat, name="repositories-beat", daemon=True).start()


def _beat() -> None:
    every_s = load_settings().heartbeat_s
    values = {"id": uuid.uuid4(), "name": socket.gethostname()}
    pause = threading.Event()
    told = False
    while not pause.wait(every_s if told else 0.0):
        told = True
        try:
            beat(postgres.engine(), **values)
        except SQLAlchemyError as error:
            log.debug("the worker's heartbeat failed: %s", error)


def beat(engine: sa.Engine, *, id: uuid.UUID, name: str) -> None:  # noqa: A002 - the column's name
    """The worker is alive."""
    with engine.begin() as connection:
        connection.execute(_BEAT, {"id": id, "name": name})
        connection.execute(_PRUNE, {"day_s": DAY_S})


_STATUS = sa.text("""
    WITH running AS (
        SELECT job.partition, job.id, beats.host, beats.beat_at FROM repositories.jobs job
        JOIN ingestion.drops ON drops.id = job.drop_id AND drops.state = 'claimed'
        LEFT JOIN ingestion.run_heartbeats beats ON beats.run_id = drops.run_id AND beats.ended_at IS NULL
        WHERE job.state = 'running'
    ), live AS (
        SELECT name, beat_at FROM repositories.workers UNION ALL SELECT split_part(host, ' ', 1), beat_at FROM running
    ), newest AS (
        SELECT CASE WHEN drops.errors -> 0 ->> 'code' = 'cancelled' THEN NULL ELSE job.error END AS error
        FROM repositories.jobs job LEFT JOIN ingestion.drops ON drops.id = job.drop_id
        WHERE job.ended_at > clock_timestamp() - make_interval(secs => :error_s) ORDER BY job.ended_at DESC, job.id DESC LIMIT 1
    )
    SELECT coalesce((SELECT array_agg(DISTINCT name ORDER BY name) FROM live
                     WHERE beat_at > clock_timestamp() - make_interval(secs => :offline_s)), '{}') AS workers,
           coalesce((SELECT array_agg(partition ORDER BY id) FROM running), '{}') AS running,
           (SELECT error FROM newest) AS error
""")


def worker_status(connection: sa.Connection) -> Mapping[str, Any]:
    """What the workers do as one: `Offline`, `Training Graph on …` of the longest at work, `Error: …` where the newest outcome within
    five minutes is one (to be cancelled is none), `Idle`; and which hosts they are on and what they work on."""
    found = connection.execute(_STATUS, {"error_s": ERROR_S, "offline_s": OFFLINE_S}).one()
    if not found.workers:
        status = OFFLINE
    elif found.running:
        status = f"Training Graph on {found.running[0]}"
    else:
        status = f"Error: {found.error}" if found.error else "Idle"
    return {"status": status, "workers": found.workers, "running": found.running}


_TARGET = sa.text("""
    SELECT name FROM repositories.workers WHERE beat_at > clock_timestamp() - make_interval(secs => :offline_s)
    ORDER BY beat_at DESC LIMIT 1
""")


def target(connection: sa.Connection) -> str:
    """The host of a worker that takes the next repository; `Offline` where there is none."""
    return connection.scalar(_TARGET, {"offline_s": OFFLINE_S}) or OFFLINE
