"""A warm worker: `python -m ingestion_assets.orchestration.worker --queue default`.

The parent process loads everything once and forks children, which find it in memory; each child executes one
run at a time.
"""

import argparse
import ctypes
import gc
import logging
import os
import pkgutil
import signal
from collections.abc import Sequence

import celery.signals
from dagster import DagsterInstance

from ingestion_assets.installed_flows import all_flows
from ingestion_assets.orchestration.celery_app import EXECUTE_RUN, make_app
from ingestion_assets.orchestration.celery_internals import allow_children, replace_children_that_grow
from ingestion_assets.orchestration.heartbeats import Worker
from ingestion_assets.orchestration.memory_watch import GROWTH
from ingestion_assets.orchestration.queues import DEFAULT_QUEUE, QUEUES, slots
from ingestion_assets.orchestration.run_execution import execute_run
from ingestion_assets.orchestration.run_warden import RunWarden
from ingestion_assets.orchestration.warm_code import WarmCode
from ingestion_assets.orchestration.worker_runs import WorkerRuns
from ingestion_assets.settings import load_settings
from ingestion_assets.stores import postgres

logger = logging.getLogger(__name__)

DEFINITIONS = "ingestion_assets.definitions"
PR_SET_PDEATHSIG = 1


def work_on(queue: str) -> list[str]:
    """The modules that the flows whose runs go to `queue` work with."""
    return [name for flow in all_flows().values() if flow.runs.queue == queue for name in flow.work]


def warm_up(queue: str) -> None:
    """Load, in a child of a worker on `queue`, what its flows want loaded before their first run and what must not be forked."""
    for flow in all_flows().values():
        for name in flow.warm if flow.runs.queue == queue else ():
            try:
                pkgutil.resolve_name(name)()
            except Exception:  # one flow's fault; its runs will say so
                logger.exception("%s, which the flow %s wants loaded, cannot be", name, flow.name)


def run_worker(*, queue: str, concurrency: int, module: str = DEFINITIONS, drain_s: float = 8.0) -> None:
    """Execute runs of `queue`, `concurrency` at a time, until SIGTERM; then give them `drain_s` to end."""
    settings = load_settings()
    app = make_app(settings)
    engine = postgres.engine()
    runs = WorkerRuns(worker=Worker.here(), engine=engine, settings=settings)
    code = WarmCode()
    # Others load a project's code before their first run of it.
    own = settings.own_modules if queue == DEFAULT_QUEUE else ()
    code.preload(module, work=work_on(queue), own=own, project=settings.project)
    instance = DagsterInstance.get()
    warden = RunWarden(
        instance=instance, runs=runs, drain_s=drain_s, broker_url=settings.require("redis_url")
    )

    @app.task(name=EXECUTE_RUN, bind=False)
    def _execute(run_id: str) -> None:
        execute_run(run_id, instance=instance, runs=runs, code=code)
        _return_memory()

    @celery.signals.worker_process_init.connect(weak=False)
    def _start_child(**_: object) -> None:
        _die_with_parent(runs.worker.pid)
        allow_children()
        engine.dispose(close=False)  # the parent's connections are the parent's
        warm_up(queue)
        gc.collect()
        gc.freeze()
        GROWTH.begin()

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
    # Python keeps some of what a large claim took.
    replace_children_that_grow(app, spare_kb=settings.worker_spare_mb * 1024, grown_kb=GROWTH.kb)
    app.worker_main(
        [
            "worker",
            f"--queues={queue}",
            f"--concurrency={concurrency}",
            f"--hostname={queue}-{runs.worker.pid}@%h",
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
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "500")  # what says the same of many partitions
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    run_worker(
        queue=chosen.queue,
        concurrency=chosen.concurrency or slots(settings)[chosen.queue],
        module=chosen.module,
        drain_s=chosen.drain,
    )


if __name__ == "__main__":
    main()
