"""A day made anew from its payloads: what was stored is stored, what was not is not, and what waits goes on waiting."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import httpx
import psycopg
import pytest
import sqlalchemy as sa

from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.loaded import Loaded
from ingestion_assets.entities.loading import load
from ingestion_assets.entities.payload import MISSING_REFERENCE
from ingestion_assets.entities.work import EntitiesWork
from ingestion_assets.landing.claims import Claim, DropRef
from ingestion_assets.landing.clock import take_sample
from ingestion_assets.landing.drops import LandedDrop
from ingestion_assets.landing.storage import open_storage
from ingestion_assets.landing.tables import drops
from ingestion_assets_tests.entities.conftest import landed, load_drops, rows
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.entities.test_loading import (
    CUSTOMER,
    LINE,
    ORDER,
    PRODUCT,
    accounted,
    many,
    part,
    totals,
)
from ingestion_assets_tests.frontdoor.conftest import Front

Database = psycopg.Connection[Any]


def rebuild(
    database: Database, entities: EntitySet, *done: Loaded, again: Sequence[LandedDrop]
) -> list[Loaded]:
    """Load payloads that are done once more; `done` is what was said of them."""
    stay_out = {
        one.drop_id: {fault.record: fault.message for fault in one.faults if fault.code == MISSING_REFERENCE}
        for one in done
    }
    with database.transaction():
        return load(database, entities, again, counted=(), stay_out=stay_out)


def test_a_stream_that_goes_on_can_be_rebuilt_and_ends_as_ever(database: Database) -> None:
    first, last = part(ORDER % (1, 1), number=0), part(CUSTOMER % (1, 1), number=1, end=True)
    done = load_drops(database, TPCH, first)
    rebuild(database, TPCH, *done, again=[first])
    (loaded,) = load_drops(database, TPCH, last)
    assert totals(loaded) == {"inserted": 2}
    assert [row[0] for row in rows(database, TPCH, "Order")] == [1]


def test_a_stream_that_ended_leaves_nothing_waiting(database: Database) -> None:
    first, last = part(ORDER % (1, 1), number=0), part(CUSTOMER % (2, 1), number=1, end=True)
    load_drops(database, TPCH, first)
    load_drops(database, TPCH, last)
    for one in (first, last):
        rebuild(database, TPCH, again=[one])
    assert database.execute("SELECT count(*) FROM entities._waiting").fetchone() == (0,)


@pytest.mark.parametrize("shape", [many, lambda *lines: b"\n".join(lines)])
def test_a_row_that_referenced_nothing_stays_out_with_what_references_it(
    database: Database, shape: Callable[..., bytes]
) -> None:
    """What it references came later; the reject is there to be sent again."""
    lines = landed(shape(ORDER % (1, 1), LINE % (1, 5, 1), PRODUCT % 5, ORDER % (2, 3), CUSTOMER % (3, 3)))
    later = landed(CUSTOMER % (1, 1))
    first = [*load_drops(database, TPCH, lines), *load_drops(database, TPCH, later)]
    rebuilt = rebuild(database, TPCH, *first, again=[lines, later])
    assert [row[0] for row in rows(database, TPCH, "Order")] == [2]
    assert rows(database, TPCH, "OrderLineItem") == []
    assert [(one.record, one.code, one.message) for one in rebuilt[0].faults] == [
        (one.record, one.code, one.message) for one in first[0].faults
    ]
    assert all(map(accounted, rebuilt))


def sent(front: Front, *bodies: bytes) -> list[httpx.Response]:
    """What the payloads were answered, one after the other."""
    with front.client() as client:
        return [
            client.post("/ingest/batch", content=body, headers={"Content-Type": "text/plain"})
            for body in bodies
        ]


def rebuilding(front: Front, answers: Sequence[httpx.Response]) -> EntitiesWork:
    """The work of a rebuild of these payloads."""
    columns = [drops.c[name] for name in DropRef.__struct_fields__]
    ids = [UUID(one.headers["X-Receipt-Id"]) for one in answers]
    with front.engine.connect() as connection:
        rows = connection.execute(sa.select(*columns).where(drops.c.id.in_(ids)).order_by(drops.c.id))
        refs = tuple(DropRef(**row._mapping) for row in rows)
        claim = Claim("rebuild", "rebuild", (), refs, take_sample(connection), rebuild=True)
    return EntitiesWork(
        claim=claim, storage=open_storage(front.settings), engine=front.engine, entities=lambda: TPCH,
        max_bytes=2**28, is_transient=lambda _: False,
    )  # fmt: skip


def test_what_a_receipt_says_decides(loading: Front) -> None:
    answers = sent(loading, b"\n".join([ORDER % (71, 7), PRODUCT % 7]), CUSTOMER % (7, 7))
    assert [one.status_code for one in answers] == [207, 200]
    work = rebuilding(loading, answers)
    assert [totals(one) for one in work.loaded()] == [{"unchanged": 1, "failed": 1}, {"unchanged": 1}]
    assert not any(one.failed for one in work.outcomes())
    with loading.engine.connect() as connection:
        stored = connection.execute(sa.text("SELECT order_key FROM entities.orders WHERE order_key = 71"))
        assert stored.all() == []


def test_rows_that_cannot_be_made_again_before_what_they_reference_are_told(loading: Front) -> None:
    """Days that are rebuilt in another order than they came in, of tables that were lost."""
    answers = sent(loading, CUSTOMER % (8, 8), b"\n".join([ORDER % (81, 8), PRODUCT % 8]))
    with loading.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM entities.orders WHERE order_key = 81"))
        connection.execute(sa.text("DELETE FROM entities.customers WHERE customer_key = 8"))
    (lost,) = rebuilding(loading, answers[1:]).outcomes()
    assert (lost.failed, lost.errors[0]["code"]) == (True, "missing_reference")
    assert not any(one.failed for one in rebuilding(loading, answers).outcomes())
    with loading.engine.connect() as connection:
        stored = connection.execute(sa.text("SELECT order_key FROM entities.orders WHERE order_key = 81"))
        assert len(stored.all()) == 1
