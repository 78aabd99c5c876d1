"""The sensors: one a flow that starts runs for what has landed, one that keeps storage, ledger and Dagster agreed.

The front door wakes runs at once; these make sure, after any crash. Neither keeps a cursor: the ledger is the queue of record.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import dagster as dg
import sqlalchemy as sa

from ingestion_assets.landing import claims, dispatch, reconciliation
from ingestion_assets.landing.flows import Flow
from ingestion_assets.landing.storage import open_storage
from ingestion_assets.landing.tables import drops, leases
from ingestion_assets.orchestration.retries import REDISPATCH_DELAY_S
from ingestion_assets.settings import load_settings
from ingestion_assets.stores import postgres

INTERVAL_S = 5
RUNS_A_TICK = 50
PENDING_GRACE = timedelta(seconds=12)  # above the time that a launch may take
CANCELED = "was cancelled"


def flow_sensor(flow: Flow) -> dg.SensorDefinition:
    """Starts a run for each lane of the flow that has landed drops and nobody to work on them."""

    @dg.sensor(
        name=f"{flow.name}_landed",
        job_name=flow.job,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts runs for landed {flow.name}, should the front door's wake not have done so.",
    )
    def landed() -> dg.SensorResult | dg.SkipReason:
        with postgres.engine().begin() as connection:
            states = dispatch.lane_states(connection, flows=[flow.name])
            dispatched = dispatch.request(connection, dispatch.lanes_to_dispatch(states, at_most=RUNS_A_TICK))
        if not dispatched:
            busy = ", ".join(sorted(state.lane.name for state in states))
            return dg.SkipReason(
                f"A run is at work or asked for already: {busy}." if busy else "Nothing has landed."
            )
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(run_key=str(one.id), partition_key=one.lane.partition, tags=one.tags())
                for one in dispatched
            ]
        )

    return landed


def reconciliation_sensor(flows: list[Flow]) -> dg.SensorDefinition:
    """Registers late payloads, takes the inboxes, gives back what dead runs held."""

    @dg.sensor(
        name="landing_reconciliation",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Registers payloads that the ledger missed, takes files from the inboxes, and gives back the "
        "claims of runs that died.",
    )
    def landing_reconciliation(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        engine = postgres.engine()
        storage = open_storage(load_settings())
        given_back = give_back_dead_claims(context.instance, engine)
        lost = lose_dead_dispatches(context.instance, engine)
        found = reconciliation.register_late(engine, storage)
        files = sum(reconciliation.take_inbox(engine, storage, flow) for flow in flows)
        for path in found.corrupt:
            context.log.error(f"The segment {path} is corrupt and was not registered.")
        return dg.SkipReason(
            f"{found.registered} payloads registered late, {files} inbox files, {given_back} payloads given back, "
            f"{lost} dispatches without a run."
        )

    return landing_reconciliation


def give_back_dead_claims(instance: dg.DagsterInstance, engine: sa.Engine) -> int:
    """Return the drops of runs that ended without finishing them, and free their lanes. Gives the number of drops."""
    with engine.connect() as connection:
        held = connection.scalars(sa.select(drops.c.claim).where(drops.c.state == "claimed").distinct()).all()
        holders = connection.scalars(sa.select(leases.c.holder)).all()
    number = 0
    for claim_id in held:
        if (end := _end_of(instance, claim_id)) is None:
            continue
        with engine.begin() as connection:
            number += claims.give_back(
                connection,
                claim_id,
                error={"code": "run_lost", "reason": f"run {claim_id} {end} before it finished the payload"},
                transient=end == CANCELED,  # a person ended it: no fault of its payloads
                delay_s=REDISPATCH_DELAY_S,
                max_attempts=load_settings().max_attempts,
            )
    for run_id in holders:
        run = instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            with engine.begin() as connection:
                claims.release(connection, run_id)
    return number


def _end_of(instance: dg.DagsterInstance, root_run_id: str) -> str | None:
    """How the run and all its retries ended; None while one of them lives."""
    run = instance.get_run_by_id(root_run_id)
    if run is None:
        return "was deleted"
    retries = instance.get_runs(dg.RunsFilter(tags={"dagster/root_run_id": root_run_id}))
    if not run.is_finished or any(not retry.is_finished for retry in retries):
        return None
    return {"CANCELED": CANCELED, "FAILURE": "failed"}.get(run.status.value, "ended")


def lose_dead_dispatches(instance: dg.DagsterInstance, engine: sa.Engine) -> int:
    """Note which runs that were asked for never came or are over. Gives their number."""
    with engine.connect() as connection:
        rows = dispatch.open_dispatches(connection)
    dead: list[UUID] = []
    for row in rows:
        runs = instance.get_runs(dg.RunsFilter(tags={dispatch.DISPATCH_TAG: str(row.id)}))
        is_new = datetime.now(UTC) - row.requested_at < PENDING_GRACE
        if all(run.is_finished for run in runs) and (runs or not is_new):
            dead.append(row.id)
    if dead:
        with engine.begin() as connection:
            dispatch.lose(connection, dead)
    return len(dead)
