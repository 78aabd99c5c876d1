"""What every address does alike: parameters that it does not know, HEAD."""

import httpx
import pytest

from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.query import LISTED, check_parameters
from ingestion_assets_tests.frontdoor.conftest import Front

UUID = "0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f"
EXAMPLES = {"zone": "nowhere",
    "job_id": f"job_{UUID.replace('-', '')}", "connection_id": "conn_1", "document_id": UUID, "repo": "github.com/user/repo", "repo_url": "github.com/user/repo", "user_id": "user123",
    "site_id": "1", "receipt_id": UUID, "reject_id": UUID, "sync_id": f"sync_{UUID}", "stream": "s", "version": "1.0.0"}  # fmt: skip
BATCH = "/api/v1/ingest/batch"


def addresses(client: httpx.Client) -> list[tuple[str, str]]:
    document = client.get("/openapi.json").json()
    described = [
        (method.upper(), path.format_map(dict.fromkeys(("module", "machine_name"), "token") | EXAMPLES))
        for path, methods in document["paths"].items()
        for method in methods
    ]
    return [*described, ("GET", "/docs"), ("GET", "/openapi.json")]


def test_no_address_takes_parameters_that_it_does_not_know(client: httpx.Client) -> None:
    found = addresses(client)
    assert len(found) > 30
    for method, path in found:
        answer = client.request(method, path, params={"limt": "5"})
        assert answer.status_code == 422, (method, path)
        assert answer.headers["content-type"] == "application/problem+json"
        (item,) = answer.json()["errors"]
        assert item["loc"] == ["query", "limt"]
        assert "limt" in answer.json()["detail"]


def test_the_answer_names_the_parameters_that_there_are(client: httpx.Client) -> None:
    answer = client.get("/api/v1/receipts", params={"state": "done", "State": "failed"})
    assert answer.json()["detail"] == "There is no query parameter State (known: cursor, flow, limit, state)."
    assert client.post(BATCH, params={"atomic": "true"}, json={}).json()["errors"][0]["msg"] == (
        "not a parameter; this address takes none"
    )


def test_a_parameter_is_taken_once(client: httpx.Client) -> None:
    answer = client.get("/api/v1/receipts?limit=1&limit=2")
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"loc": ["query", "limit"], "msg": "given more than once", "type": "repeated_parameter"}
    ]
    assert client.get("/api/v1/receipts?limit=1&").status_code == 200
    assert client.get("/api/v1/receipts?").status_code == 200


def test_what_is_no_address_stays_not_found(client: httpx.Client) -> None:
    assert client.get("/nothing?limt=5").status_code == 404
    assert client.get(f"{BATCH}?limt=5").status_code == 405


@pytest.mark.parametrize("query", [b"=x", b"\xff=1", b"%FF=1", b"limit", b"a" * 5000, b"&;=&=", b"limit;x=1"])
def test_odd_queries_are_refused_in_words(query: bytes) -> None:
    with pytest.raises(Problem) as refused:
        check_parameters(query, {"flow"})
    assert refused.value.status == 422
    assert len(refused.value.detail) < 300


def test_many_parameters_cost_no_more_than_few_and_are_not_all_repeated() -> None:
    for names, told in ((range(12_000), 0), (range(150), LISTED)):
        query = "&".join(f"a{name}" for name in names).encode()
        with pytest.raises(Problem) as refused:
            check_parameters(query, {"flow"})
        assert len(refused.value.detail) < 300
        assert len(refused.value.errors or ()) == told


def test_head_is_get_without_the_body(front: Front, client: httpx.Client) -> None:
    receipt = client.post(BATCH, json={"messages": [{"type": "user"}]}).headers["x-receipt-id"]
    own = {"date", "x-request-id", "content-length"}
    for path in (
        "/health/live", "/health/ready", "/health", "/docs", "/openapi.json", "/api/v1/receipts", f"/api/v1/receipts/{receipt}",
        f"/api/v1/receipts/{UUID}", "/api/v1/receipts?limit=x", "/nothing",
    ):  # fmt: skip
        got, head = client.get(path), client.head(path)
        assert head.status_code == got.status_code, path
        assert head.content == b""
        assert int(head.headers["content-length"]) > 0
        assert {name: value for name, value in head.headers.items() if name not in own} == {
            name: value for name, value in got.headers.items() if name not in own
        }
    with front.client(None) as nobody:
        assert nobody.head("/api/v1/receipts").status_code == 401
    assert client.head("/metrics").headers["content-type"].startswith("text/plain")


def test_head_where_there_is_no_get(client: httpx.Client) -> None:
    answer = client.head(BATCH)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert client.put("/api/v1/receipts").headers["allow"] == "GET, HEAD"
