"""The assets `landing/drops`, `landing/rejects` and `landing/disk`: ledger and disk, observed by the hour and by hand."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import dagster as dg

from ingestion_assets.orchestration.asset_specs import OWNERS, asset_of
from ingestion_assets.orchestration.stages import FRONT_DOOR, INBOX

if TYPE_CHECKING:
    import sqlalchemy as sa

GROUP = "landing"
QUEUE_AGE_S = 300.0
REJECT_RATE = 0.05
DISK_DAYS = 14.0

_DROPS = """
    SELECT flow, state, count(*) AS n, min(received_at) AS oldest,
           extract(epoch FROM clock_timestamp() - min(coalesce(queued_at, received_at))) AS age_s
    FROM ingestion.drops WHERE state IN ('landed', 'claimed', 'held')
    GROUP BY flow, state ORDER BY flow, state
"""
_UNREADABLE = "SELECT path, reason, since::text FROM ingestion.unreadable_segments ORDER BY since LIMIT 20"
_REJECTS = """
    SELECT flow, kind, code, count(*) AS n, max(created_at)::text AS newest, max(reason) AS example
    FROM ingestion.rejects WHERE redriven_at IS NULL
    GROUP BY flow, kind, code ORDER BY n DESC LIMIT 20
"""


_RATES = """
    SELECT ended.flow, records, coalesce(rejected, 0) AS rejected FROM (
        SELECT flow, sum(records) AS records FROM ingestion.drops
        WHERE finished_at > now() - interval '1 hour' AND NOT attributes ? 'alias_of' GROUP BY flow
    ) ended LEFT JOIN (
        SELECT rejects.flow, sum(CASE WHEN kind = 'payload' THEN records ELSE 1 END) AS rejected
        FROM ingestion.rejects JOIN ingestion.drops ON drops.id = drop_id
        WHERE created_at > now() - interval '1 hour' AND kind <> 'conflict' GROUP BY rejects.flow
    ) bad ON bad.flow = ended.flow ORDER BY ended.flow
"""

_PARTS = """
    SELECT CASE WHEN nspname = 'public' THEN 'runs of Dagster' ELSE nspname END AS part,
           sum(pg_total_relation_size(pg_class.oid))::bigint AS bytes
    FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE relkind IN ('r', 'm') AND nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    GROUP BY 1 ORDER BY 2 DESC
