"""How the assets of a flow are made: each is a stage of the run's claim, so that a flow only writes what a stage does.

All stages of a claim are one step of its run. Dagster shows them as assets of their own, reported as each of them ends.
"""

import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import dagster as dg

from ingestion_assets.landing.flows import Days, Flow, no_inbox
from ingestion_assets.orchestration.asset_specs import OWNERS, asset_arguments, source_digest, written_at
from ingestion_assets.orchestration.partition_checks import by_payloads, of_partition, told
from ingestion_assets.orchestration.reporting import claim_metadata, rejects_table
from ingestion_assets.settings import load_settings

if TYPE_CHECKING:
    from ingestion_assets.landing.claims import Claim
    from ingestion_assets.landing.drop_outcomes import DropOutcome
    from ingestion_assets.orchestration.claiming import Working

ACCOUNTING = "accounting"
LISTED = 20  # of the payloads that a check finds wrong
FRONT_DOOR, INBOX = dg.AssetKey(["landing", "front_door"]), dg.AssetKey(["landing", "inbox"])
CLAIM = "_claim"  # how the names of the steps end that work through claims


class Work(Protocol):
    """A flow's work on one claim. Its methods are the stages; what one needs of an earlier one it derives again."""

    def outcomes(self) -> "list[DropOutcome]":
        """The last stage: what is to be said of each payload."""
        ...


WorkT = TypeVar("WorkT", bound=Work)
_StageOf = Callable[[WorkT], dg.MaterializeResult]


@dataclass(frozen=True, slots=True)
class Stage:
    """One asset of a claim: what Dagster is told of it, and what writes it."""

    spec: dg.AssetSpec
    check_specs: Sequence[dg.AssetCheckSpec]
    write: "Callable[[Working], dg.MaterializeResult]"

    def failed_blocking(self, result: dg.MaterializeResult) -> list[str]:
        """The checks that block what comes after the stage, and have failed."""
        blocking = {spec.name for spec in self.check_specs if spec.blocking}
        return [
            check.check_name
            for check in result.check_results or ()
            if check.check_name in blocking
            and not check.passed
            and check.severity == dg.AssetCheckSeverity.ERROR
        ]


@dataclass(frozen=True, kw_only=True)
class Stages(Generic[WorkT]):
    """The assets of a flow. `start` makes the work on a run's claim, which the stages share in memory.

    It is called by the first stage that needs it and imports what the work needs, so that a code location loads about
    as fast as Dagster itself; the workers import it before their first run.
    """

    flow: Flow
    partitions_def: dg.PartitionsDefinition
    start: "Callable[[Working], WorkT]"
    owners: Sequence[str] = tuple(OWNERS)
    also: str = ""
    """What changes with the flow's work beside the source of its modules."""

    @cached_property
    def code_version(self) -> str:
        """Changes with the source of the flow's work: the modules that it names as such."""
        return source_digest(self.flow.work, also=self.also)

    def asset(
        self,
        *,
        kinds: set[str],
        deps: Sequence[str],
        name: str | None = None,
        description: str | None = None,
        check_specs: Sequence[dg.AssetCheckSpec] = (),
        **more: Any,
    ) -> Callable[[_StageOf[WorkT]], Stage]:
        """Make a stage of a function of the work; `more` as in `asset_arguments`.

        The function's name and docstring are those of the asset, unless others are given.
        """

        def decorate(stage: _StageOf[WorkT]) -> Stage:
            return self._stage(
                name or stage.__name__,
                lambda run: stage(self._work(run)),
                kinds=kinds,
                deps=deps,
                description=description or inspect.getdoc(stage),
                check_specs=check_specs,
                **{**more, "metadata": {**written_at(stage), **(more.get("metadata") or {})}},
            )

        return decorate

    def raw_batches(self, description: str, *, kinds: set[str]) -> Stage:
        """The first stage: the payloads themselves. A run claims them."""

        def write(run: "Working") -> dg.MaterializeResult:
            return dg.MaterializeResult(
                metadata=claim_metadata(
                    run.claim, seconds_claiming=run.seconds_claiming, settings=run.settings
                )
            )

        ways_in = [FRONT_DOOR] if self.flow.read_inbox is no_inbox else [FRONT_DOOR, INBOX]
        return self._stage(self.flow.assets[0], write, kinds=kinds, description=description, ways_in=ways_in)

    def ingestion_log(
        self,
        description: str,
        *,
        kinds: set[str],
        deps: Sequence[str],
        accounting: str = "Every payload's result accounts for each of its records.",
        accounts: "Callable[[DropOutcome], bool]",
        figures: "Callable[[list[DropOutcome]], Mapping[str, Any]]" = lambda _: {},
    ) -> Stage:
        """The last stage: the claim ends, and clients get their answers.

        Its check is called `accounting`: whether an outcome `accounts` for what was sent, as the sentence `accounting` says.
        `figures` adds to its metadata.
        """

        def write(run: "Working") -> dg.MaterializeResult:
            outcomes = self._work(run).outcomes()
            run.finish(outcomes)
            return dg.MaterializeResult(
                metadata={
                    "payloads": len(outcomes),
                    "failed": sum(outcome.failed for outcome in outcomes),
                    **figures(outcomes),
                    **rejects_table(outcomes),
                },
                check_results=[_accounting(run.claim, outcomes, accounts)],
            )

        name = self.flow.assets[1]
        return self._stage(
            name,
            write,
            kinds=kinds,
            deps=deps,
            description=description,
            check_specs=[
                by_payloads(ACCOUNTING, asset=dg.AssetKey([self.flow.name, name]), description=accounting)
            ],
        )

    def _stage(
        self,
        name: str,
        write: "Callable[[Working], dg.MaterializeResult]",
        *,
        check_specs: Sequence[dg.AssetCheckSpec] = (),
        ways_in: Sequence[dg.AssetKey] = (),
        **more: Any,
    ) -> Stage:
        said = asset_arguments(
            self.flow.name,
            name,
            partitions_def=self.partitions_def,
            code_version=self.code_version,
            owners=self.owners,
            **more,
        )
        said["deps"] = [*said["deps"], *ways_in]
        checks = [of_partition(spec, self.partitions_def) for spec in check_specs]
        return Stage(dg.AssetSpec(**said), checks, write)

    def _work(self, run: "Working") -> WorkT:
        if run.work is None:
            run.work = self.start(run)
        return run.work


