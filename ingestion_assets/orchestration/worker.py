"""A warm worker: `python -m ingestion_assets.orchestration.worker --queue default`.

The parent process loads everything once and forks children, which find it in memory; each child executes one
run at a time.
"""

import argparse
import ctypes
import gc
import logging
import os
import signal
from collections import defaultdict
from collections.abc import Callable, Sequence

import billiard.pool
import celery.signals
import psutil
from dagster import DagsterInstance

from ingestion_assets.flows import all_flows
from ingestion_assets.orchestration.celery_app import EXECUTE_RUN, GPU_QUEUE, QUEUES, make_app
from ingestion_assets.orchestration.heartbeats import Worker
from ingestion_assets.orchestration.run_execution import execute_run
from ingestion_assets.orchestration.run_warden import RunWarden
from ingestion_assets.orchestration.warm_code import preload
from ingestion_assets.settings import load_settings
from ingestion_assets.stores import postgres

logger = logging.getLogger(__name__)

DEFINITIONS = "ingestion_assets.definitions"
PR_SET_PDEATHSIG = 1

_warm_up: dict[str, list[Callable[[], object]]] = defaultdict(list)


def work_on(queue: str) -> list[str]:
    """The modules that the flows whose runs go to `queue` work with."""
    return [name for flow in all_flows().values() if flow.runs.queue == queue for name in flow.work]


def on_child_start(queue: str, callback: Callable[[], object]) -> None:
    """Call `callback` in each child of a worker on `queue`, right after the fork.

    What must not be forked, such as a model on the GPU, is loaded there and stays loaded between runs.
    """
    _warm_up[queue].append(callback)


def run_worker(*, queue: str, concurrency: int, module: str = DEFINITIONS, drain_s: float = 8.0) -> None:
    """Execute runs of `queue`, `concurrency` at a time, until SIGTERM; then give them `drain_s` to end."""
    settings = load_settings()
    app = make_app(settings)
    worker = Worker.here()
    engine = postgres.engine()
    preload(module, work=work_on(queue))
    instance = DagsterInstance.get()
    warden = RunWarden(
        instance=instance,
        engine=engine,
        worker=worker,
        heartbeat_s=settings.heartbeat_s,
        drain_s=drain_s,
        stalled_s=settings.run_stalled_s,
        lease_s=settings.lease_s,
        broker_url=settings.require("redis_url"),
    )

    @app.task(name=EXECUTE_RUN, bind=False)
    def _execute(run_id: str) -> None:
        execute_run(run_id, instance=instance, engine=engine, worker=worker, lease_s=settings.lease_s)
        _return_memory()

    @celery.signals.worker_process_init.connect(weak=False)
    def _start_child(**_: object) -> None:
        _die_with_parent(worker.pid)
        engine.dispose(close=False)  # the parent's connections are the parent's
        for callback in _warm_up[queue]:
            callback()
        gc.collect()
        gc.freeze()

    @celery.signals.worker_process_shutdown.connect(weak=False)
    def _leave(exitcode: int, **_: object) -> None:
        # billiard sleeps for a second here, and a run given to this child meanwhile would wait until its parent notices.
        os._exit(exitcode)

    @celery.signals.worker_ready.connect(weak=False)
    def _watch(**_: object) -> None:
        warden.start()

    @celery.signals.worker_shutting_down.connect(weak=False)
    def _drain(**_: object) -> None:
        warden.drain()

    gc.freeze()
    # Python keeps some of what a large claim took. billiard looks at the peak, which never goes down again.
    billiard.pool.mem_rss = _resident_kb
    app.conf.worker_max_memory_per_child = _resident_kb() + settings.worker_spare_mb * 1024
    app.worker_main(
        [
            "worker",
            f"--queues={queue}",
            f"--concurrency={concurrency}",
            f"--hostname={queue}-{worker.pid}@%h",
            f"--loglevel={settings.log_level}",
            "--optimization=fair",
            "--without-gossip",
            "--without-mingle",
            "--without-heartbeat",
        ]
    )


def _return_memory() -> None:
    """Give what a large claim took back to the system; glibc would keep it for the next one."""
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)


def _resident_kb() -> int:
    """Memory that this process has resident; a forked child begins with its parent's."""
    return psutil.Process().memory_info().rss // 1024


def _die_with_parent(parent: int) -> None:
    """A child of a killed worker would go on by itself, with nobody beating for its run."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    settings = load_settings()
    parser = argparse.ArgumentParser(description="Execute Dagster runs in warm processes.")
    parser.add_argument("--queue", choices=QUEUES, required=True)
    parser.add_argument("--concurrency", type=int, help="processes; default: that of the settings")
    parser.add_argument(
        "--module", default=DEFINITIONS, help="module of the code location, default %(default)s"
    )
    parser.add_argument("--drain", type=float, default=8.0, help="seconds that runs get to end at SIGTERM")
    chosen = parser.parse_args(arguments)
    of_settings = settings.workers_gpu if chosen.queue == GPU_QUEUE else settings.workers_default
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run_worker(
        queue=chosen.queue,
        concurrency=chosen.concurrency or of_settings,
        module=chosen.module,
        drain_s=chosen.drain,
    )


if __name__ == "__main__":
    main()
