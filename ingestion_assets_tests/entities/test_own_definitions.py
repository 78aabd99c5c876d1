"""A new entity is a YAML file and nothing else: with it in place, a stack has its endpoint, table, asset and documentation."""

import shutil
from pathlib import Path

import httpx
import psycopg
import pytest

from ingestion_assets_tests.entities.definitions import WORKSHOP_FOLDER
from ingestion_assets_tests.stacks import running_stack

QUERY = """
    query { assetNodes(group: {groupName: "entities", repositoryName: "__repository__", repositoryLocationName: "ingestion_assets"}) {
        assetKey { path } dependencyKeys { path }
        metadataEntries { ... on TableSchemaMetadataEntry { schema { columns { name type } } } }
    } }
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_new_entity_is_a_file(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    home = tmp_path / "home"
    with running_stack(home) as stack:
        assert "Site" not in httpx.get(f"{stack.url}/health").json()["entities"]
    (home / "entities").mkdir()
    shutil.copy(WORKSHOP_FOLDER / "site.yaml", home / "entities")
    with running_stack(home) as stack:
        headers = {"X-API-Key": stack.admin_token, "Content-Type": "text/plain"}
        assert httpx.get(f"{stack.url}/health").json()["entities"][-1:] != []
        assert "Site" in httpx.get(f"{stack.url}/health").json()["entities"]
        answer = httpx.post(
            f"{stack.url}/ingest/message",
            content="SITE|DE|7|Nord|31.01.2026|1.234,5",
            headers=headers,
            timeout=60,
        )
        assert answer.json()["id"] == {"country": "DE", "number": 7}, answer.text
        with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as database:
            assert database.execute("SELECT name, turnover::text FROM entities.sites").fetchall() == [
                ("Nord", "1234.500")
            ]
        nodes = httpx.post(f"{stack.dagster_url}/graphql", json={"query": QUERY}, timeout=60).json()["data"][
            "assetNodes"
        ]
    site = next(node for node in nodes if node["assetKey"]["path"] == ["entities", "site"])
    assert site["dependencyKeys"] == [{"path": ["entities", "raw_batches"]}]
    columns = next(entry["schema"]["columns"] for entry in site["metadataEntries"] if entry)
    assert columns[-1] == {"name": "turnover", "type": "numeric(9,3)"}
