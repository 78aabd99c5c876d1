"""The flow's part of the OpenAPI document against the server: generated requests give no answer that is not documented.

`INGESTION_LONG_TESTS=1` runs at least 2,000 cases.
"""

from collections.abc import Iterator

import pytest

from ingestion_assets_tests.frontdoor.documented import assert_documented
from ingestion_assets_tests.frontdoor.generated import MODES, try_operations
from ingestion_assets_tests.modules.front import Front, serving
from ingestion_assets_tests.modules.replay import body, module

OURS = ("/api/v1/sites", "/api/v1/security")


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    home = tmp_path_factory.mktemp("home")
    with serving(home=home, postgres_url=postgres_url, sync_rate_limit="") as running:
        yield running


@pytest.mark.parametrize("mode", MODES)
def test_answers_are_documented(front: Front, mode: str) -> None:
    site_id, _ = front.site()
    with front.client() as client:
        synced = client.post(f"/sites/{site_id}/modules/sync", json=body([module("a")]))
        assert_documented(synced, path="/api/v1/sites/{site_id}/modules/sync")
        sync_id = synced.json()["sync_id"]
    known = {"site_id": site_id, "sync_id": sync_id, "machine_name": "a"}
    answers = try_operations(front.url, paths=OURS, mode=mode, known=known)
    assert len({answer.rpartition(" ")[0] for answer in answers}) >= 13 or mode == "invalid"


def test_every_endpoint_is_described(front: Front) -> None:
    with front.client(None) as client:
        document = client.get(f"{front.url}/openapi.json").json()
    ours = {path: methods for path, methods in document["paths"].items() if path.startswith(OURS)}
    for methods in ours.values():
        for operation in methods.values():
            assert operation["summary"] and operation["description"] and operation["security"]
            assert {"401", "403", "503"} <= operation["responses"].keys()
