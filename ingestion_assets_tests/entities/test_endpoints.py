"""Messages and batches over HTTP, against a front door whose runs really load."""

from collections.abc import Iterator

import httpx
import pytest

from ingestion_assets_tests.frontdoor.conftest import Front

CUSTOMER = "C|%d|name|street|3|12-345|7.10|BUILDING| ok"


@pytest.fixture
def client(loading: Front) -> Iterator[httpx.Client]:
    with loading.client() as client:
        client.headers["Content-Type"] = "text/plain"
        yield client


def test_a_key_stands_for_the_options_as_well(client: httpx.Client) -> None:
    body, key = f"{CUSTOMER % 7001}\nC|x", {"Idempotency-Key": "k" * 255}
    first = client.post("/ingest/batch?atomic=true", content=body, headers=key)
    assert (first.status_code, first.json()["inserted"]) == (400, 0)
    other = client.post("/ingest/batch", content=body, headers=key)
    assert (other.status_code, other.json()["inserted"]) == (207, 1)
    again = client.post("/ingest/batch?max_errors=0", content=body, headers=key)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == first.json()


@pytest.mark.parametrize(
    ("body", "count", "line"),
    [("", 0, None), ("# nothing\n", 0, None), (f"{CUSTOMER % 1}\n{CUSTOMER % 2}\n", 2, CUSTOMER % 2)],
)
def test_a_body_that_is_not_one_message_is_told_so(
    client: httpx.Client, body: str, count: int, line: str | None
) -> None:
    answer = client.post("/ingest/message", content=body)
    assert answer.status_code == 400
    assert answer.json() == {
        "status": "error", "entity": None, "line": line,
        "message": f"The body must be one message, not {count}; send several to /ingest/batch.",
    }  # fmt: skip
