"""Definition files in the home of a running stack, and what is to be seen of them from outside."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

QUERY = """
    query { assetNodes(group: {groupName: "entities", repositoryName: "__repository__", repositoryLocationName: "ingestion_assets"}) {
        assetKey { path } dependencyKeys { path } assetMaterializations { runId }
        metadataEntries { ... on TableSchemaMetadataEntry { schema { columns { name type } } } }
    } }
"""
TPCH = ["Customer", "Product", "Order", "OrderLineItem"]
SITE = "SITE|DE|%d|Nord|31.01.2026|1.234,5"


@contextmanager
def definitions_folder(stack: RunningStack) -> Iterator[Path]:
    """The home's folder of definitions, empty before and after."""
    own = stack.home / "entities"
    own.mkdir(exist_ok=True)
    try:
        yield own
    finally:
        shutil.rmtree(own)
    wait_until(lambda: health(stack)["entities"] == TPCH, seconds=30, what="the definitions to be gone")
    wait_until(lambda: "site" not in assets(stack), seconds=60, what="the asset to be gone")


def health(stack: RunningStack) -> dict[str, Any]:
    return httpx.get(f"{stack.url}/health").json()


def assets(stack: RunningStack) -> dict[str, dict[str, Any]]:
    """The flow's assets as the webserver knows them, by name."""
    answer = httpx.post(f"{stack.dagster_url}/graphql", json={"query": QUERY}, timeout=60).json()
    return {node["assetKey"]["path"][-1]: node for node in answer["data"]["assetNodes"]}


def send(stack: RunningStack, line: str) -> httpx.Response:
    headers = {"X-API-Key": stack.admin_token, "Content-Type": "text/plain"}
    return httpx.post(f"{stack.url}/ingest/message", content=line, headers=headers, timeout=60)
