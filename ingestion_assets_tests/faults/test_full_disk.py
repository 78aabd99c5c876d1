"""A full disk under landing storage: refused with 503 and Retry-After, nothing acknowledged lost, and it recovers by itself."""

import httpx
import pytest

from ingestion_assets_tests.faults.campaign import DEADLINE_S, Campaign
from ingestion_assets_tests.faults.conftest import Cramped
from ingestion_assets_tests.faults.convergence import come_to_rest
from ingestion_assets_tests.faults.load import Load, Payload, payloads
from ingestion_assets_tests.servers import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SEED = 977  # far from the rounds'


def _post(campaign: Campaign, payload: Payload) -> httpx.Response:
    headers = {
        "X-API-Key": campaign.stack.admin_token, "Idempotency-Key": payload.key, "Prefer": "respond-async",
        "Content-Type": "application/json",
    }  # fmt: skip
    return httpx.post(
        f"{campaign.stack.url}/api/v1/ingest/batch", content=payload.body(), headers=headers, timeout=30
    )


def test_a_full_disk_refuses_and_loses_nothing(cramped: Cramped) -> None:
    running = cramped.campaign
    batch = payloads(seed=SEED, lines=240)
    with Load(url=running.stack.url, token=running.stack.admin_token, payloads=batch, seed=SEED) as load:
        wait_until(lambda: len(load.acknowledged) >= 3, seconds=30, what="some to be acknowledged")
        with cramped.fill():
            one = payloads(seed=SEED + 1)[0]
            refused = _post(running, one)
            assert refused.status_code == 503, refused.text
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.json()["dependency"] == "landing"
            assert "storage" in refused.json()["detail"]
            # What was accepted before is worked on all the same.
            come_to_rest(running.stack, list(load.acknowledged), deadline_s=DEADLINE_S)
        load.finish(timeout_s=DEADLINE_S)
        accepted = _post(running, one)
        assert accepted.status_code == 202, accepted.text
        rest = come_to_rest(running.stack, load.acknowledged, deadline_s=DEADLINE_S)
    print(f"answers {dict(load.answers)}")
    assert rest.quiet_at
    running.sent += [*batch, one]
    running.acknowledged += load.acknowledged
    found = running.audit()
    assert (found.lost, found.failed, found.doubled, found.different) == ([], [], 0, [])
    assert [path for path in cramped.landing.rglob("*.part") if path.is_file()] == []
