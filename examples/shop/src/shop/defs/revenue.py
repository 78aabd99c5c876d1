"""An asset of the shop's own downstream of a zone: made anew for a day whenever orders came."""

import dagster as dg
import sqlalchemy as sa
from shop.database import begin

from ingestion_assets.zones import DAYS

SUM = sa.text("""
    SELECT count(*) AS orders, coalesce(sum(amount), 0)::float8 AS revenue
    FROM shop.orders WHERE updated_at >= CAST(:day AS date) AND updated_at < CAST(:day AS date) + 1
""")


@dg.asset(
    deps=[["orders", "orders"]],
    partitions_def=DAYS,
    automation_condition=dg.AutomationCondition.eager(),
    owners=["team:shop"],
)
def revenue(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """What the shop has taken in on a day."""
    with begin() as connection:
        row = connection.execute(SUM, {"day": context.partition_key}).one()
    return dg.MaterializeResult(metadata={"orders": row.orders, "revenue": row.revenue})


automation = dg.AutomationConditionSensorDefinition(
    "automation", target=dg.AssetSelection.assets(revenue), default_status=dg.DefaultSensorStatus.RUNNING
)
