"""Payloads that wait for a queue that no worker takes: `/health` and `/metrics` say so."""

from pathlib import Path

import httpx
import pytest

from ingestion_assets.landing.local_storage import LocalStorage
from ingestion_assets.stores.postgres import engine
from ingestion_assets_tests.frontdoor.conftest import process
from ingestion_assets_tests.landing.ledger_for_tests import accept_all, note
from ingestion_assets_tests.servers import wait_until


@pytest.mark.parametrize("workers", [0, 1])
def test_a_queue_without_workers_is_named_once_a_payload_waits_for_it(
    tmp_path: Path, fresh_postgres_url: str, workers: int
) -> None:
    chosen = {
        "INGESTION_FLOWS": "ingestion_assets_tests.frontdoor.gpu_flow",
        "INGESTION_WORKERS_GPU": str(workers),
    }
    with process(home=tmp_path / "home", postgres_url=fresh_postgres_url, **chosen) as (_, url):

        def backlog() -> dict:
            return httpx.get(f"{url}/health").json()["backlog"]

        before = backlog()
        if workers == 0 and not before["landed"]:
            assert before["without_worker"] == []
        accept_all(engine(fresh_postgres_url), LocalStorage(tmp_path / "landing"), [note()])
        wait_until(
            lambda: (backlog()["landed"] or 0) > (before["landed"] or 0), seconds=20, what="the payload"
        )
        said = backlog()["without_worker"]
        metric = f'ingestion_flow_without_worker{{flow="notes",queue="gpu"}} {1.0 - workers}'
        assert metric in httpx.get(f"{url}/metrics").text
        if workers:
            assert said == []
        else:
            assert said == [
                "payloads of notes wait and no worker takes queue gpu: INGESTION_WORKERS_GPU is 0"
            ]
            assert httpx.get(f"{url}/health").json()["status"] == "degraded"