"""


def _ask(query: str) -> "Sequence[sa.Row[Any]]":
    import sqlalchemy as sa  # noqa: PLC0415

    from ingestion_assets.stores import postgres  # noqa: PLC0415

    with postgres.engine().connect() as connection:
        return connection.execute(sa.text(query)).all()


def _table(rows: "Sequence[Sequence[Any]]", columns: Sequence[str]) -> dg.TableMetadataValue:
    return dg.MetadataValue.table(
        [dg.TableRecord(dict(zip(columns, row, strict=True))) for row in rows],
        schema=dg.TableSchema([dg.TableColumn(name) for name in columns]),
    )


@asset_of(
    GROUP,
    "drops",
    kinds={"postgres"},
    deps=["front_door", "inbox"],
    check_specs=[
        dg.AssetCheckSpec(
            "queue_age",
            asset=dg.AssetKey([GROUP, "drops"]),
            description=f"No payload has waited for more than {QUEUE_AGE_S:.0f} s.",
        ),
        dg.AssetCheckSpec(
            "segments_readable",
            asset=dg.AssetKey([GROUP, "drops"]),
            description="Every segment on landing storage that has payloads without rows can be read as a whole.",
        ),
    ],
)
def drops() -> dg.MaterializeResult:
    """Accepted payloads that are not done: how many by flow and state, and how long the oldest has waited."""
    rows = _ask(_DROPS)
    unreadable = _ask(_UNREADABLE)
    oldest = max((float(row.age_s) for row in rows if row.state == "landed"), default=0.0)
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(row.n for row in rows),
            "oldest_s": round(oldest, 1),
            "by_state": dg.MetadataValue.table(
                [dg.TableRecord({"flow": row.flow, "state": row.state, "drops": row.n}) for row in rows],
                schema=dg.TableSchema(
                    [dg.TableColumn("flow"), dg.TableColumn("state"), dg.TableColumn("drops", "int")]
                ),
            ),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="queue_age",
                passed=oldest <= QUEUE_AGE_S,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"oldest_s": round(oldest, 1)},
            ),
            dg.AssetCheckResult(
                check_name="segments_readable",
                passed=not unreadable,
                severity=dg.AssetCheckSeverity.ERROR,
                metadata={"segments": _table(unreadable, ("path", "reason", "since"))},
            ),
        ],
    )


@asset_of(
    GROUP,
    "rejects",
    kinds={"postgres"},
    deps=["drops"],
    check_specs=[
        dg.AssetCheckSpec(
            "none_open",
            asset=dg.AssetKey([GROUP, "rejects"]),
            description="No record waits to be looked at and redriven.",
        ),
        dg.AssetCheckSpec(
            "rate_last_hour",
            asset=dg.AssetKey([GROUP, "rejects"]),
            description=f"Of each flow at most {REJECT_RATE:.0%} of the last hour's records were rejected.",
        ),
    ],
)
def rejects() -> dg.MaterializeResult:
    """Records and payloads that could not be stored, kept whole; `ingestion rejects` lists and redrives them."""
    rows, rates = _ask(_REJECTS), _ask(_RATES)
    high = [one.flow for one in rates if one.rejected > REJECT_RATE * one.records]
    columns = ("flow", "kind", "code", "n", "newest", "example")
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": sum(row.n for row in rows),
            "by_code": _table(rows, columns),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name="none_open",
                passed=not rows,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"codes": len(rows)},
            ),
            dg.AssetCheckResult(
                check_name="rate_last_hour",
                passed=not high,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={
                    "too_high": ", ".join(high),
                    "flows": _table(
                        [(one.flow, int(one.records), int(one.rejected)) for one in rates],
                        ("flow", "records", "rejected"),
                    ),
                },
            ),
        ],
    )


@asset_of(
    GROUP,
    "disk",
    kinds={"postgres"},
    check_specs=[
        dg.AssetCheckSpec(
            "days_left",
            asset=dg.AssetKey([GROUP, "disk"]),
            description=f"At the pace of the last days, without their fullest two hours, the disk lasts for {DISK_DAYS:.0f} days or more.",
        )
    ],
)
def disk() -> dg.MaterializeResult:
    """The disk of INGESTION_HOME: what is left, how fast it fills, how long that lasts; what the database takes, by schema."""
    from ingestion_assets.settings import load_settings  # noqa: PLC0415
    from ingestion_assets.stores import postgres  # noqa: PLC0415
    from ingestion_assets.stores.disk import look  # noqa: PLC0415

    with postgres.engine().begin() as connection:
        seen = look(connection, load_settings().home)
    left = seen.days_left
    figures: dict[str, dg.MetadataValue] = {
        "free_gb": dg.MetadataValue.float(round(seen.free_bytes / 1e9, 2))
    }
    if seen.bytes_a_day is not None:
        figures["growth_gb_a_day"] = dg.MetadataValue.float(round(seen.bytes_a_day / 1e9, 2))
    said = "not known yet" if left is None else "it does not fill" if math.isinf(left) else f"{left:.1f}"
    figures["days_left"] = dg.MetadataValue.text(said)
    parts = [dg.TableRecord({"part": row.part, "bytes": row.bytes}) for row in _ask(_PARTS)]
    schema = dg.TableSchema([dg.TableColumn("part"), dg.TableColumn("bytes", "int")])
    return dg.MaterializeResult(
        metadata={**figures, "database": dg.MetadataValue.table(parts, schema=schema)},
        check_results=[
            dg.AssetCheckResult(
                check_name="days_left",
                passed=left is None or left >= DISK_DAYS,
                severity=dg.AssetCheckSeverity.WARN,
                metadata=figures,
            )
        ],
    )


WAYS_IN = [
    dg.AssetSpec(
        FRONT_DOOR, group_name=GROUP, kinds={"fastapi"}, owners=OWNERS, code_version="1",
        description="Where payloads arrive over HTTP and are made durable. Not written by runs: what arrived is in the flows' first assets.",
    ),
    dg.AssetSpec(
        INBOX, group_name=GROUP, kinds={"file"}, owners=OWNERS, code_version="1",
        description="The folders of landing storage where files are put to be taken as payloads. Not written by runs.",
    ),
]  # fmt: skip

JOB = dg.define_asset_job(
    "landing",
    selection=dg.AssetSelection.assets(drops, rejects, disk),
    tags={"dagster/max_runtime": "600"},
    description="Look at ledger and disk: what waits, what was rejected, how long there is room.",
)

definitions = dg.Definitions(
    assets=[*WAYS_IN, drops, rejects, disk],
    jobs=[JOB],
    schedules=[
        dg.ScheduleDefinition(
            name="landing_hourly",
            job=JOB,
            cron_schedule="0 * * * *",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            description="Looks at the ledger every hour, so that its checks raise what waits too long.",
        )
    ],
)
