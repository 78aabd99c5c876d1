"""How a run gets its drops: its step takes the claim, works through it, and ends it or gives it back.

A run that wake or sensor dispatched claims what has landed in its lane. Any other run (a person in the UI, a backfill, the
CLI) works on the whole partition and rebuilds it from the landed bytes; one of a range of partitions does so group by group
(`ranges.py`). Executed again, elsewhere too, it repeats all stages: what was written is written again, and so is the same.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

import dagster as dg
import sqlalchemy as sa
import tenacity

from ingestion_assets.landing import claims, dispatch, finishing, leases
from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets.landing.drops import Lane
from ingestion_assets.landing.flows import Flow
from ingestion_assets.landing.leases import LaneBusyError
from ingestion_assets.landing.open_dispatches import lose
from ingestion_assets.landing.partition_keys import partition_of
from ingestion_assets.landing.piecewise import Group, claim_group
from ingestion_assets.landing.run_tags import DISPATCH_TAG, LANE_TAG
from ingestion_assets.landing.storage import LandingStorage, open_storage
from ingestion_assets.orchestration import heartbeats
from ingestion_assets.orchestration.heartbeats import Worker
from ingestion_assets.orchestration.long_work import LongWork, SafePoint
from ingestion_assets.orchestration.retries import (
    FailureOf,
    cancelled,
    failed,
    failure_of,
    give_back,
    retrying,
    stalled,
    what_failed,
)
from ingestion_assets.orchestration.worker_runs import WorkerRuns, worker_at_work
from ingestion_assets.settings import Settings, load_settings
from ingestion_assets.stores import postgres
from ingestion_assets.stores.error_text import as_told

OpenT = TypeVar("OpenT")

DISPATCHED_WAIT_S = 25.0
REBUILD_WAIT_S = 900.0
JOINS_WITHIN_S = 2.0


class BlockedError(Exception):
    """What a stage wrote failed checks that block the stages after it."""

    def __init__(self, asset: str, checks: Sequence[str]) -> None:
        super().__init__(f"{asset} failed {', '.join(checks)}, so nothing after it was done")


class RebuildUnfinishedError(Exception):
    """A run that rebuilds a partition was asked to stop before it had worked through all of it."""


@dataclass(slots=True)
class Working:
    """A run at work: its partition (the ledger's), its claim, the stores, and the flow's work on it, kept between the stages."""

    partition: str
    claim: Claim
    storage: LandingStorage
    engine: sa.Engine
    settings: Settings
    seconds_claiming: float
    patiently: tenacity.Retrying
    """Calls a stage, again after what will pass by itself."""
    long: LongWork
    joined: list[DropRef] = field(default_factory=list)
    """What came to the claim after it was taken."""
    work: Any = None
    _open: ExitStack = field(default_factory=ExitStack)
    _claimed_at: float = field(default_factory=time.monotonic)

    def join_landed(self) -> Sequence[DropRef]:
        """Have what has landed meanwhile join the claim, instead of waiting for a run of its own: within `JOINS_WITHIN_S` of the
        claim, so that nobody waits much longer for what others sent; nothing joins a rebuild. For a stage that then works on it, too.
        """
        if self.claim.rebuild or time.monotonic() - self._claimed_at > JOINS_WITHIN_S:
            return ()
        with self.engine.begin() as connection:
            joined = claims.join_landed(
                connection, self.claim, from_drops=dispatch.GATHERED_DROPS, from_bytes=dispatch.GATHERED_BYTES,
                max_bytes=self.settings.claim_max_bytes,
            )  # fmt: skip
        self.claim.add(joined)
        self.joined += joined
        return joined

    def safe_point(self, drop: DropRef) -> SafePoint:
        """Whether to go on with a drop, for work that takes long; see `LongWork.safe_point`."""
        return self.long.safe_point(drop)

    def progress(self, drop: DropRef, state: Mapping[str, Any]) -> None:
        """Tell how far a drop is, for work that takes long; see `LongWork.progress`."""
        self.long.progress(drop, state)

    def keep_open(self, resource: AbstractContextManager[OpenT]) -> OpenT:
        """Enter what the work needs until its claim ends, such as a folder of its own; it is left then, however that comes about."""
        return self._open.enter_context(resource)

    def finish(self, outcomes: list[DropOutcome]) -> None:
        """Write the outcomes into the ledger and free the lanes. Raises `RebuildUnfinishedError` afterwards."""
        self.long.flush()
        with self.engine.begin() as connection:
            finishing.finish(connection, self.claim, outcomes)
        self._open.close()
        left = {outcome.drop_id for outcome in outcomes if outcome.unfinished}
        if left := [drop for drop in self.claim.drops if drop.state == "done" and drop.id in left]:
            raise RebuildUnfinishedError(
                f"the run was asked to stop before {len(left)} payloads of the partition were worked through again; "
                "what they gave before stays; run it again to rebuild all of it"
            )

    def give_back(self, failure: FailureOf) -> None:
        """Return the drops to the ledger and free the lanes. What was kept open is left even where the ledger is away."""
        with self._open, self.engine.begin() as connection:
            give_back(connection, self.claim.claim_id, failure, self.settings)
            leases.release(connection, self.claim.run_id)


@contextmanager
def working(
    context: dg.AssetExecutionContext, flow: Flow, *, ends: bool, group: Group | None = None
) -> Iterator[Working]:
    """The run's claim, or its claim of a group of payloads. `ends`: the block ends it by `finish`; else the ledger stays as it is.

    Any exception gives the drops back and fails the run. What of it Dagster gets to see, and so shows and keeps, holds
    nothing of a payload.
    """
    run: Working | None = None
    try:
        run = _start(context, flow, take_open=ends, group=group)
        yield run
        if not ends:
            _free(run)
    except GeneratorExit:  # Dagster gave up between two stages; its run's end says why and gives back
        if run is not None:
            run._open.close()
        raise
    except BaseException as error:
        if run is not None:
            failure = _failure_by_error(context, error)
            if (worker := worker_at_work()) is not None:
                worker.note_failure(context.run.run_id, failure)
            run.give_back(failure)
        raise as_told(error)  # noqa: B904  # what led to it is not told


def _failure_by_error(context: dg.AssetExecutionContext, error: BaseException) -> FailureOf:
    """An interrupt comes from a person, from Dagster where the run took too long, or from its worker, because it made no
    progress or because the worker stops."""
    run_id = context.run.run_id
    if isinstance(error, BlockedError):
        return failed(run_id, str(error))
    if isinstance(error, Exception):
        return failure_of(error)
    run = context.instance.get_run_by_id(run_id)
    if run is not None and run.status in (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED):
        return cancelled(run_id)
    if run is not None and run.status == dg.DagsterRunStatus.FAILURE:
        return failed(run_id, what_failed(context.instance, run_id))
    reason = heartbeats.interrupt_reason(postgres.engine(), run_id=run_id)
    return failure_of(error) if reason is None else stalled(run_id, reason)


def _free(run: Working) -> None:
    with run.engine.begin() as connection:
        leases.release(connection, run.claim.run_id)
    run._open.close()


def _start(context: dg.AssetExecutionContext, flow: Flow, *, take_open: bool, group: Group | None) -> Working:
    settings = load_settings()
    engine = postgres.engine()
    patiently = retrying(context.log.warning)
    started = time.monotonic()
    with ExitStack() as stack:
        worker = worker_at_work()
        if worker is None:
            itself = WorkerRuns(worker=Worker.here(), engine=engine, settings=settings)
            stack.enter_context(itself.beating(context.run.run_id))
        claim = patiently(_claim, context, flow, engine, settings, take_open=take_open, group=group)
        long = LongWork(engine, claim, say=context.log.info)
        stack.callback(long.flush)
        run = Working(
            partition=partition_of(flow, context.partition_key) if group is None else group.partition,
            claim=claim,
            storage=open_storage(settings),
            engine=engine,
            settings=settings,
            seconds_claiming=time.monotonic() - started,
            patiently=patiently,
            long=long,
            _open=stack.pop_all(),
        )
        if worker is not None:
            worker.leave_at_end(run._open)
        return run


def _claim(
    context: dg.AssetExecutionContext,
    flow: Flow,
    engine: sa.Engine,
    settings: Settings,
    *,
    take_open: bool,
    group: Group | None,
) -> Claim:
    run = context.run
    claim_id = run.root_run_id or run.run_id
    dispatch = run.tags.get(DISPATCH_TAG)
    if dispatch is not None:
        lane = Lane(flow.name, partition_of(flow, context.partition_key), run.tags[LANE_TAG])

        def take_landed(connection: sa.Connection) -> Claim:
            return claims.claim_landed(
                connection,
                lane,
                claim_id=claim_id,
                run_id=run.run_id,
                dispatch_id=UUID(dispatch),
                max_bytes=settings.claim_max_bytes,
                max_drops=flow.runs.claim_at_most or claims.MAX_DROPS,
                lease_s=settings.lease_s,
            )

        try:
            return _when_free(context, engine, take_landed, wait_s=DISPATCHED_WAIT_S)
        except LaneBusyError:
            with engine.begin() as connection:
                lose(connection, [UUID(dispatch)])
            raise

    def take_partition(connection: sa.Connection) -> Claim:
        of_run = {"claim_id": claim_id, "run_id": run.run_id, "lease_s": settings.lease_s}
        if group is not None:
            return claim_group(connection, group, take_open=take_open, **of_run)
        partition = partition_of(flow, context.partition_key)
        lanes = claims.partition_lanes(connection, flow=flow.name, partition=partition)
        return claims.claim_partition(
            connection,
            lanes,
            flow=flow.name,
            partition=partition,
            take_open=take_open,
            **of_run,
        )

    return _when_free(context, engine, take_partition, wait_s=REBUILD_WAIT_S)


def _when_free(
    context: dg.AssetExecutionContext,
    engine: sa.Engine,
    take: Callable[[sa.Connection], Claim],
    *,
    wait_s: float,
) -> Claim:
    deadline = time.monotonic() + wait_s
    told = False
    while True:
        try:
            with engine.begin() as connection:
                return take(connection)
        except LaneBusyError as busy:
            if time.monotonic() > deadline:
                raise
            if not told:
                context.log.info(f"Waiting: {busy}.")
                told = True
            time.sleep(0.05 if wait_s == DISPATCHED_WAIT_S else 0.5)
