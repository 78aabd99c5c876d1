"""What is older than what is stored says so, and by which receipt: in the counts, the records' outcomes and the statistics."""

from datetime import UTC, datetime
from typing import Any

import httpx
import psycopg
import pytest

from ingestion_assets.entities.loaded import Loaded
from ingestion_assets.entities.results import outcome_of, settled
from ingestion_assets.landing.drop_outcomes import DropOutcome
from ingestion_assets_tests.entities.conftest import landed, load_drops, rows
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.entities.test_loading import CUSTOMER, ORDER, accounted, many, part, totals
from ingestion_assets_tests.frontdoor.conftest import Front

Database = psycopg.Connection[Any]


def told(loaded: Loaded) -> DropOutcome:
    now = datetime.now(UTC)
    return outcome_of(loaded, received_at=now, finished_at=now)


@pytest.mark.parametrize("shape", [many, lambda *lines: b"\n".join(lines)])
@pytest.mark.parametrize("value", [1, 2], ids=["other", "equal"])
def test_an_older_row_is_superseded_by_the_receipt_of_the_newer(
    database: Database, shape: Any, value: int
) -> None:
    older = landed(shape(CUSTOMER % (1, value), CUSTOMER % (7, 7)))
    newer = landed(CUSTOMER % (1, 2))
    load_drops(database, TPCH, newer)
    (loaded,) = load_drops(database, TPCH, older)
    assert accounted(loaded)
    assert (loaded.total().superseded, loaded.total().unchanged, loaded.total().updated) == (1, 0, 0)
    outcome = told(loaded)
    assert [(one.status, one.id, one.superseded_by) for one in outcome.records[:2]] == [
        ("superseded", "Customer/1", str(newer.id)),
        ("stored", "Customer/7", None),
    ]
    assert outcome.result["status"] == "partial"
    assert outcome.result["superseded_by"] == {str(newer.id): 1}
    assert rows(database, TPCH, "Customer")[0][1] == "Customer#2"
    tally = database.execute("SELECT superseded FROM entities._tally WHERE entity = 'Customer'").fetchone()
    assert tally == (1,)


def test_an_earlier_payload_of_a_claim_is_superseded_by_what_is_stored_not_by_what_comes_with_it(
    database: Database,
) -> None:
    first, stored, last = (landed(CUSTOMER % (1, number)) for number in range(3))
    again, later = landed(CUSTOMER % (1, 3)), landed(CUSTOMER % (1, 4))
    load_drops(database, TPCH, stored)
    loaded = load_drops(database, TPCH, first, last)
    assert [totals(one) for one in loaded] == [{"superseded": 1}, {"updated": 1}]
    assert loaded[0].superseded == {stored.id: [0]}
    loaded = load_drops(database, TPCH, again, later)
    assert [totals(one) for one in loaded] == [{"updated": 1}, {"updated": 1}]


def test_of_several_lines_of_a_payload_with_one_key_each_counts_as_updated(database: Database) -> None:
    load_drops(database, TPCH, landed(CUSTOMER % (1, 0)))
    (loaded,) = load_drops(database, TPCH, landed(b"\n".join(CUSTOMER % (1, number) for number in (1, 2, 3))))
    assert totals(loaded) == {"updated": 3}


def test_a_line_that_waited_in_a_stream_may_be_superseded_meanwhile(database: Database) -> None:
    late, over = part(ORDER % (5, 5), number=0), landed(b"\n".join([CUSTOMER % (2, 2), ORDER % (5, 2)]))
    (first,) = load_drops(database, TPCH, late)
    load_drops(database, TPCH, over)
    (end,) = load_drops(database, TPCH, part(CUSTOMER % (5, 5), number=1, end=True))
    assert accounted(end)
    assert totals(end) == {"inserted": 1, "superseded": 1}
    revised = settled(told(first).records, end.settled[late.id])
    assert [(one.status, one.superseded_by) for one in revised] == [("superseded", str(over.id))]


def test_a_message_and_a_batch_say_by_what_they_are_superseded(loading: Front) -> None:
    with loading.client() as client:
        client.headers["Content-Type"] = "text/plain"
        line = (CUSTOMER % (4711, 1)).decode()
        stored = client.post("/ingest/message", content=line).headers["x-receipt-id"]
        newest = f"ffffffff-{stored[9:]}"
        _move(loading, stored, newest)
        answer = client.post("/ingest/message", content=line)
        assert answer.status_code == 200
        body = answer.json()
        assert (body["status"], body["id"], body["superseded_by"]) == ("superseded", 4711, newest)
        batch = client.post("/ingest/batch", content=line)
        assert (batch.status_code, batch.json()["status"]) == (200, "superseded")
        assert batch.json()["superseded_by"] == {newest: 1}
        assert (batch.json()["unchanged"], batch.json()["updated"], batch.json()["inserted"]) == (0, 0, 0)
        mixed = client.post("/ingest/batch", content=f"{line}\n{(CUSTOMER % (4712, 1)).decode()}")
        assert (mixed.status_code, mixed.json()["superseded"], mixed.json()["inserted"]) == (207, 1, 1)
        records = client.get(f"/api/v1/receipts/{mixed.headers['x-receipt-id']}/records").json()["items"]
        assert [one["status"] for one in records] == ["superseded", "stored"]
        assert client.get("/stats").json()["superseded"] == 3
        _assert_streamed(client, line, newest)


def _assert_streamed(client: httpx.Client, line: str, newest: str) -> None:
    streamed = client.post("/ingest/stream", params={"progress": "line"}, content=line)
    assert f'"status":"superseded","superseded_by":"{newest}"' in streamed.text
    assert '"superseded":1' in streamed.text
    assert streamed.headers["x-accel-buffering"] == "no"
    assert "no-cache" in streamed.headers["cache-control"]


def _move(front: Front, receipt: str, newest: str) -> None:
    """As if the row had been brought by a receipt later than all to come."""
    with front.engine.begin() as connection:
        moved = connection.exec_driver_sql(
            "UPDATE entities.customers SET _drop = %s WHERE _drop = %s", (newest, receipt)
        )
        assert moved.rowcount == 1
