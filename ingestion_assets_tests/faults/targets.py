"""What can be killed: finding the process at a random point under load, and killing it with SIGKILL."""

import os
import random
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg
import redis

from ingestion_assets.modules.web.queue_intake import ALIVE, QUEUE, TAKEN
from ingestion_assets.stack.places import Places
from ingestion_assets_tests.faults.load import Senders
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

FRONT_DOOR = "front door"
PROGRAMS: Mapping[str, str] = {
    FRONT_DOOR: "frontdoor",
    "worker": "worker-default",
    "GPU worker": "worker-gpu",
    "batch worker": "worker-batch",
    "daemon": "daemon",
    "code server": "code-server",
    "webserver": "webserver",
    "MongoDB": "mongodb",
    "PostgreSQL": "postgres",
    "Valkey": "valkey",
}
"""Targets that are programs of the stack, by what people call them."""
JOB = "front door with a job in hand"
"""The front door within some milliseconds of taking a job from the queue."""
CHILD = "worker child"
UP = "ingestion up"
SUPERVISORD = "supervisord"
TARGETS = (*PROGRAMS, JOB, CHILD, UP, SUPERVISORD)

RESTART_S = 60.0
HALT_S = 0.2
LANDING_S = 0.02


def kill(target: str, stack: RunningStack, load: Senders, rng: random.Random) -> float:
    """Kill `target` within the load; returns the time (monotonic) at which it was back.

    `ingestion up` and supervisord come back with the caller's next `ingestion up`: then it is the time of the kill.
    """
    if target == CHILD:
        return _kill_child(stack, load, rng)
    if target == JOB:
        return _kill_with_job(stack, load, rng)
    time.sleep(rng.uniform(0.02, 2.0))  # the point at which it is killed, not a wait
    if target == UP:
        os.kill(stack.process.pid, signal.SIGKILL)
        return time.monotonic()
    if target == SUPERVISORD:
        os.kill(supervisord(stack.home), signal.SIGKILL)
        return time.monotonic()
    program = PROGRAMS[target]
    before = stack.pid_of(program)
    os.kill(before, signal.SIGKILL)
    return _back(stack, program, before)


def _back(stack: RunningStack, program: str, before: int) -> float:
    """The time at which a program has another process than `before`."""
    wait_until(lambda: stack.pid_of(program) not in (0, before), seconds=RESTART_S, what=f"a new {program}")
    return time.monotonic()


def _kill_with_job(stack: RunningStack, load: Senders, rng: random.Random) -> float:
    """Kill the front door within the moment that it takes to land a job.

    While it is halted the server still moves the next job to its list: so that moment is found every time.
    """
    before = stack.pid_of(PROGRAMS[FRONT_DOOR])
    with redis.Redis.from_url(stack.environment["INGESTION_REDIS_URL"]) as queues:
        signs_of_life = map(os.fsdecode, queues.keys(f"{ALIVE}:*"))  # of killed ones too, for some seconds
        own = f"{TAKEN}:" + max(signs_of_life, key=queues.pttl).removeprefix(f"{ALIVE}:")
        while not load.is_over:
            os.kill(before, signal.SIGSTOP)
            until = time.monotonic() + HALT_S
            while not queues.llen(own) and not queues.llen(QUEUE) and time.monotonic() < until:
                pass
            has_one = queues.llen(own)
            os.kill(before, signal.SIGCONT)
            time.sleep(rng.uniform(0.0, LANDING_S))  # the point at which it is killed, not a wait
            if has_one:
                os.kill(before, signal.SIGKILL)
                return _back(stack, PROGRAMS[FRONT_DOOR], before)
    raise AssertionError("the front door took no job while the load lasted")


def _kill_child(stack: RunningStack, load: Senders, rng: random.Random) -> float:
    """Kill a worker's child at a random point of a run that it executes. A child is back as soon as it is gone."""
    at_work = "SELECT pid, run_id FROM ingestion.run_heartbeats WHERE ended_at IS NULL AND beat_at > now() - interval '10 s'"
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
        while not load.is_over:
            found = connection.execute(at_work).fetchone()
            if found is None:
                continue
            time.sleep(rng.uniform(0.0, 0.3))  # the point at which it is killed, not a wait
            if found in connection.execute(at_work).fetchall():
                os.kill(found[0], signal.SIGKILL)
                return time.monotonic()
    raise AssertionError("no run was at work while the load lasted")


def supervisord(home: Path) -> int:
    """The process id of a stack's supervisord."""
    return int((Places(home).run / "supervisord.pid").read_text(encoding="ascii"))
