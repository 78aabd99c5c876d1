"""One run for many days: rebuilt one after the other, in groups of payloads of one lane each, every group a claim of its own.

So a range takes the memory of one group, and a day's lane is free between two of them: for live payloads, which go first. What becomes
of a day is told when all its groups are through. A day that fails takes none of the others; the run goes on, fails at its end, and run
again does what is left. Days without payloads are told together.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import sqlalchemy as sa
from dagster import AssetCheckEvaluation

from ingestion_assets.landing import piecewise
from ingestion_assets.landing.claims import MAX_DROPS
from ingestion_assets.landing.flows import Flow
from ingestion_assets.landing.piecewise import Group
from ingestion_assets.orchestration import dagster_internals as internals
from ingestion_assets.orchestration.checks_before import known_of, known_partitions
from ingestion_assets.orchestration.claiming import BlockedError, working
from ingestion_assets.orchestration.data_versions import version_tags
from ingestion_assets.orchestration.partition_checks import together, told
from ingestion_assets.settings import load_settings
from ingestion_assets.stores import postgres
from ingestion_assets.stores.error_text import ToldError, text_of

if TYPE_CHECKING:
    from ingestion_assets.orchestration.stages import Stage

LISTED = 20
LIVE_GROUP_BYTES = 2**20
"""Of a group of today's payloads: whoever waits for a new one waits for a second at most."""
GIVE_WAY_S = 10.0
ASKED_FOR_WITHIN_S = 0.3  # a run for what has landed, once its lane is free
_AGAIN = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


class DaysFailedError(Exception):
    """Some days of a range could not be rebuilt; the others are."""

    def __init__(self, failed: Mapping[str, str], *, of: int) -> None:
        listed = "; ".join(f"{day}: {why}" for day, why in list(failed.items())[:LISTED])
        more = f"; and {len(failed) - LISTED} more" if len(failed) > LISTED else ""
        super().__init__(
            f"{len(failed)} of {of} days failed, the others are done. Re-execute the run, which does those alone. {listed}{more}"
        )


def rebuild_range(
    context: dg.AssetExecutionContext, flow: Flow, stages: "Sequence[Stage]", *, ends: bool
) -> None:
    """Rebuild the run's days by these stages. Raises `DaysFailedError`."""
    engine = postgres.engine()
    done = _done_before(context, stages[-1].spec.key)
    days = [day for day in context.partition_keys if day not in done]
    with engine.connect() as connection:
        full = piecewise.with_payloads(connection, flow=flow.name, partitions=days)
    specs = [spec for stage in stages for spec in stage.check_specs]
    full |= known_partitions(context.instance, specs, partitions=days)
    tags = version_tags([stage.spec for stage in stages])
    _tell_empty(context, stages, [day for day in days if day not in full], tags)
    failed: dict[str, str] = {}
    for number, day in enumerate(day for day in days if day in full):
        report = _Report(stages)
        try:
            _rebuild_day(context, flow, report, engine, day=day, ends=ends)
        except Exception as error:
            report.fail()
            failed[day] = str(error) if isinstance(error, ToldError) else text_of(error)
            context.log.error(f"{day} failed: {failed[day]}")
        report.tell(context, day, tags)
        context.log.info(
            f"{day} {'failed' if day in failed else 'is done'}, day {number + 1} of {len(full)}."
        )
    if failed:
        raise DaysFailedError(failed, of=len(days))


def _done_before(context: dg.AssetExecutionContext, last: dg.AssetKey) -> set[str]:
    """The days that this run, which is executed again, has told the last stage of."""
    done: set[str] = set()
    run = context.run
    while run.parent_run_id is not None:
        parent = context.instance.get_run_by_id(run.parent_run_id)
        if parent is None or parent.status not in _AGAIN:
            break
        for entry in context.instance.all_logs(
            parent.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
        ):
            event = entry.dagster_event
            if event is not None and event.asset_key == last and event.partition is not None:
                done.add(event.partition)
        run = parent
    return done


def _rebuild_day(
    context: dg.AssetExecutionContext,
    flow: Flow,
    report: "_Report",
    engine: sa.Engine,
    *,
    day: str,
    ends: bool,
) -> None:
    specs = [spec for stage in report.stages for spec in stage.check_specs]
    known = known_of(context.instance, specs, partition=day)
    for group in _groups(flow, engine, day):
        if group.lane is not None:
            _give_way(engine, group)
        report.begin()
        with working(context, flow, ends=ends, group=group) as run:
            for stage in report.stages:
                started = time.monotonic()
                result = run.patiently(stage.write, run)
                checks = list(told(result.check_results or (), stage.check_specs, known=known, run=run))
                report.add(stage, result, checks, seconds=time.monotonic() - started)
                if failed := stage.failed_blocking(result):
                    raise BlockedError(stage.spec.key.to_user_string(), failed)
        report.begin()  # what fails from here on is of no stage
    report.whole = True


