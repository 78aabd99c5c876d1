"""What the checks of a claim say of its partition, of which the run may have seen a part only.

A check that passes on the payloads of one run says nothing of those before. So one that has failed on a partition fails on it again
with every run that adds to it, until a run has worked through all of the partition; and a share of rejected records is that
of the whole partition, as the ledger knows it. Otherwise an alarm would last until the next good payload, a second later.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster import AssetCheckEvaluation

if TYPE_CHECKING:
    from ingestion_assets.orchestration.claiming import Working

_JUDGES = "judges"
_PAYLOADS = "the payloads of a run"
_SHARE = "a share of the partition's records"

_COUNTED = """
    SELECT coalesce(sum((result #>> CAST(:received AS text[]))::bigint), 0) AS received,
           coalesce(sum((result #>> CAST(:rejected AS text[]))::bigint), 0) AS rejected
    FROM ingestion.drops WHERE flow = :flow AND partition = :partition AND state IN ('done', 'failed')
"""
_FAILED = """
    SELECT count(*) FROM ingestion.rejects JOIN ingestion.drops ON drops.id = drop_id
    WHERE drops.flow = :flow AND partition = :partition AND kind = 'payload' AND redriven_at IS NULL
"""


def by_payloads(
    name: str, *, asset: dg.AssetKey, description: str, blocking: bool = False
) -> dg.AssetCheckSpec:
    """A check that looks at the payloads of its run alone. What it found wrong on a partition stands until that is rebuilt."""
    return dg.AssetCheckSpec(
        name, asset=asset, description=description, blocking=blocking, metadata={_JUDGES: _PAYLOADS}
    )


def reject_rate(
    *, asset: dg.AssetKey, most: float, received: Sequence[str], rejected: Sequence[str]
) -> dg.AssetCheckSpec:
    """The check `reject_rate`, a warning. `received` and `rejected` are the paths of both numbers in a payload's result."""
    metadata = {_JUDGES: _SHARE, "most": most, "received": list(received), "rejected": list(rejected)}
    description = f"At most {most:.0%} of the partition's records are rejected."
    return dg.AssetCheckSpec("reject_rate", asset=asset, description=description, metadata=metadata)


def rate_of(*, received: int, rejected: int, payloads_failed: int = 0, most: float) -> dg.AssetCheckResult:
    """What `reject_rate` says of so many records."""
    rate = rejected / received if received else 0.0
    return dg.AssetCheckResult(
        check_name="reject_rate",
        passed=rate <= most and not payloads_failed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "rate": round(rate, 4), "received": received, "rejected": rejected, "payloads_failed": payloads_failed,
        },
    )  # fmt: skip


def of_partition(spec: dg.AssetCheckSpec, partitions_def: dg.PartitionsDefinition) -> dg.AssetCheckSpec:
    """The same check, which belongs to a partition of its asset."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)
        return dg.AssetCheckSpec(
            spec.name, asset=spec.asset_key, description=spec.description, blocking=spec.blocking,
            metadata=spec.metadata, partitions_def=partitions_def,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Known:
    """What a check said of a partition the last time."""

    red: bool
    run_id: str
    evaluation: AssetCheckEvaluation | None
    """Of one that is red."""


def told(
    results: Sequence[dg.AssetCheckResult],
    specs: Sequence[dg.AssetCheckSpec],
    *,
    known: Mapping[dg.AssetCheckKey, Known],
    run: "Working",
) -> Iterator[dg.AssetCheckResult]:
    """What to tell Dagster of a stage's checks. Where a run had nothing to look at, only what was known before."""
    by_name = {str(result.check_name): result for result in results}
    for spec in specs:
        result, before = by_name.get(spec.name), known.get(spec.key)
        red = before is not None and before.red
        judges = spec.metadata.get(_JUDGES)
        if before is None and (result is None or not run.claim.drops):
            continue
        if result is None:
            again = dg.AssetCheckResult(check_name=spec.name, passed=True)
            yield _still(again, spec, before) if red and before else again
        elif run.claim.rebuild:
            yield result
        elif judges == _SHARE and (red or not result.passed):
            yield _of_all(result, spec, run)
        elif judges == _PAYLOADS and red and before and result.passed:
            yield _still(result, spec, before)
        else:
            yield result


def together(
    before: dg.AssetCheckResult | None, result: dg.AssetCheckResult, spec: dg.AssetCheckSpec
) -> dg.AssetCheckResult:
    """What a check says of payloads that were worked through in groups, of which it has judged those before."""
    if before is None:
        return result
    if spec.metadata.get(_JUDGES) == _SHARE:
        both = {
            name: int(_number(before, name)) + int(_number(result, name))
            for name in ("received", "rejected", "payloads_failed")
        }
        return rate_of(**both, most=spec.metadata["most"])
    return result if before.passed else before


def _of_all(result: dg.AssetCheckResult, spec: dg.AssetCheckSpec, run: "Working") -> dg.AssetCheckResult:
    """The same share, with what the ledger knows of the partition's other payloads. Not asked for where the claim's own share is
    small and that of the partition was: then that of both is."""
    import sqlalchemy as sa  # noqa: PLC0415 - with what definitions do without

    of = {"flow": run.claim.lanes[0].flow, "partition": run.partition}
    paths = {name: spec.metadata[name] for name in ("received", "rejected")}
    with run.engine.connect() as connection:
        others = connection.execute(sa.text(_COUNTED), {**of, **paths}).one()
        failed = connection.execute(sa.text(_FAILED), of).scalar_one()
    mine = {name: int(_number(result, name)) for name in ("received", "rejected", "payloads_failed")}
    return rate_of(
        received=int(others.received) + mine["received"],
        rejected=int(others.rejected) + mine["rejected"],
        payloads_failed=failed + mine["payloads_failed"],
        most=spec.metadata["most"],
    )


def _number(result: dg.AssetCheckResult, name: str) -> Any:
    value = (result.metadata or {})[name]
    return value.value if isinstance(value, dg.MetadataValue) else value


def _still(result: dg.AssetCheckResult, spec: dg.AssetCheckSpec, before: Known) -> dg.AssetCheckResult:
    """It passed on these payloads, and fails on the partition as it did before."""
    earlier = before.evaluation
    found: dict[str, Any] = dict(earlier.metadata) if earlier is not None else {}
    severity = earlier.severity if earlier is not None else dg.AssetCheckSeverity.ERROR
    return dg.AssetCheckResult(
        check_name=result.check_name,
        passed=False,
        # Of a check that blocks, Dagster would end this run for an error, though its payloads are right.
        severity=dg.AssetCheckSeverity.WARN if spec.blocking else severity,
        metadata={
            **(result.metadata or {}),
            "failed_in_run": before.run_id,
            "what_to_do": _WHAT_TO_DO,
            **found,
        },
    )


_WHAT_TO_DO = (
    "The newest run found nothing wrong, that in `failed_in_run` did. Look at that; when it is mended, materialize the "
    "partition: that works through all of it and evaluates the check anew."
)
