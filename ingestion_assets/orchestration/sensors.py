"""The sensors: one a flow that starts runs for what has landed, one that keeps storage, ledger and Dagster agreed.

The front door wakes runs at once; these make sure, after any crash. Neither keeps a cursor: the ledger is the queue of record.
"""

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_assets.landing.flows import Flow, Keys
from ingestion_assets.landing.run_tags import sensor_of

if TYPE_CHECKING:
    import sqlalchemy as sa

    from ingestion_assets.landing.dispatch import LaneState

BeforeTick = Callable[[dg.SensorEvaluationContext], str | None]
"""What is done before a sensor looks; says what a person should know, None where all is well."""
Others = Callable[["sa.Connection"], Mapping[str, Flow]]
"""The flows that come and go."""

INTERVAL_S = 5
RUNS_A_TICK = 50
# Of what looks at landing storage: times as seldom as at the inboxes. In a folder, where looking is free, both are done at each tick.
SEGMENTS_APART = 5
SWEEPS_APART = 360


def flow_sensor(flow: Flow, *, before: BeforeTick | None = None) -> dg.SensorDefinition:
    """Starts a run for each lane of the flow that has landed drops and nobody to work on them. `before` is done first."""

    runs = {flow.name: flow.runs}

    @dg.sensor(
        name=sensor_of(flow.name),
        job_name=flow.name,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Starts runs for landed {flow.name}, should the front door's wake not have done so.",
    )
    def landed(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        from ingestion_assets.landing import dispatch, pauses  # noqa: PLC0415
        from ingestion_assets.settings import load_settings  # noqa: PLC0415
        from ingestion_assets.stores import postgres  # noqa: PLC0415

        said = None if before is None else before(context)
        with postgres.engine().begin() as connection:
            states = dispatch.lane_states(connection, flows=[flow.name], rest_s=load_settings().lane_rest_s)
            room = dispatch.room(connection, runs)
            lanes = dispatch.lanes_to_dispatch(states, at_most=RUNS_A_TICK, runs=runs, room=room)
            dispatched = dispatch.request(
                connection, lanes, dispatch.priorities(states, runs), {flow.name: flow}
            )
            waiting = None if states else pauses.why_waiting(connection, flow.name)
        if not dispatched:
            why = (
                _why_none_is_started(context.instance, states, full=room.get(flow.name) == 0)
                if states
                else waiting or "Nothing has landed."
            )
            return dg.SkipReason(f"{said} {why}" if said else why)
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(run_key=str(one.id), partition_key=one.key, tags=one.tags())
                for one in dispatched
            ],
            dynamic_partitions_requests=_partitions_to_add(flow, {one.key for one in dispatched}),
        )

    return landed


def _why_none_is_started(instance: dg.DagsterInstance, states: "list[LaneState]", *, full: bool) -> str:
    """Lanes have work, but none is to get a run now."""
    from ingestion_assets.orchestration.coordinator import why_runs_wait  # noqa: PLC0415

    paused = [state for state in states if state.paused_s]
    resting = sorted(state.lane.name for state in states if state.rest_s and not state.paused_s)
    busy = sorted(state.lane.name for state in states if not state.due_in_s())
    said = [
        f"A run is at work or asked for already: {', '.join(busy)}." if busy else "",
        f"Little has gathered since the last run, and nobody waits for it: {', '.join(resting)}."
        if resting
        else "",
        why_runs_wait(instance),
        "As many runs of the flow as may go on at once are at work or asked for." if full else "",
    ]
    said += [
        f"The last {state.in_vain} runs of {state.lane.name} ended before they took anything; look at the newest. "
        f"The next one is started in {state.paused_s:.0f} s."
        for state in paused
    ]
    return " ".join(filter(None, said))


