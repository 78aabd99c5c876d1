"""Dagster's run coordinator: launches what the ledger dispatched at once, queues everything else as usual.

Each queue of the workers has limits of its own (`queues.py`), so that runs which wait for a GPU hold up nothing else. While the broker is away whatever it gets waits in the queue, which the daemon looks at every second.
"""

from collections.abc import Mapping
from datetime import date
from functools import cached_property
from typing import Any, Self

from dagster import DagsterInstance, DagsterRun, DagsterRunStatus, RunsFilter

from ingestion_assets.installed_flows import all_flows
from ingestion_assets.landing.flows import LONGEST_S, Days, Flow
from ingestion_assets.landing.run_tags import DISPATCH_TAG, FLOW_TAG
from ingestion_assets.orchestration.broker_watch import BrokerWatch
from ingestion_assets.orchestration.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    IN_PROGRESS_RUN_STATUSES,
    ConfigurableClassData,
    QueuedRunCoordinator,
    RunQueueConfig,
    SubmitRunContext,
    TagConcurrencyLimitsCounter,
    look_at_backfills_every,
    take_limits_of_runs,
)
from ingestion_assets.orchestration.launcher import WarmRunLauncher
from ingestion_assets.orchestration.queues import (
    DEFAULT_QUEUE,
    QUEUE_TAG,
    limits,
    queue_of,
    slots,
    tags_at_submission,
)
from ingestion_assets.settings import load_settings

LOOKED_AT = 200  # queued runs of a queue
LOOK_AT_BACKFILLS_S = 1
"""A backfill begins, and ends when it is cancelled, within this time and that of its run."""


class LaneRunCoordinator(QueuedRunCoordinator):
    """`QueuedRunCoordinator` without its second of delay for dispatched runs, as long as the limits allow.

    Processes that submit at the same moment may exceed a limit by a run each, which waits in the broker. Limits in `dagster.yaml`,
    in its `concurrency` or here, hold beside those of the queues.
    """

    _given: Mapping[str, Any]

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData, config_value: Mapping[str, Any]) -> Self:
        # Above what the limits of the queues allow together: it holds for runs that were queued by a release without those.
        look_at_backfills_every(LOOK_AT_BACKFILLS_S)
        settings = load_settings()
        at_most = {"max_concurrent_runs": 2 * sum(slots(settings).values()) + settings.runs_elsewhere}
        return super().from_config_value(inst_data, {**at_most, **config_value})

    def register_instance(self, instance: DagsterInstance) -> None:
        super().register_instance(instance)
        self._given = {"runs": take_limits_of_runs(instance)}

    def get_run_queue_config(self) -> RunQueueConfig:
        """What the daemon goes by, too: nothing is taken from the queue while the broker is away."""
        config = super().get_run_queue_config().with_concurrency_settings(self._given)
        given = config.tag_concurrency_limits or ()
        config = config._replace(tag_concurrency_limits=[*self._limits_of_queues, *given])
        watch = _watch(self._instance)
        held_back = watch is not None and watch.holds_back()
        return config._replace(max_concurrent_runs=0) if held_back else config

    @cached_property
    def _limits_of_queues(self) -> list[dict[str, Any]]:
        return limits(load_settings(), all_flows().values())

    def submit_run(self, context: SubmitRunContext) -> DagsterRun:
        run = context.dagster_run
        dispatched = DISPATCH_TAG in run.tags
        launcher = self._instance.run_launcher
        warm = not isinstance(launcher, WarmRunLauncher) or launcher.is_warm(run)
        lacking = tags_at_submission(run.tags, dispatched=dispatched, warm=warm) | _time_for_a_range(run)
        if lacking:
            self._instance.add_run_tags(run.run_id, lacking)
            run = run.with_tags({**run.tags, **lacking})
        if run.status == DagsterRunStatus.NOT_STARTED and dispatched and self._has_room(run=run):
            self._instance.launch_run(run.run_id, context.workspace)
            launched = self._instance.get_run_by_id(run.run_id)
            if launched is None:
                raise LookupError(f"Run {run.run_id} was deleted while it was launched.")
            return launched
        return super().submit_run(context)

    def _has_room(self, *, run: DagsterRun) -> bool:
        config = self.get_run_queue_config()
        if config.max_concurrent_runs == 0:
            return False
        in_progress = self._instance.get_runs(RunsFilter(statuses=IN_PROGRESS_RUN_STATUSES))
        if 0 < config.max_concurrent_runs <= len(in_progress):
            return False
        tags = TagConcurrencyLimitsCounter(config.tag_concurrency_limits, in_progress)
        return not (tags.is_blocked(run) or self._is_behind(run))

    def _is_behind(self, run: DagsterRun) -> bool:
        """Whether another dispatched run waits for the same queue, and would wait for hours if this one went first."""
        queue = queue_of(run.tags)
        if queue == DEFAULT_QUEUE:
            return False
        queued = RunsFilter(statuses=[DagsterRunStatus.QUEUED], tags={QUEUE_TAG: queue})
        return any(DISPATCH_TAG in other.tags for other in self._instance.get_runs(queued, limit=LOOKED_AT))


def _time_for_a_range(run: DagsterRun) -> dict[str, str]:
    """A run of our jobs over many days may take as often the time of one, a day at most."""
    name = run.tags.get(FLOW_TAG)
    if name is None or ASSET_PARTITION_RANGE_START_TAG not in run.tags:
        return {}
    flow = all_flows().get(name, Flow(name=name))  # one that comes and goes has what a flow has by default
    if not isinstance(flow.partitions, Days):
        return {}
    try:
        first, last = (
            date.fromisoformat(run.tags[tag])
            for tag in (ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)
        )
    except ValueError:  # keys of a zone that is partitioned by a value
        return {}
    longest_s = min(LONGEST_S, flow.runs.longest_s * ((last - first).days + 1))
    wanted = {"dagster/max_runtime": f"{longest_s:.0f}"}
    return {name: value for name, value in wanted.items() if run.tags.get(name) != value}


def why_runs_wait(instance: DagsterInstance) -> str | None:
    """What keeps every run in the queue, in words; None where nothing does."""
    watch = _watch(instance)
    error = None if watch is None else watch.look()
    return None if error is None else f"The broker does not answer, runs wait until it does: {error}"


def _watch(instance: DagsterInstance) -> BrokerWatch | None:
    launcher = instance.run_launcher
    return launcher.broker if isinstance(launcher, WarmRunLauncher) else None
