"""Health, metrics, documentation, headers, and errors outside any endpoint."""

import asyncio
import subprocess
import sys
from datetime import UTC, datetime

import httpx
import pytest
from uuid_utils.compat import uuid7

from ingestion_assets.conversations.flow import CONVERSATIONS
from ingestion_assets.frontdoor.app import kept_going
from ingestion_assets.frontdoor.metrics import RequestMetrics
from ingestion_assets.installed_flows import all_flows
from ingestion_assets.landing import drift
from ingestion_assets.landing.drops import Lane, Receipt, State
from ingestion_assets.landing.flows import Flow
from ingestion_assets.modules.schema import SyncResponse
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.servers import wait_until

BATCH = "/api/v1/ingest/batch"
SYNC = SyncResponse(
    success=True,
    sync_id="sync_1",
    site_id=1,
    processed_count=9,
    processing_time_ms=1,
    next_sync_after=None,
    state="applied",
).model_dump()


def test_the_front_door_does_not_import_dagster() -> None:
    code = (
        "import sys, ingestion_assets.server; from ingestion_assets.installed_flows import installed, parts; "
        "loaded, _ = parts(installed(), 'http', lambda flow, part: part); assert len(loaded) >= 3; "
        "sys.exit(any(m.split('.')[0] in ('dagster', 'torch', 'pandas') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_health(front: Front) -> None:
    with front.client(None) as client:
        assert client.get("/health/live").json() == {"status": "alive"}
        wait_until(lambda: client.get("/health/ready").status_code == 200, seconds=5, what="readiness")
        health = client.get("/health").json()
    assert health["database"] == "connected"
    assert health["dependencies"]["postgresql"] == {"status": "up"}
    assert health["dependencies"]["orchestrator"]["status"] == "down"
    assert health["status"] == "degraded"
    assert {"service", "version", "timestamp", "entities", "rate_limits", "backlog"} <= health.keys()


def test_metrics(front: Front) -> None:
    with front.client() as client:
        client.post(BATCH, json={"messages": [{"type": "user"}]})
        wait_until(
            lambda: (
                'ingestion_messages_total{entity="message",flow="conversations",status="stored"}'
                in client.get("/metrics").text
            ),
            seconds=8,
            what="the outcome to be counted",
        )
        text = client.get("/metrics").text
        newest = 'ingestion_newest_payload_age_seconds{flow="conversations"} '
        assert text.count("ingestion_newest_payload_age_seconds{") == 1, (
            "of flows that had none nothing is said"
        )
        assert 0 <= float(text.partition(newest)[2].split("\n")[0]) < 60
    for name in (
        "ingestion_http_requests_total", "ingestion_http_request_duration_seconds_bucket", "ingestion_duration_seconds_bucket",
        "ingestion_drops{", "ingestion_oldest_unprocessed_seconds", "ingestion_dependency_up{", "ingestion_drops_accepted_total",
    ):  # fmt: skip
        assert name in text
    assert f'path="{BATCH}"' in text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", BATCH, 405), ("GET", "/api/v1/receipts?limit=x", 422)],
)
def test_errors_are_problem_details(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    if status == 405:
        assert answer.headers["allow"] == "POST"
    if status == 422:
        assert answer.json()["errors"][0]["loc"] == ["query", "limit"]


def test_request_ids_and_security_headers(client: httpx.Client) -> None:
    answer = client.get("/health/live", headers={"X-Request-ID": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    assert client.get("/health/live", headers={"X-Request-ID": "a b"}).headers["x-request-id"] != "a b"


def test_openapi_and_docs(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation.get("summary"), (method, path)
            assert operation.get("description"), (method, path)
            assert "500" in operation["responses"]
            if path.startswith("/api/") and {"ApiKey": []} in operation.get("security", []):
                assert {"401", "403", "429", "503"} <= operation["responses"].keys()
                assert operation["security"]
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert BATCH in page.text
    assert "<script" not in page.text
    assert "https://" not in page.text


def test_drift_is_reported(client: httpx.Client) -> None:
    assert client.get("/api/v1/drift").json() == {"items": [], "next": None}
    assert client.get("/api/v1/drift", params={"cursor": "zz"}).status_code == 422


def test_drift_is_read_page_by_page(front: Front, client: httpx.Client) -> None:
    paths = {"1.0": ["a", "a.b"], "": ["é"]}
    older, newer = uuid7(), uuid7()
    for drop_id, flow in ((older, "paged"), (newer, "paged_too")):
        drift.observe(front.engine, flow=flow, drop_id=drop_id, paths=paths)
    found: list[tuple[str, str | None, str]] = []
    cursor = None
    while True:
        page = client.get("/api/v1/drift", params={"limit": 1, **({"cursor": cursor} if cursor else {})})
        answer = page.json()
        found += [(one["flow"], one["version"], one["path"]) for one in answer["items"]]
        if (cursor := answer["next"]) is None:
            break
    of_one = [("1.0", "a.b"), ("1.0", "a"), (None, "é")]
    assert found == [(flow, *one) for flow in ("paged_too", "paged") for one in of_one]


@pytest.mark.parametrize(
    "address", ["/api/v1/rejects?since=", "/api/v1/sites/1/modules?as_of="], ids=["since", "as_of"]
)
def test_a_time_without_a_zone_is_refused_everywhere(client: httpx.Client, address: str) -> None:
    answer = client.get(f"{address}2026-01-31T00:00:00")
    assert answer.status_code == 422
    assert "the time needs a zone, such as Z" in answer.json()["detail"]
    assert answer.json()["errors"][0]["type"] == "timezone_aware"
    assert client.get(f"{address}2026-01-31T00:00:00Z").status_code in {200, 404}
    assert client.get(f"{address}2026-01-31T01:00:00%2B01:00").status_code in {200, 404}


def test_lanes_are_those_of_the_flow(front: Front, client: httpx.Client) -> None:
    client.post(BATCH, json={"messages": [{"type": "user"}]})
    lane = front.runs.launched[-1].lane
    assert lane == Lane(CONVERSATIONS.name, lane.partition, lane.partition)


@pytest.mark.parametrize(
    ("flow", "state", "result", "counts"),
    [
        ("conversations", "failed", None, {("message", "rejected"): 9}),
        ("modules", "done", {"applied": True}, {("message", "stored"): 9}),
        ("modules", "done", SYNC | {"unchanged_modules": 9}, {("message", "duplicate"): 9}),
        ("modules", "done", SYNC | {"superseded_modules": 9}, {("message", "superseded"): 9}),
        (
            "modules",
            "done",
            SYNC | {"new_modules": 1, "returned_modules": 2, "modified_modules": 1, "unchanged_modules": 5},
            {("message", "stored"): 4, ("message", "duplicate"): 5},
        ),
        (
            "conversations",
            "done",
            {
                "stats": {
                    "messages_received": 9,
                    "messages_processed": 5,
                    "messages_skipped": 3,
                    "messages_failed": 1,
                }
            },
            {("message", "stored"): 5, ("message", "duplicate"): 3, ("message", "rejected"): 1},
        ),
        (
            "entities",
            "done",
            {
                "by_entity": {
                    "Order": {"inserted": 2, "updated": 1, "unchanged": 4, "superseded": 5, "failed": 6},
                    "Part": {"failed": 2},
                }
            },
            {
                ("Order", "success"): 7,
                ("Order", "superseded"): 5,
                ("Order", "error"): 6,
                ("Part", "error"): 2,
            },
        ),
        ("entities", "failed", {"by_entity": {"Order": {"failed": 9}}}, {("Order", "error"): 9}),
        ("entities", "failed", {}, {("message", "error"): 9}),
    ],
)
def test_records_are_counted_by_entity_and_outcome_as_their_flow_calls_it(
    flow: str, state: State, result: dict[str, object] | None, counts: dict[tuple[str, str], int]
) -> None:
    assert all_flows()[flow].tally(_finished(flow, state, result)) == counts


@pytest.mark.parametrize(
    ("state", "result", "counted"),
    [
        (
            "done",
            {"stored": 5, "duplicate": 3, "rejected": 1},
            {"stored": 5.0, "duplicate": 3.0, "rejected": 1.0},
        ),
        ("done", {"new": 9}, {"stored": 9.0}),
        ("failed", None, {"rejected": 9.0}),
        ("held", {"stored": 9}, {}),
        ("landed", None, {}),
    ],
)
def test_only_finished_payloads_are_counted_by_their_outcomes_where_the_flow_says_nothing_else(
    state: State, result: dict[str, object] | None, counted: dict[str, float]
) -> None:
    metrics = RequestMetrics({})
    metrics.count_outcomes([_finished("f", state, result)])
    [family] = [one for one in metrics.registry.collect() if one.name == "ingestion_messages"]
    seen = {one.labels["status"]: one.value for one in family.samples if one.name.endswith("_total")}
    assert seen == counted


def test_a_tally_that_fails_harms_no_other_count() -> None:
    def fails(_receipt: Receipt) -> dict[tuple[str, str], int]:
        raise RuntimeError("not now")

    metrics = RequestMetrics({"bad": Flow(name="bad", tally=fails)})
    metrics.count_outcomes([_finished("bad", "done", None), _finished("f", "done", None)])
    [family] = [one for one in metrics.registry.collect() if one.name == "ingestion_messages"]
    counted = {one.labels["flow"]: one.value for one in family.samples if one.name.endswith("_total")}
    assert counted == {"bad": 9.0, "f": 9.0}


def _finished(flow: str, state: State, result: dict[str, object] | None) -> Receipt:
    now = datetime.now(UTC)
    return Receipt(
        id=uuid7(), state=state, flow=flow, partition="p", lane="l", subject=None, principal="k", records=9, size_bytes=1,
        attempts=0, received_at=now, claimed_at=now, finished_at=now, run_id=None, result=result, errors=None,
    )  # fmt: skip


def test_work_beside_requests_begins_again_after_what_it_did_not_expect(front: Front) -> None:
    begun: list[object] = []

    async def work(door: object) -> None:
        begun.append(door)
        if len(begun) < 3:
            raise RuntimeError("unexpected")

    asyncio.run(kept_going(work, front.app.door, pause_s=0))
    assert begun == [front.app.door] * 3
