"""Messages and batches over HTTP, against a front door whose runs really load."""

from collections.abc import Iterator

import httpx
import pytest

from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.servers import wait_until

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


def test_who_left_out_the_beginning_of_another_address_is_told_so(client: httpx.Client) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.post("/ingest/message", json={"type": "user"}, headers=headers)
    assert answer.status_code == 415
    assert answer.json()["detail"] == (
        "Content-Type must be text/plain. If you meant another address that ends like this one: /api/v1/ingest/message."
    )
    told = client.post("/api/v1/entities/ingest/message", json={}, headers=headers).json()["detail"]
    assert told == "Content-Type must be text/plain."


ORDERS = "O|1|1|O|123.45|1996-01-02|5-LOW|Clerk|0|among", "O|2|1|O|123.45|1996-01-02|5-LOW|Clerk|0|more"


@pytest.mark.parametrize("endpoint", ["message", "batch", "stream"])
def test_lines_without_their_ends_get_a_hint(client: httpx.Client, endpoint: str) -> None:
    """What `curl -d @file` makes of a file."""
    answer = client.post(f"/ingest/{endpoint}", content="".join(ORDERS))
    assert "`curl --data-binary` leaves them" in answer.text
    assert (answer.status_code == 400) is (endpoint != "stream")


def test_a_file_that_begins_with_a_comment_gets_the_hint_too(client: httpx.Client) -> None:
    answer = client.post("/ingest/batch", content="# orders" + "".join(ORDERS))
    assert answer.status_code == 400
    assert "curl --data-binary" in answer.json()["detail"]


def test_an_order_may_have_an_empty_comment(client: httpx.Client) -> None:
    body = (
        f"{CUSTOMER % 1}\nO|71|1|O|123.45|1996-01-02|5-LOW|Clerk|0|\nO|72|1|O|123.45|1996-01-02|5-LOW|Clerk|0"
    )
    answer = client.post("/ingest/batch", content=body)
    assert (answer.status_code, [one["code"] for one in answer.json()["errors"]]) == (207, ["too_few_fields"])
    assert answer.json()["inserted"] + answer.json()["unchanged"] + answer.json()["updated"] == 2


def test_metrics_say_success_and_error(client: httpx.Client) -> None:
    assert client.post("/ingest/batch", content=f"{CUSTOMER % 7100}\nC|x").status_code == 207
    counted = 'ingestion_messages_total{entity="Customer",flow="entities",status="%s"}'
    wait_until(
        lambda: all(counted % status in client.get("/metrics").text for status in ("success", "error")),
        seconds=30,
        what="the outcomes to be counted",
    )
    assert 'flow="entities",status="stored"' not in client.get("/metrics").text
