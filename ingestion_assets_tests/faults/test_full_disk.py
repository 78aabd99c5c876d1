"""A full disk under landing storage: refused with 503 and Retry-After, nothing acknowledged lost, and it recovers by itself."""

from dataclasses import replace

import httpx
import pytest

from ingestion_assets_tests.faults.campaign import DEADLINE_S
from ingestion_assets_tests.faults.conftest import Cramped
from ingestion_assets_tests.faults.convergence import come_to_rest, unfinished
from ingestion_assets_tests.faults.load import Post, Senders
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def _refused(stack: RunningStack, post: Post) -> httpx.Response:
    """The answer to a single try."""
    request = replace(post, waits=False).request()
    headers = request.pop("headers") | {"X-API-Key": stack.admin_token}
    return httpx.post(stack.url + request.pop("url"), headers=headers, timeout=30, **request)


def test_a_full_disk_refuses_and_loses_nothing(cramped: Cramped) -> None:
    running = cramped.campaign
    later = running.payloads(6)
    by_path = {post.path: post for post in later if isinstance(post, Post)}
    assert len(by_path) >= 3, "all flows are among them"
    with Senders(running.stack, running.payloads(12)) as senders:
        wait_until(lambda: len(senders.acknowledged) >= 3, seconds=30, what="some to be acknowledged")
        with cramped.fill():
            for post in by_path.values():
                refused = _refused(running.stack, post)
                assert refused.status_code == 503, refused.text
                assert int(refused.headers["Retry-After"]) >= 1
                assert refused.json()["dependency"] == "landing"
                assert "storage" in refused.json()["detail"]
            accepted = [one.receipt for one in senders.acknowledged]
            wait_until(
                lambda: not unfinished(running.stack, accepted), seconds=DEADLINE_S,
                what="the payloads accepted before to be worked on all the same",
            )  # fmt: skip
        senders.finish(timeout_s=DEADLINE_S)
    print(f"answers {dict(senders.answers)}")
    running.note(senders)
    with Senders(running.stack, later) as senders:
        senders.finish(timeout_s=DEADLINE_S)
        come_to_rest(running.stack, senders.acknowledged, deadline_s=DEADLINE_S)
    running.note(senders)
    found = running.audit()
    assert found.is_clean, found
    assert [path for path in cramped.landing.rglob("*.part") if path.is_file()] == []
