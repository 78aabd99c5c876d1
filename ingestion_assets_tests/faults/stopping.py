"""Processes that stand still for a while (SIGSTOP) and then go on as if nothing had been: a suspended machine, a starved one."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil

from ingestion_assets_tests.faults.campaign import DEADLINE_S, Campaign, Round
from ingestion_assets_tests.faults.load import Senders
from ingestion_assets_tests.faults.targets import CHILD, PROGRAMS, SUPERVISORD, supervisord

BACKEND = "a process of PostgreSQL"
STOPPABLE = (*PROGRAMS, CHILD, BACKEND, SUPERVISORD)
STOPPED_S = (5.0, 120.0)


def stop_each(
    running: Campaign, *targets: str, payloads: int, seconds: tuple[float, float] = STOPPED_S
) -> Round:
    """A round within which the processes of each target, one after the other, stand still for some time of that range.

    Raises `AssertionError`.
    """
    lengths = [running.rng.uniform(*seconds) for _ in targets]

    def hurt(_: Senders) -> float:
        for target, length in zip(targets, lengths, strict=True):
            time.sleep(running.rng.uniform(0.02, 2.0))  # the point at which it is stopped, not a wait
            with stopped(_processes(running, target)):
                time.sleep(length)  # for how long it stands still, not a wait
        return time.monotonic()

    names = tuple(f"{target} for {length:.0f} s" for target, length in zip(targets, lengths, strict=True))
    made = running.payloads(payloads)
    return running.under_load(hurt, made, names=names, deadline_s=DEADLINE_S + sum(lengths))


@contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """These processes stand still within the block."""
    _signal(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        _signal(pids, signal.SIGCONT)


def _processes(running: Campaign, target: str) -> list[int]:
    stack = running.stack
    if target == SUPERVISORD:
        return [supervisord(stack.home)]
    if target == CHILD:
        return [running.rng.choice(worker_children(running))]
    if target == "MongoDB" and running.mongodb is not None:
        return [running.mongodb.process.pid]
    if target in ("PostgreSQL", BACKEND):
        server = stack.pid_of(PROGRAMS["PostgreSQL"])
        below = [child.pid for child in psutil.Process(server).children(recursive=True)]
        return [running.rng.choice(below)] if target == BACKEND else [server, *below]
    return [stack.pid_of(PROGRAMS[target])]


def worker_children(running: Campaign) -> list[int]:
    """The processes in which a worker executes runs."""
    worker = psutil.Process(running.stack.pid_of(PROGRAMS["worker"]))
    return [child.pid for child in worker.children(recursive=True)]


def _signal(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.kill(pid, number)