def _partitions_to_add(
    flow: Flow, keys: set[str]
) -> list[dg.AddDynamicPartitionsRequest | dg.DeleteDynamicPartitionsRequest]:
    """The partitions of runs asked for; adding one that is there changes nothing."""
    if not isinstance(flow.partitions, Keys):
        return []
    return [dg.AddDynamicPartitionsRequest(flow.partitions.name, sorted(keys))]


def _is_due(due: dict[str, float], what: str, every_s: float) -> bool:
    now = time.monotonic()
    if now < due[what]:
        return False
    due[what] = now + every_s
    return True


def reconciliation_sensor(
    flows: list[Flow], *, found: Collection[str], others: Others
) -> dg.SensorDefinition:
    """Registers late payloads, takes the inboxes, gives back what dead runs held.

    `found` are the names of all flows that there are, those left out for now among them: their payloads wait. `others` come and go.
    """
    kept: dict[
        str, Any
    ] = {}  # from tick to tick, what was seen of landing storage; losing it costs another look

    @dg.sensor(
        name="landing_reconciliation",
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Registers payloads that the ledger missed, takes files from the inboxes, and gives back the "
        "claims of runs that died.",
    )
    def landing_reconciliation(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        from ingestion_assets.event_lines import print_event_lines  # noqa: PLC0415
        from ingestion_assets.landing import inbox, late_segments, unknown_flows  # noqa: PLC0415
        from ingestion_assets.landing.drops import LandingUnavailableError  # noqa: PLC0415
        from ingestion_assets.landing.storage import open_storage  # noqa: PLC0415
        from ingestion_assets.orchestration.dead_runs import (  # noqa: PLC0415
            fail_lost_runs,
            give_back_dead_claims,
            lose_dead_dispatches,
        )
        from ingestion_assets.settings import load_settings  # noqa: PLC0415
        from ingestion_assets.stores import postgres  # noqa: PLC0415

        print_event_lines()
        engine = postgres.engine()
        settings = load_settings()
        if not kept:
            kept["storage"] = open_storage(settings)
            look_s = kept["look_s"] = settings.landing_look_s if kept["storage"].remote else 0.0
            kept["sweep"] = late_segments.Sweep(kept["storage"], rest_s=SWEEPS_APART * look_s)
            kept["inboxes"] = inbox.Inboxes(engine, kept["storage"])
            kept["due"] = {"segments": 0.0, "inboxes": 0.0}
        storage, look_s = kept["storage"], kept["look_s"]
        if failed := fail_lost_runs(context.instance, engine):
            context.log.error(f"{failed} runs whose process is gone were failed.")
        given_back = give_back_dead_claims(context.instance, engine)
        lost = lose_dead_dispatches(context.instance, engine)
        looked = late_segments.Reconciled(0, ())
        try:
            if _is_due(kept["due"], "segments", SEGMENTS_APART * look_s):
                looked = late_segments.register_late(
                    engine, storage, settled=late_segments.SETTLED, sweep=kept["sweep"]
                )
        except LandingUnavailableError as error:
            context.log.error(f"Not all that landed could be registered: {error}.")
            kept["due"]["segments"] = 0.0
        with engine.begin() as connection:
            coming = others(connection)
            strange = unknown_flows.fail(connection, known=[*found, *coming])
        known = {**coming, **{flow.name: flow for flow in flows}}
        files = inbox.Taken()
        if _is_due(kept["due"], "inboxes", look_s):
            for name in kept["inboxes"].to_look_at(known):
                files += kept["inboxes"].take(known[name], max_bytes=settings.max_decoded_bytes)
        for path in looked.unreadable:
            context.log.error(
                f"The segment {path} cannot be read as a whole; `ingestion segments list` says why. What can be is registered."
            )
        if strange:
            context.log.error(f"{strange} payloads belong to flows that are not there; they failed.")
        return dg.SkipReason(
            f"{looked.registered} payloads registered late, {files.landed} inbox files ({files.refused} refused, "
            f"{files.left} left because of errors), {given_back} payloads given back, {lost} dispatches without a run."
        )

    return landing_reconciliation