def _groups(flow: Flow, engine: sa.Engine, day: str) -> Iterator[Group]:
    """The day's payloads; an empty group where there are none: what checks said of the day is judged anew."""
    settings = load_settings()
    live = day >= datetime.now(UTC).date().isoformat()
    most = min(settings.claim_max_bytes, LIVE_GROUP_BYTES) if live else settings.claim_max_bytes
    count = 0
    for group in piecewise.groups(
        engine,
        flow=flow.name,
        partition=day,
        max_bytes=most,
        max_drops=flow.runs.claim_at_most or MAX_DROPS,
    ):
        count += 1
        yield group
    if not count:
        yield Group(day)


def _give_way(engine: sa.Engine, group: Group) -> None:
    """Let the runs of live payloads go first, for a while: where payloads never stop coming, both take turns."""
    lane = group.lane
    if lane is None:
        return
    started = time.monotonic()
    while (waited := time.monotonic() - started) < GIVE_WAY_S:
        with engine.connect() as connection:
            soon = waited < ASKED_FOR_WITHIN_S and piecewise.has_landed(connection, lane)
            if not (soon or piecewise.is_live(connection, lane)):
                return
        time.sleep(0.05)


class _Report:
    """What the stages of a day have said so far, of all its groups together."""

    def __init__(self, stages: "Sequence[Stage]") -> None:
        self.stages = stages
        self._metadata: dict[dg.AssetKey, dict[str, Any]] = {}
        self._checks: dict[dg.AssetCheckKey, dg.AssetCheckResult] = {}
        self._ended: set[dg.AssetKey] = set()
        self.whole = False
        """Whether all groups of the day are through."""

    def fail(self) -> None:
        """The day has failed: its last stage is not told, by which a run that does it again would take the day for done."""
        self._ended.discard(self.stages[-1].spec.key)

    def begin(self) -> None:
        """Another group: what its stages do not come to is not told."""
        self._ended = set()

    def add(
        self,
        stage: "Stage",
        result: dg.MaterializeResult,
        checks: Sequence[dg.AssetCheckResult],
        *,
        seconds: float,
    ) -> None:
        key = stage.spec.key
        given = {**(result.metadata or {}), "seconds": round(seconds, 3)}
        self._metadata[key] = summed(self._metadata.get(key, {}), given)
        by_name = {spec.name: spec for spec in stage.check_specs}
        for check in checks:
            spec = by_name[str(check.check_name)]
            self._checks[spec.key] = together(self._checks.get(spec.key), check, spec)
        self._ended.add(key)

    def tell(
        self, context: dg.AssetExecutionContext, day: str, tags: Mapping[dg.AssetKey, Mapping[str, str]]
    ) -> None:
        """Tell Dagster of the stages that have ended."""
        for stage in self.stages:
            key = stage.spec.key
            if key not in (self._metadata if self.whole else self._ended):
                continue
            context.log_event(
                dg.AssetMaterialization(key, partition=day, metadata=self._metadata[key], tags=tags[key])
            )
            results = [
                (spec, self._checks[spec.key]) for spec in stage.check_specs if spec.key in self._checks
            ]
            target = _newest(context.instance, key, day) if results else None
            for spec, result in results:
                # Dagster takes it, though its type does not say so.
                context.log_event(_evaluation(spec, result, day, target))  # pyright: ignore[reportArgumentType]


def summed(before: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata of several groups: counts and seconds are added up, of all else the last word counts."""
    told: dict[str, Any] = {**before, **given}
    for name in before.keys() & given.keys():
        one, other = _plain(before[name]), _plain(given[name])
        counts = type(one) is int and type(other) is int and not name.startswith("dagster/")
        if counts or (name.startswith("seconds") and not name.endswith(("p50", "p95"))):
            told[name] = one + other
    return told


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, dg.MetadataValue) else value


def _evaluation(
    spec: dg.AssetCheckSpec, result: dg.AssetCheckResult, day: str, target: Any
) -> AssetCheckEvaluation:
    return AssetCheckEvaluation(
        asset_key=spec.asset_key, check_name=spec.name, passed=result.passed, metadata=result.metadata,
        severity=result.severity, description=result.description, blocking=spec.blocking, partition=day,
        target_materialization_data=target,
    )  # fmt: skip


def _newest(instance: dg.DagsterInstance, key: dg.AssetKey, day: str) -> Any:
    wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[day])
    found = instance.fetch_materializations(wanted, limit=1).records
    return (
        internals.AssetCheckEvaluationTargetMaterializationData(
            run_id=found[0].run_id, storage_id=found[0].storage_id, timestamp=found[0].timestamp
        )
        if found
        else None
    )


def _tell_empty(
    context: dg.AssetExecutionContext,
    stages: "Sequence[Stage]",
    days: Sequence[str],
    tags: Mapping[dg.AssetKey, Mapping[str, str]],
) -> None:
    """Days without payloads are written, with nothing. All of an asset in one statement, in a worker."""
    if days:
        context.log.info(f"{len(days)} days have no payloads, {days[0]} the first and {days[-1]} the last.")
    step = context.get_step_execution_context()
    for stage in stages:
        batch = internals.generate_event_batch_id()
        for day in days:
            written = dg.AssetMaterialization(
                stage.spec.key, partition=day, metadata={"payloads": 0}, tags=tags[stage.spec.key]
            )
            internals.DagsterEvent.asset_materialization(
                step, written, internals.DagsterEventBatchMetadata(batch, day == days[-1])
            )
