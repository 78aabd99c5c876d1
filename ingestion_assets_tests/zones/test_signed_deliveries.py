"""Deliveries that their sender signed, through the whole front door: what lands, what is 401, and what is written down of that."""

import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.zones.conftest import Publish

SECRET, OLD = "whsec-new", "whsec-old"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module", autouse=True)
def zones(publish: Publish) -> None:
    publish("paid", verify={"kind": "stripe"}, secrets=(SECRET, OLD))
    publish("pushed", verify={"kind": "github"}, secrets=(SECRET,))
    publish("said", verify={"kind": "slack"}, secrets=(SECRET,))


def _hex(signed: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()


def _stripe(body: bytes, *, at: int | None = None, secret: str = SECRET) -> dict[str, str]:
    moment = int(time.time()) if at is None else at
    return {**JSON, "Stripe-Signature": f"t={moment},v1={_hex(b'%d.%s' % (moment, body), secret)}"}


def _event(number: int) -> bytes:
    return json.dumps({"id": f"evt_{number}", "type": "charge.succeeded"}).encode()


def _post(front: Front, zone: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    with front.client(None) as sender:
        return sender.post(f"/api/v1/drops/{zone}", content=body, headers=dict(headers))


def _code(answer: httpx.Response) -> Any:
    assert answer.status_code == 401, answer.text
    return answer.json()["errors"][0]["type"]


def test_a_signed_delivery_lands_at_once_and_belongs_to_its_sender(
    front: Front, client: httpx.Client
) -> None:
    answer = _post(front, "paid", _event(1), _stripe(_event(1)))
    assert (answer.status_code, answer.json()["records"]) == (202, 1)
    url = answer.headers["Location"]
    wait_until(lambda: client.get(url).json()["state"] == "done", seconds=10, what="its run")


def test_the_secret_before_is_good_as_long_as_it_is_named(front: Front) -> None:
    assert _post(front, "paid", _event(2), _stripe(_event(2), secret=OLD)).status_code == 202


def test_what_is_not_the_senders_is_turned_away(front: Front) -> None:
    body = _event(3)
    assert _code(_post(front, "paid", body + b" ", _stripe(body))) == "wrong_signature"
    assert _code(_post(front, "paid", body, _stripe(body, secret="guessed"))) == "wrong_signature"
    assert _code(_post(front, "paid", body, _stripe(body, at=int(time.time()) - 400))) == "stale_timestamp"
    assert _code(_post(front, "paid", body, {**JSON, "Stripe-Signature": "t=1,v0=00"})) == "wrong_algorithm"
    assert _code(_post(front, "paid", body, JSON)) == "missing_signature"


def test_the_very_same_delivery_again_is_a_replay_and_one_signed_anew_a_repetition(front: Front) -> None:
    body, now = _event(4), int(time.time())
    first = _post(front, "paid", body, _stripe(body, at=now - 2))
    assert first.status_code == 202
    assert _code(_post(front, "paid", body, _stripe(body, at=now - 2))) == "replayed"
    again = _post(front, "paid", body, _stripe(body, at=now))
    assert again.status_code in {200, 202}  # the first one's outcome, if that is known already
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["X-Receipt-Id"] == first.headers["X-Receipt-Id"]


def test_a_sender_without_times_may_repeat_itself_and_no_other_may_use_its_id(front: Front) -> None:
    def pushed(body: bytes, delivery: str) -> httpx.Response:
        signed = {
            "X-Hub-Signature-256": f"sha256={_hex(body)}",
            "X-GitHub-Delivery": delivery,
            "X-GitHub-Event": "push",
        }
        return _post(front, "pushed", body, {**JSON, **signed})

    first, again = (pushed(b'{"id": "1"}', "d-1") for _ in range(2))
    assert (first.status_code, again.is_success) == (202, True)
    assert first.headers["X-Receipt-Id"] == again.headers["X-Receipt-Id"]
    assert _code(pushed(b'{"id": "2"}', "d-1")) == "reused_id"


def test_a_handshake_is_answered_and_lands_nothing(front: Front, client: httpx.Client) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "c-1", "token": "t"}).encode()
    now = int(time.time())
    signed = {
        "X-Slack-Request-Timestamp": str(now),
        "X-Slack-Signature": f"v0={_hex(b'v0:%d:%s' % (now, body))}",
    }
    answer = _post(front, "said", body, {**JSON, **signed})
    assert (answer.status_code, answer.json()) == (200, {"challenge": "c-1"})
    assert client.get("/api/v1/receipts", params={"flow": "said"}).json()["items"] == []


def test_an_api_key_is_as_good_as_a_signature(client: httpx.Client) -> None:
    assert (
        client.post(
            "/api/v1/drops/paid", content=_event(5), headers={**JSON, "Prefer": "respond-async"}
        ).status_code
        == 202
    )


def test_what_was_turned_away_stands_in_the_audit(front: Front, client: httpx.Client) -> None:
    def known() -> dict[str, int]:
        return {
            one["code"]: one["deliveries"] for one in client.get("/api/v1/zones/paid").json()["unverified"]
        }

    before = known().get("missing_signature", 0)
    for _ in range(3):
        _post(front, "paid", _event(6), JSON)
    wait_until(lambda: known().get("missing_signature", 0) >= before + 3, seconds=10, what="the audit")


def test_secrets_lie_sealed_in_the_ledger_and_in_the_home(front: Front) -> None:
    with front.engine.connect() as connection:
        documents = connection.scalars(sa.text("SELECT document FROM ingestion.zones")).all()
    noted = (front.settings.home / "zones.json").read_text()
    for text in (*documents, noted):
        assert SECRET not in text
        assert OLD not in text
    assert (front.settings.home / "zones.json").stat().st_mode & 0o077 == 0
