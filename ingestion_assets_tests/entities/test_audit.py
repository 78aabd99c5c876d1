"""The audit of whole tables sees what was done to them behind the system's back."""

from typing import Any

import psycopg

from ingestion_assets.entities.entity_tables import foreign_key_name
from ingestion_assets.entities.row_audit import Audit, audit
from ingestion_assets_tests.entities.conftest import landed, load_drops
from ingestion_assets_tests.entities.definitions import TPCH

CUSTOMER = b"C|%d|Customer#%d| lane |3|11-719|-7.10|BUILDING| c "
ORDER = b"O|%d|%d|O|123.45|1996-01-02|5-LOW|Clerk|0| note "


def test_order_whose_customer_was_deleted(database: "psycopg.Connection[Any]") -> None:
    order = TPCH.by_name["Order"]
    assert audit(database, order, TPCH) == Audit()
    load_drops(database, TPCH, landed(b"\n".join((CUSTOMER % (3, 3), ORDER % (1, 3), ORDER % (2, 3)))))
    (reference,) = order.references
    assert audit(database, order, TPCH) == Audit(2, 2, {foreign_key_name(order, reference): 0})

    customer = TPCH.by_name["Customer"]
    database.execute("SET session_replication_role = replica")  # as a restore without its constraints would
    database.execute(f"DELETE FROM entities.{customer.table}")  # type: ignore[arg-type]
    assert audit(database, order, TPCH).orphans == {foreign_key_name(order, reference): 2}
