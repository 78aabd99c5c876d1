"""An asset of the shop's own downstream of a zone: made anew whenever orders came."""

import dagster as dg
import sqlalchemy as sa
from shop.database import begin

SUM = sa.text("SELECT count(*) AS orders, coalesce(sum(amount), 0)::float8 AS revenue FROM shop.orders")


@dg.asset(
    deps=[["orders", "orders"]], automation_condition=dg.AutomationCondition.eager(), owners=["team:shop"]
)
def revenue() -> dg.MaterializeResult:
    """What the shop has taken in."""
    with begin() as connection:
        row = connection.execute(SUM).one()
    return dg.MaterializeResult(metadata={"orders": row.orders, "revenue": row.revenue})


automation = dg.AutomationConditionSensorDefinition(
    "automation", target=dg.AssetSelection.assets(revenue), default_status=dg.DefaultSensorStatus.RUNNING
)
