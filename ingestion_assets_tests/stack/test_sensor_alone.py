"""A stack of Dagster's own runs whose front door asks no webserver: the sensor alone starts them, and nothing else is missing."""

import os
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from ingestion_assets.stack.places import Places
from ingestion_assets.stack.supervision import Supervisor
from ingestion_assets_tests.stacks import RunningStack, running_stack

pytestmark = pytest.mark.slow
PAYLOADS = 8 if os.environ.get("INGESTION_LONG_TESTS") == "1" else 2
WAITED = """
SELECT extract(epoch FROM min(requested_at) - drops.received_at)::float8 FROM ingestion.drops
JOIN ingestion.dispatches USING (flow, lane) WHERE requested_at > drops.received_at GROUP BY drops.id, drops.received_at
"""


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    settings = {"webserver_url": "none", "launcher": "dagster", "lane_rest_s": 0}
    with running_stack(tmp_path_factory.mktemp("home"), **settings) as stack:
        yield stack


def test_payloads_are_answered_with_their_outcomes(alone: RunningStack) -> None:
    answers = [
        httpx.post(
            f"{alone.url}/api/v1/ingest/message", json={"type": "user", "uuid": f"alone-{number}", "message": {"content": "x"}},
            headers={"X-API-Key": alone.admin_token, "Prefer": "wait=100"}, timeout=120,
        )
        for number in range(PAYLOADS)
    ]  # fmt: skip
    assert [answer.status_code for answer in answers] == [200] * PAYLOADS, [answer.text for answer in answers]
    with psycopg.connect(alone.environment["INGESTION_POSTGRES_URL"]) as connection:
        waited = sorted(seconds for (seconds,) in connection.execute(WAITED).fetchall())
    seconds = [f"{answer.elapsed.total_seconds():.1f}" for answer in answers]
    print(f"from landing to the sensor's tick: {waited}; to the answer: {', '.join(seconds)} s")
    assert len(waited) == PAYLOADS
    assert waited[0] < 15


def test_nothing_is_said_to_be_wrong(alone: RunningStack) -> None:
    health = httpx.get(f"{alone.url}/health", timeout=10).json()
    assert health["status"] == "healthy", health
    assert "orchestrator" not in health["dependencies"]
    assert httpx.get(f"{alone.url}/health/ready", timeout=10).json()["with_results"]
    programs = {state.name for state in Supervisor(Places(alone.home).supervisor_socket).states()}
    assert not {name for name in programs if name.startswith("worker-")}