def _accounting(
    claim: "Claim", outcomes: "Sequence[DropOutcome]", accounts: "Callable[[DropOutcome], bool]"
) -> dg.AssetCheckResult:
    """Whether all outcomes account for what was sent; those of payloads that failed as a whole have nothing to say, but that a
    rebuild could not make again what they had given."""
    ended = [one for one in outcomes if not one.unfinished and (one.result or not one.failed)]
    wrong = [str(one.drop_id) for one in ended if not accounts(one)]
    done = {drop.id for drop in claim.drops if drop.state == "done"}
    lost = [str(one.drop_id) for one in outcomes if one.failed and one.drop_id in done]
    listed = {
        name: dg.MetadataValue.json(ids[:LISTED])
        for name, ids in (("wrong", wrong), ("not_rebuilt", lost))
        if ids
    }
    return dg.AssetCheckResult(
        check_name=ACCOUNTING, passed=not wrong and not lost, metadata={"payloads": len(outcomes), **listed}
    )


def claim_step(flow: Flow, stages: Sequence[Stage]) -> dg.AssetsDefinition:
    """The assets of these stages: one step, which works through a claim stage by stage in this order, or through those that are
    selected."""

    @dg.multi_asset(
        name=f"{flow.name}{CLAIM}",
        description="Works through the run's claim, stage by stage; each reports its asset when it ends.",
        specs=[stage.spec for stage in stages],
        check_specs=[check for stage in stages for check in stage.check_specs],
        can_subset=True,
        backfill_policy=_backfill_policy(flow),
    )
    def claim(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        from ingestion_assets.orchestration.checks_before import known_of  # noqa: PLC0415
        from ingestion_assets.orchestration.claiming import BlockedError, working  # noqa: PLC0415

        chosen = [stage for stage in stages if stage.spec.key in context.selected_asset_keys]
        if not chosen:
            context.log.warning(_MADE_WITH_THEIR_ASSETS)
            return
        ends = any(stage.spec.key.path[-1] == flow.assets[1] for stage in chosen)
        if not context.has_partition_key:
            from ingestion_assets.orchestration.ranges import rebuild_range  # noqa: PLC0415

            rebuild_range(context, flow, chosen, ends=ends)
            return
        specs = [spec for stage in chosen for spec in stage.check_specs]
        with working(context, flow, ends=ends) as run:
            known = known_of(context.instance, specs, partition=context.partition_key)
            for stage in chosen:
                started = time.monotonic()
                result = run.patiently(stage.write, run)
                if run.joined:
                    context.log_event(_joined(chosen, run, partition=context.partition_key))
                checks = told(result.check_results or (), stage.check_specs, known=known, run=run)
                yield _reported(result, stage, checks, seconds=time.monotonic() - started)
                if failed := stage.failed_blocking(result):
                    # Dagster would heed it before the next step only, and the stages are one.
                    raise BlockedError(stage.spec.key.to_user_string(), failed)

    return claim


def _backfill_policy(flow: Flow) -> dg.BackfillPolicy | None:
    """Days go in ranges: most of them may be empty, and a run costs more than one. Keys have a run each: they are never empty, and go on side by
    side."""
    days = load_settings().backfill_days_a_run
    if days == 1 or not isinstance(flow.partitions, Days):
        return None
    return dg.BackfillPolicy.multi_run(max_partitions_per_run=days)


_MADE_WITH_THEIR_ASSETS = (
    "These checks are made by the run that writes their assets, of what it wrote: materialize those."
)


def _joined(stages: Sequence[Stage], run: "Working", *, partition: str) -> dg.AssetMaterialization:
    """The first stage is told of again: what came to the claim since."""
    from ingestion_assets.orchestration.data_versions import version_tags  # noqa: PLC0415

    key = stages[0].spec.key
    joined = replace(run.claim, drops=tuple(run.joined))
    run.joined.clear()
    metadata = claim_metadata(joined, seconds_claiming=0.0, settings=run.settings)
    return dg.AssetMaterialization(
        key, partition=partition, metadata=metadata, tags=version_tags(stage.spec for stage in stages)[key]
    )


def _reported(
    result: dg.MaterializeResult, stage: Stage, checks: Iterable[dg.AssetCheckResult], *, seconds: float
) -> dg.MaterializeResult:
    return result._replace(
        asset_key=stage.spec.key,
        metadata={**(result.metadata or {}), "seconds": round(seconds, 3)},
        check_results=[check._replace(asset_key=stage.spec.key) for check in checks],
    )
