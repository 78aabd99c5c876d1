"""Messages that leave the payload they came in keep what it said of them: cut from a file, or redriven alone."""

from datetime import UTC, datetime
from pathlib import Path

import httpx
import sqlalchemy as sa
import uuid_utils.compat

from ingestion_assets.conversations.flow import CONVERSATIONS
from ingestion_assets.conversations.messages import store_messages
from ingestion_assets.stores import mongo, postgres
from ingestion_assets_tests.conversations.stored import landed_body
from ingestion_assets_tests.frontdoor.conftest import serving, settings_for
from ingestion_assets_tests.frontdoor.instant_runs import first_rejected

GOOD, BROKEN = b'{"type":"user","uuid":"%d","message":{"content":"x"}}', b'{"type":"user","uu'


def test_a_broken_line_of_a_file_spoils_no_other_and_goes_alone(
    mongodb_url: str, mongodb_database: str, fresh_postgres_url: str
) -> None:
    content = b"\n".join([GOOD % 1, BROKEN, GOOD % 2, b'{"uuid":"no type"}'])
    ((body, attributes),) = CONVERSATIONS.read_inbox("p/the-session.jsonl", content)
    drop = landed_body(body.data, records=body.records, attributes=attributes)
    stores = {
        "database": mongo.database(mongodb_url, name=mongodb_database),
        "engine": postgres.engine(fresh_postgres_url),
    }
    (batch,) = store_messages(drops=[drop], **stores)
    assert [one.status for one in batch.records] == ["stored", "rejected", "stored", "rejected"]
    assert batch.sessions == {"the-session"}

    broken, whole = (reject.record for reject in batch.rejects)
    assert [CONVERSATIONS.redriven_alone(record) for record in (broken, whole)] == [True, False]
    corrected = whole.replace(b'"uuid"', b'"type":"mode","uuid"')
    redriven = [CONVERSATIONS.compose([record], drop.attributes) for record in (broken, corrected)]
    again = store_messages(drops=[landed_body(one.data) for one in redriven], **stores)
    assert [reject.record for reject in again[0].rejects] == [broken]
    assert again[1].sessions == {"the-session"}
    stores["engine"].dispose()


def test_the_session_of_a_batch_goes_with_its_rejects_and_status_lists_the_newest(
    postgres_url: str, mongodb_url: str, mongodb_database: str, tmp_path: Path
) -> None:
    settings = settings_for(
        home=tmp_path, postgres_url=postgres_url, mongodb_url=mongodb_url, mongodb_database=mongodb_database
    )
    at = datetime.now(UTC)
    ids = [str(uuid_utils.compat.uuid7()) for _ in range(12)]
    logs = mongo.database(mongodb_url, name=mongodb_database)["ingestion_logs"]
    logs.insert_many([{"_id": one, "timestamp": at} for one in ids])
    with serving(settings) as front, front.client() as client:
        newest = client.get("/api/v1/ingest/status").json()["recent_ingestions"]
        assert [one["id"] for one in newest] == ids[:1:-1]
        front.runs.outcome = first_rejected
        body = {"sessionId": "of\0all", "messages": [{"uuid": "a"}]}
        receipt = client.post("/api/v1/ingest/batch", json=body).headers["x-receipt-id"]
        redriven = _redriven(client, receipt)
    engine = postgres.engine(postgres_url)
    with engine.connect() as connection:
        attributes = connection.execute(
            sa.text("SELECT attributes FROM ingestion.drops WHERE id = :id"), {"id": redriven}
        ).scalar_one()
    engine.dispose()
    assert attributes["sessionId"] == "of\ufffdall"


def _redriven(client: httpx.Client, receipt: str) -> str:
    (item,) = client.post("/api/v1/rejects/redrive", params={"receipt": receipt}).json()["items"]
    return item["receipt"]
