"""What runs that are over still hold in the ledger goes back to it: drops, lanes, dispatches."""

import dagster as dg
import sqlalchemy as sa

from ingestion_assets.landing.leases import release
from ingestion_assets.landing.open_dispatches import lose, open_dispatches
from ingestion_assets.landing.pauses import pause_lane
from ingestion_assets.landing.run_tags import DISPATCH_TAG
from ingestion_assets.landing.tables import drops, leases
from ingestion_assets.orchestration import heartbeats
from ingestion_assets.orchestration.dagster_internals import JobFailureData, RunFailureReason
from ingestion_assets.orchestration.heartbeats import Worker
from ingestion_assets.orchestration.queues import TASK_TAG
from ingestion_assets.orchestration.retries import FailureOf, cancelled, give_back
from ingestion_assets.settings import load_settings

PENDING_GRACE_S = 12.0  # above the time that a launch may take
CANCELED = "was cancelled"


def fail_lost_runs(instance: dg.DagsterInstance, engine: sa.Engine) -> int:
    """Fail the runs whose process is gone, of those that no worker took: a worker's warden sees to its own. Gives their number.

    Dagster's own launcher does not look after the runs that it started, and their code server does so only as long as it lives itself.
    """
    gone = heartbeats.abandoned(engine, host=heartbeats.host_name())
    gone += heartbeats.silent(engine, lease_s=load_settings().lease_s)
    number = 0
    for row in {row.run_id: row for row in gone}.values():
        run = instance.get_run_by_id(row.run_id)
        if run is not None and TASK_TAG in run.tags:
            continue
        if run is not None and not run.is_finished:
            said = f"The process that executed the run (pid {row.pid} on {row.host}) gives no sign of life any more."
            if run.status == dg.DagsterRunStatus.CANCELING:
                instance.report_run_canceled(run, f"Canceled. {said}")
            else:
                failure = JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION)
                instance.report_run_failed(run, said, failure)
            number += 1
        heartbeats.end(
            engine, run_id=row.run_id, worker=Worker(id=row.worker, host=row.host, pid=row.worker_pid)
        )
    return number


def give_back_dead_claims(instance: dg.DagsterInstance, engine: sa.Engine) -> int:
    """Return the drops of runs that ended without finishing them, and free their lanes. Gives the number of drops."""
    with engine.connect() as connection:
        held = connection.scalars(sa.select(drops.c.claim).where(drops.c.state == "claimed").distinct()).all()
        holders = connection.scalars(sa.select(leases.c.holder)).all()
    settings = load_settings()
    number = 0
    for claim_id in held:
        if (end := _end_of(instance, claim_id)) is None:
            continue
        reason = f"run {claim_id} {end} before it finished the payload"
        failure = cancelled(claim_id) if end == CANCELED else FailureOf("run_lost", reason, transient=False)
        with engine.begin() as connection:
            number += give_back(connection, claim_id, failure, settings)
    for run_id in holders:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            with engine.begin() as connection:
                release(connection, run_id)
    return number


def _end_of(instance: dg.DagsterInstance, root_run_id: str) -> str | None:
    """How the run ended; None while it or one of its retries lives, which work under its claim also once it is deleted."""
    run = instance.get_run_by_id(root_run_id)
    retries = instance.get_runs(dg.RunsFilter(tags={"dagster/root_run_id": root_run_id}))
    if not all(one.is_finished for one in (*retries, run) if one is not None):
        return None
    if run is None:
        return "was deleted"
    return {"CANCELED": CANCELED, "FAILURE": "failed"}.get(run.status.value, "ended")


def lose_dead_dispatches(instance: dg.DagsterInstance, engine: sa.Engine) -> int:
    """Note which runs that were asked for never came or are over. Gives their number."""
    with engine.connect() as connection:
        rows = open_dispatches(connection)
    dead = 0
    for row in rows:
        runs = instance.get_runs(dg.RunsFilter(tags={DISPATCH_TAG: str(row.id)}))
        is_new = row.age_s < PENDING_GRACE_S
        if not all(run.is_finished for run in runs) or (is_new and not runs):
            continue
        canceled = [run.run_id for run in runs if run.status == dg.DagsterRunStatus.CANCELED]
        with engine.begin() as connection:
            if lose(connection, [row.id]) and row.run_id is None and canceled:
                pause_s = load_settings().cancel_pause_s
                pause_lane(
                    connection,
                    row.lane.flow,
                    row.lane.name,
                    error=cancelled(canceled[0]).as_error(),
                    seconds=pause_s,
                )
        dead += 1
    return dead
