"""Having Dagster load the code location again, through the webserver's GraphQL."""

from typing import Any

import httpx

from ingestion_assets.frontdoor.launching import LOCATION, REPOSITORY

LOADING_S = 120.0

_RELOAD = """
mutation Reload($location: String!) {
  reloadRepositoryLocation(repositoryLocationName: $location) {
    __typename
    ... on WorkspaceLocationEntry { locationOrLoadError { __typename ... on PythonError { message } } }
    ... on PythonError { message }
    ... on UnauthorizedError { message }
  }
}
"""
_METADATA = """
query Metadata($group: AssetGroupSelector!) {
  assetNodes(group: $group) { metadataEntries { label ... on TextMetadataEntry { text } } }
}
"""


class ReloadError(Exception):
    """The code location was not loaded again; says why."""


async def reload_code_location(client: httpx.AsyncClient) -> None:
    """Load the code location again; the code server serves the old one until the new one is there.

    Raises `ReloadError`, `httpx.HTTPError`.
    """
    said = await _ask(client, _RELOAD, {"location": LOCATION}, field="reloadRepositoryLocation")
    loaded = said.get("locationOrLoadError") or {}
    if loaded.get("__typename") != "RepositoryLocation":
        raise ReloadError(str(loaded.get("message") or said.get("message") or said))


async def defined_metadata(client: httpx.AsyncClient, *, group: str, label: str) -> set[str]:
    """The texts that the assets of a group carry under `label` in their definitions, as the webserver knows them.

    Raises `ReloadError`, `httpx.HTTPError`.
    """
    selector = {"groupName": group, "repositoryName": REPOSITORY, "repositoryLocationName": LOCATION}
    nodes = await _ask(client, _METADATA, {"group": selector}, field="assetNodes")
    entries = [entry for node in nodes for entry in node["metadataEntries"]]
    return {entry["text"] for entry in entries if entry.get("label") == label}


async def _ask(client: httpx.AsyncClient, query: str, variables: dict[str, Any], *, field: str) -> Any:
    answer = await client.post("/graphql", json={"query": query, "variables": variables}, timeout=LOADING_S)
    answer.raise_for_status()
    data = answer.json().get("data") or {}
    if field not in data:
        raise ReloadError(answer.text[:500])
    return data[field]
