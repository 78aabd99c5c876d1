"""Who may do what: keys, scopes, and whose receipts one sees."""

import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from typer.testing import CliRunner

from ingestion_assets.frontdoor.cli import app
from ingestion_assets.frontdoor.reject_endpoints import PAGE_BYTES
from ingestion_assets.frontdoor.tokens import allows, is_well_formed, new_token, parse_scopes
from ingestion_assets.installed_flows import known_scopes
from ingestion_assets.landing.drop_outcomes import Reject
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.frontdoor.instant_runs import first_rejected, stored
from ingestion_assets_tests.servers import wait_until

BATCH = "/api/v1/ingest/batch"
BODY = {"messages": [{"type": "user"}]}


def test_tokens_have_a_prefix_and_a_checksum() -> None:
    token = new_token()
    assert token.startswith("ing_")
    assert is_well_formed(token)
    assert not is_well_formed(token[:-1] + ("0" if token[-1] != "0" else "1"))
    assert len({new_token() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("held", "wanted", "answer"),
    [
        ({"conversations"}, "conversations", True),
        ({"conversations"}, "entities", False),
        ({"modules:site-1"}, "modules:site-1", True),
        ({"modules:site-1"}, "modules:site-10", False),
        ({"modules:*"}, "modules:anything", True),
        ({"documents:*"}, "modules:anything", False),
        ({"modules:*"}, "modules", False),
        ({"admin"}, "documents:ada", True),
        ({"read"}, "conversations", False),
    ],
)
def test_scopes(held: set[str], wanted: str, answer: bool) -> None:
    assert allows(frozenset(held), wanted) is answer


@pytest.mark.parametrize(
    "scope", ["", "modules", "modules:", "modules:a b", "everything", "admin:*", "entities:x"]
)
def test_unknown_scopes_are_refused(scope: str) -> None:
    with pytest.raises(ValueError, match="scope"):
        parse_scopes([scope], known_scopes())


def test_a_zone_that_is_not_in_force_yet_is_no_riddle() -> None:
    with pytest.raises(
        ValueError, match=r"unknown scope 'orders': use .*, or the name of a drop zone that is in force"
    ):
        parse_scopes(["orders"], known_scopes())


@pytest.mark.parametrize(
    "token", [None, "nonsense", pytest.param(new_token(), id="unknown"), "ключ".encode()]
)
def test_without_a_good_key_it_is_401(front: Front, token: str | bytes | None) -> None:
    with front.client(token) as client:
        answer = client.post(BATCH, json=BODY)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


def test_both_headers_carry_the_key(front: Front) -> None:
    token = front.key("conversations")
    with front.client(None) as client:
        for headers in (
            {"X-API-Key": token},
            {"Authorization": f"Bearer {token}"},
            {"Authorization": f"bearer {token}"},
        ):
            assert client.post(BATCH, json=BODY, headers=headers).status_code == 200
        assert client.post(BATCH, json=BODY, headers={"Authorization": f"Basic {token}"}).status_code == 401


def test_wrong_scope_is_403(front: Front) -> None:
    with front.client(front.key("entities")) as client:
        assert client.post(BATCH, json=BODY).status_code == 403
        assert client.get("/api/v1/rejects").status_code == 403
    with front.client(front.key("read")) as client:
        assert client.get("/api/v1/rejects").status_code == 200
        assert client.post("/api/v1/rejects/redrive").status_code == 403


def test_expired_keys_are_401(front: Front) -> None:
    token = front.key("conversations", expires_at=datetime.now(UTC) + timedelta(seconds=0.5))
    with front.client(token) as client:
        assert client.post(BATCH, json=BODY).status_code == 200
        wait_until(
            lambda: client.post(BATCH, json=BODY).status_code == 401, seconds=5, what="the key to expire"
        )


def test_receipts_belong_to_their_key(front: Front) -> None:
    with front.client(front.key("conversations")) as mine, front.client(front.key("conversations")) as other:
        address = f"/api/v1/receipts/{mine.post(BATCH, json=BODY).headers['x-receipt-id']}"
        mine.post(BATCH, json=BODY)
        mine.post(BATCH, json=BODY)
        assert mine.get(address).status_code == 200
        assert other.get(address).status_code == 404
        assert other.get(f"{address}/records").status_code == 404
        assert other.get("/api/v1/receipts").json() == {"items": [], "next": None}
        first = mine.get("/api/v1/receipts", params={"limit": 2}).json()
        rest = mine.get("/api/v1/receipts", params={"limit": 2, "cursor": first["next"]}).json()
        assert len({item["id"] for item in first["items"] + rest["items"]}) == 3
        assert rest["next"] is None
    with front.client(front.key("read")) as reader:
        assert reader.get(address).status_code == 200
        assert reader.get("/api/v1/receipts").json()["items"]
        assert reader.get(f"/api/v1/receipts/{uuid.uuid4()}").status_code == 404
        assert reader.get("/api/v1/receipts/7").status_code == 422
        assert reader.get("/api/v1/receipts", params={"cursor": "%%%"}).status_code == 422


def test_rejects_are_listed_shown_and_redriven(front: Front) -> None:
    front.runs.outcome = first_rejected
    with front.client() as client:
        try:
            receipt = client.post(BATCH, json=BODY).headers["x-receipt-id"]
        finally:
            front.runs.outcome = stored
        (reject,) = client.get("/api/v1/rejects", params={"receipt": receipt}).json()["items"]
        assert (reject["code"], reject["position"], reject["redriven_at"]) == ("no_type", 0, None)
        assert client.get(f"/api/v1/rejects/{reject['id']}").json()["record"] == '{"uuid":"a"}'
        redriven = client.post(f"/api/v1/rejects/{reject['id']}/redrive").json()
        done = client.get(f"/api/v1/receipts/{redriven['receipt']}", headers={"Prefer": "wait=5"}).json()
        assert (done["state"], done["records"]) == ("done", 1)
        assert client.get(f"/api/v1/rejects/{reject['id']}").json()["redriven_as"] == redriven["receipt"]
        assert client.post("/api/v1/rejects/redrive", params={"receipt": receipt}).json()["items"] == []
        assert client.get(f"/api/v1/rejects/{uuid.uuid4()}").status_code == 404


def test_a_page_of_large_rejects_ends_early(front: Front) -> None:
    sizes = [PAGE_BYTES + 1, PAGE_BYTES // 2, PAGE_BYTES // 2, 1]
    large = [Reject(index, "invalid", "large", "too large", b"x" * size) for index, size in enumerate(sizes)]
    front.runs.outcome = lambda drop: replace(stored(drop), rejects=large)
    seen, asked = [], {"cursor": None}
    with front.client() as client:
        try:
            asked["receipt"] = client.post(BATCH, json=BODY).headers["x-receipt-id"]
        finally:
            front.runs.outcome = stored
        while not seen or asked["cursor"]:
            given = {name: value for name, value in asked.items() if value}
            page = client.get("/api/v1/rejects", params=given).json()
            seen.append([len(item["record"]) for item in page["items"]])
            asked["cursor"] = page["next"]
    assert seen == [sizes[:1], sizes[1:3], sizes[3:]]


def test_command_line_makes_lists_and_revokes_keys(front: Front) -> None:
    with environment(INGESTION_POSTGRES_URL=front.settings.postgres_url):
        run = CliRunner()
        made = run.invoke(app, ["create", "laptop", "--scope", "conversations", "--quiet"])
        assert made.exit_code == 0, made.output
        token = made.output.split()[-1]  # the front door in this process may log meanwhile
        assert run.invoke(app, ["create", "laptop", "--scope", "conversations"]).exit_code != 0
        assert run.invoke(app, ["create", "other", "--scope", "nonsense"]).exit_code != 0
        assert "laptop" in run.invoke(app, ["list"]).output
        with front.client(token) as client:
            assert client.post(BATCH, json=BODY).status_code == 200
            assert run.invoke(app, ["revoke", "laptop"]).exit_code == 0
            revoked = time.monotonic()
            wait_until(
                lambda: client.post(BATCH, json=BODY).status_code == 401, seconds=5, what="the revocation"
            )
            assert time.monotonic() - revoked < 4
        assert run.invoke(app, ["revoke", "laptop"]).exit_code == 1
