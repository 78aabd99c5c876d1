"""Which things are wrong and wait for a person, as nothing will try them again: each is one incident, however often it is seen.

Payloads that failed for good, by flow and code; jobs that ended with a failure and get no retry, but for the ledger's own runs, which it
repeats; checks of severity ERROR that are red, by partition.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import dagster as dg
import sqlalchemy as sa

from ingestion_assets.landing.run_tags import DISPATCH_TAG, PARTITION_TAG
from ingestion_assets.orchestration.check_states import newest_states
from ingestion_assets.orchestration.dagster_internals import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
)

LOOKED_BACK = timedelta(days=1)
RUNS = 200
_PARTITION_TAGS = (PARTITION_TAG, ASSET_PARTITION_RANGE_START_TAG, ASSET_PARTITION_RANGE_END_TAG)

_PAYLOADS = sa.text("""
    SELECT flow, code, count(*) AS n, max(created_at) AS newest, (array_agg(reason ORDER BY created_at DESC))[1] AS reason
    FROM ingestion.rejects WHERE kind = 'payload' AND redriven_at IS NULL GROUP BY flow, code ORDER BY flow, code
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """`key` stays the same as long as it lasts. `text` holds nothing of a payload."""

    key: str
    text: str
    newest: datetime


def incidents(
    instance: dg.DagsterInstance, engine: sa.Engine, *, now: datetime, runs_url: str
) -> Iterator[Incident]:
    """Those there are now."""
    with engine.connect() as connection:
        rows = connection.execute(_PAYLOADS).all()
    for row in rows:
        yield Incident(
            key=f"payloads {row.flow} {row.code}",
            text=f"{row.flow}: {row.n} payloads failed for good ({row.code}: {row.reason}). They are kept: "
            f"`ingestion rejects list --flow {row.flow} --kind payload`; after a fix, `ingestion rejects redrive`.",
            newest=row.newest,
        )
    yield from _failed_jobs(instance, now=now, runs_url=runs_url)
    for state in newest_states(instance, failed_only=True):
        if state.severity == "ERROR":
            where = f" on {state.partition}" if state.partition else ""
            what = f" {state.metadata['what_to_do']}" if state.metadata.get("what_to_do") else ""
            yield Incident(
                key=f"check {state.name}{where}",
                text=f"The check {state.name} fails{where}.{what} {runs_url}/{state.run_id}",
                newest=state.at,
            )


def _failed_jobs(instance: dg.DagsterInstance, *, now: datetime, runs_url: str) -> Iterator[Incident]:
    """The newest failure of each job, unless a retry is coming, or a newer run of the job did not fail on that partition."""
    since = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=now - LOOKED_BACK)
    seen: set[tuple[str, str]] = set()
    for record in instance.get_run_records(since, limit=RUNS):
        run = record.dagster_run
        retried = run.tags.get("dagster/will_retry") == "true" or "dagster/did_retry" in run.tags
        job = _job_of(run)
        if job in seen or DISPATCH_TAG in run.tags or retried:
            continue
        newer = dg.RunsFilter(
            job_name=run.job_name,
            created_after=record.create_timestamp,
            statuses=[dg.DagsterRunStatus.SUCCESS],
        )
        if any(
            _job_of(one) == job
            and _partitions_of(one) == _partitions_of(run)
            and DISPATCH_TAG not in one.tags
            for one in instance.get_runs(newer, limit=RUNS)
        ):
            continue
        seen.add(job)
        location, name = job
        yield Incident(
            key=f"job {location} {name}",
            text=f"The job {name} failed and is not tried again: {runs_url}/{run.run_id}",
            newest=record.update_timestamp,
        )


def _job_of(run: dg.DagsterRun) -> tuple[str, str]:
    """Where the run's job is from, and its name. Of that which Dagster makes for whatever a person materializes: what it was to write."""
    origin = run.remote_job_origin
    location = "" if origin is None else origin.repository_origin.get_label()
    if not run.job_name.startswith("__"):
        return location, run.job_name
    chosen = [*(run.asset_selection or ()), *(run.asset_check_selection or ())]
    return (
        location,
        f"that materializes {', '.join(sorted(one.to_user_string() for one in chosen)) or 'assets'}",
    )


def _partitions_of(run: dg.DagsterRun) -> list[str | None]:
    return [run.tags.get(tag) for tag in _PARTITION_TAGS]
