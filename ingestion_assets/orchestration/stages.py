"""How the assets of a flow are made: each is a stage of the run's claim, so that a flow only writes what a stage does."""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import dagster as dg

from ingestion_assets.landing.flows import Flow
from ingestion_assets.orchestration.reporting import claim_metadata, rejects_table

if TYPE_CHECKING:
    from ingestion_assets.landing.drops import DropOutcome
    from ingestion_assets.orchestration.claiming import Working

OWNERS = ["team:ingestion"]


class Work(Protocol):
    """A flow's work on one claim. Its methods are the stages; what one needs of an earlier one it derives again."""

    def outcomes(self) -> "list[DropOutcome]":
        """The last stage: what is to be said of each payload."""
        ...


WorkT = TypeVar("WorkT", bound=Work)
_Stage = Callable[[WorkT], dg.MaterializeResult]
_Body = Callable[..., dg.MaterializeResult]


def asset_of(
    group: str,
    name: str,
    *,
    kinds: set[str],
    deps: Sequence[str] = (),
    columns: Mapping[str, str] | dg.TableSchema | None = None,
    metadata: Mapping[str, Any] | None = None,
    code_version: str = "1",
    **more: Any,
) -> Callable[[_Body], dg.AssetsDefinition]:
    """`dg.asset` with all that every asset says of itself; `deps` are names within the group.

    `columns` maps a column's name to "type: what it means".
    """
    schema = columns if isinstance(columns, dg.TableSchema) else _schema(columns) if columns else None
    described = {"dagster/column_schema": schema} if schema else {}
    return dg.asset(
        key=[group, name],
        deps=[[group, dep] for dep in deps],
        group_name=group,
        kinds=kinds,
        owners=OWNERS,
        code_version=code_version,
        metadata={**described, **(metadata or {})} or None,
        **more,
    )


def _schema(columns: Mapping[str, str]) -> dg.TableSchema:
    parts = {name: text.partition(":") for name, text in columns.items()}
    return dg.TableSchema(
        [dg.TableColumn(name, kind, description=text.strip()) for name, (kind, _, text) in parts.items()]
    )


@dataclass(frozen=True, kw_only=True)
class Stages(Generic[WorkT]):
    """The assets of a flow. `start` makes the work on a run's claim, which the run's steps share in memory.

    It is called in the first step that needs it and imports what the work needs, so that a code location loads about
    as fast as Dagster itself; the workers import it before their first run. Raise `code_version` when the same payloads
    would give other rows.
    """

    flow: Flow
    partitions_def: dg.PartitionsDefinition
    start: "Callable[[Working], WorkT]"
    code_version: str = "1"

    def asset(
        self,
        *,
        kinds: set[str],
        deps: Sequence[str],
        name: str | None = None,
        description: str | None = None,
        **more: Any,
    ) -> Callable[[_Stage[WorkT]], dg.AssetsDefinition]:
        """Make an asset of a stage, a function of the work; `more` as in `asset_of`.

        The function's name and docstring are those of the asset, unless others are given.
        """

        def decorate(stage: _Stage[WorkT]) -> dg.AssetsDefinition:
            def body(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
                with self._working(context) as run:
                    return stage(self._work(run))

            described = description or inspect.getdoc(stage)
            return self._asset(
                name or stage.__name__, body, kinds=kinds, deps=deps, description=described, **more
            )

        return decorate

    def raw_batches(self, description: str, *, kinds: set[str]) -> dg.AssetsDefinition:
        """The first asset: the payloads themselves. A run of it claims them."""

        def body(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            with self._working(context) as run:
                return dg.MaterializeResult(
                    metadata=claim_metadata(
                        run.claim, seconds_claiming=run.seconds_claiming, settings=run.settings
                    )
                )

        return self._asset(self.flow.assets[0], body, kinds=kinds, deps=(), description=description)

    def ingestion_log(
        self,
        description: str,
        *,
        kinds: set[str],
        deps: Sequence[str],
        check_specs: Sequence[dg.AssetCheckSpec],
        check: "Callable[[list[DropOutcome]], Sequence[dg.AssetCheckResult]]",
        figures: "Callable[[list[DropOutcome]], Mapping[str, Any]]" = lambda _: {},
    ) -> dg.AssetsDefinition:
        """The last asset: the claim ends, and clients get their answers. `figures` adds to its metadata."""

        def body(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
            with self._working(context, last=True) as run:
                outcomes = self._work(run).outcomes()
                run.finish(outcomes)
                return dg.MaterializeResult(
                    metadata={
                        "payloads": len(outcomes),
                        "failed": sum(outcome.failed for outcome in outcomes),
                        **figures(outcomes),
                        **rejects_table(outcomes),
                    },
                    check_results=check(outcomes),
                )

        return self._asset(
            self.flow.assets[1],
            body,
            kinds=kinds,
            deps=deps,
            description=description,
            check_specs=check_specs,
        )

    def _asset(self, name: str, body: _Body, **more: Any) -> dg.AssetsDefinition:
        make = asset_of(
            self.flow.name,
            name,
            partitions_def=self.partitions_def,
            code_version=self.code_version,
            **more,
        )
        return make(body)

    @contextmanager
    def _working(self, context: dg.AssetExecutionContext, *, last: bool = False) -> "Iterator[Working]":
        from ingestion_assets.orchestration.claiming import working  # noqa: PLC0415

        with working(context, self.flow, last=last) as run:
            yield run

    def _work(self, run: "Working") -> WorkT:
        if run.work is None:
            run.work = self.start(run)
        return run.work
