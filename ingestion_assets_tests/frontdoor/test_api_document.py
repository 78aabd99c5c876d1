"""The OpenAPI document against the server: generated requests give no 5xx and no answer that is not documented.

`INGESTION_LONG_TESTS=1` runs at least 2,000 cases.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for
from ingestion_assets_tests.frontdoor.generated import MODES, try_operations
from ingestion_assets_tests.frontdoor.instant_runs import first_rejected, stored

# The instant runs give results of the conversations flow; the other flows exercise their own endpoints.
OURS = (
    "/api/v1/ingest/",
    "/api/v1/receipts",
    "/api/v1/rejects",
    "/api/v1/drift",
    "/health",
    "/metrics",
    "/api/v1/overview",
)


@pytest.fixture(scope="module")
def whole(postgres_url: str, mongodb_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    home: Path = tmp_path_factory.mktemp("home")
    with serving(settings_for(home=home, postgres_url=postgres_url, mongodb_url=mongodb_url)) as running:
        yield running


@pytest.mark.parametrize("mode", MODES)
def test_answers_are_documented(whole: Front, mode: str) -> None:
    answers = try_operations(whole.url, paths=OURS, mode=mode, known=_one_of_each(whole))
    assert len({answer.rpartition(" ")[0] for answer in answers}) > 10 or mode == "invalid"
    assert any(answer.endswith((" 200", " 202")) for answer in answers) or mode == "invalid"


def test_every_endpoint_is_described(whole: Front) -> None:
    with whole.client(None) as client:
        document = client.get("/openapi.json").json()
    operations = {
        operation["operationId"]: operation
        for path in document["paths"].values()
        for operation in path.values()
    }
    assert len(operations) == sum(len(path) for path in document["paths"].values()), "the ids are unique"
    assert set(operations) >= IDS
    for name, operation in operations.items():
        assert operation["summary"], name
        assert operation["description"], name
        assert {"422", "500"} <= operation["responses"].keys(), name
        assert ("401" in operation["responses"]) == ("security" in operation), name
        for status, answer in operation["responses"].items():
            problem = answer.get("content", {}).get("application/problem+json")
            assert problem is None or "example" in problem or status == "400", (name, status)
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schema = document["components"]["schemas"].get(
                content["schema"].get("$ref", "").rpartition("/")[2], {}
            )
            assert "example" in content or "example" in schema, name


def test_payloads_are_described_with_their_fields(whole: Front) -> None:
    with whole.client(None) as client:
        document = client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    body = document["paths"]["/api/v1/ingest/batch"]["post"]["requestBody"]["content"]["application/json"][
        "schema"
    ]
    assert body == {"$ref": "#/components/schemas/Batch"}
    assert schemas["Batch"]["properties"]["messages"]["items"]["anyOf"][0] == {
        "$ref": "#/components/schemas/TranscriptLine"
    }
    assert {"type", "uuid", "sessionId", "timestamp", "message"} <= schemas["TranscriptLine"][
        "properties"
    ].keys()
    assert schemas["Usage"]["properties"]["input_tokens"]
    assert {"machine_name", "version", "status"} <= set(schemas["ModuleInfo"]["required"])
    assert "$defs" not in str(document)


IDS = {
    "ingestBatch", "ingestMessage", "readIngestStatus", "ingestEntityMessage", "ingestEntityBatch", "ingestEntityStream",
    "readEntityStream", "readEntityStatistics", "ingestEntityBatchV1", "createSite", "listSites", "readSite", "changeSite",
    "syncModules", "listSyncs", "confirmSync", "revertSync", "listSyncAttempts", "listModules", "readModuleHistory",
    "readSiteSecurity", "listSitesOfRelease", "listReceipts", "readReceipt", "listRecordOutcomes", "listRejects", "readReject",
    "redriveReject", "redriveRejects", "listDrift", "readLiveness", "readReadiness", "readHealth", "readMetrics",
}  # fmt: skip
"""What clients made from the document call: they stay."""


def _one_of_each(front: Front) -> dict[str, str]:
    """Ids of a receipt and a reject that exist."""
    front.runs.outcome = first_rejected
    with front.client() as client:
        receipt = client.post("/api/v1/ingest/batch", json={"messages": [1, 2]}).headers["x-receipt-id"]
        front.runs.outcome = stored
        reject = client.get("/api/v1/rejects", params={"receipt": receipt}).json()["items"][0]["id"]
    return {"receipt_id": receipt, "reject_id": reject}
