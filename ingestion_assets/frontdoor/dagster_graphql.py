"""What is asked of Dagster through its webserver's GraphQL, so that nothing here needs to import it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from ingestion_assets import proxies
from ingestion_assets.landing.flows import Flow
from ingestion_assets.landing.run_tags import LOCATION
from ingestion_assets.settings import Settings

TIMEOUT_S = 10.0
LOADING_S = 120.0

_OURS = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
"""The repository of our own flows."""
_LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchRun(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on UnauthorizedError { message }
    ... on InvalidSubsetError { message }
  }
}
"""
_ADD_PARTITION = """
mutation AddPartition($selector: RepositorySelector!, $name: String!, $key: String!) {
  addDynamicPartition(repositorySelector: $selector, partitionsDefName: $name, partitionKey: $key) {
    __typename
    ... on PythonError { message }
    ... on UnauthorizedError { message }
  }
}
"""
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
_LOCATION = """
query Location($location: String!) {
  workspaceLocationEntryOrError(name: $location) {
    __typename
    ... on WorkspaceLocationEntry { loadStatus locationOrLoadError { __typename ... on PythonError { message } } }
    ... on PythonError { message }
  }
}
"""
_METADATA = """
query Metadata($group: AssetGroupSelector!) {
  assetNodes(group: $group) { metadataEntries { label ... on TextMetadataEntry { text } } }
}
"""


class DagsterError(Exception):
    """Dagster did not do what it was asked for; says why, and with which type it answered, where it did with one."""

    def __init__(self, message: str, *, typename: str | None = None) -> None:
        super().__init__(message)
        self.typename = typename


@dataclass(frozen=True, slots=True)
class Question:
    """A query or mutation. Its answer is the value of `field`, of one of the types `wanted` where those are named."""

    text: str
    field: str
    variables: Mapping[str, Any]
    wanted: frozenset[str] = frozenset()

    def body(self) -> dict[str, Any]:
        """What is posted."""
        return {"query": self.text, "variables": self.variables}

    def answer(self, response: httpx.Response) -> Any:
        """Raises `DagsterError`, `httpx.HTTPStatusError`."""
        response.raise_for_status()
        data = response.json().get("data") or {}
        said = data.get(self.field)
        if said is None or (self.wanted and said.get("__typename") not in self.wanted):
            typename = said.get("__typename") if said else None
            raise DagsterError(f"the orchestrator answered {said or response.text[:500]}", typename=typename)
        return said


def dagster_client(settings: Settings, *, timeout: float = TIMEOUT_S) -> httpx.AsyncClient:
    """For questions to the webserver that the settings name."""
    return httpx.AsyncClient(
        base_url=settings.dagster_url,
        auth=settings.dagster_login,
        headers=settings.headers_for_dagster,
        timeout=timeout,
        trust_env=proxies.stand_before(settings.dagster_url),
    )


def ask(client: httpx.Client, question: Question) -> Any:
    """Raises `DagsterError`, `httpx.HTTPError`."""
    return question.answer(client.post("/graphql", json=question.body()))


def repository_of(flow: Flow) -> dict[str, str]:
    """Where Dagster finds the flow's job and partitions."""
    return {"repositoryLocationName": flow.location, "repositoryName": flow.repository}


def launch_run(
    job: str, *, tags: Mapping[str, str] | None = None, repository: Mapping[str, str] = _OURS
) -> Question:
    """Start a run of a job; answered with `run`."""
    params = {
        "selector": {**repository, "jobName": job},
        "runConfigData": {},
        "executionMetadata": {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]},
    }
    return Question(_LAUNCH, "launchRun", {"params": params}, frozenset({"LaunchRunSuccess"}))


def add_partition(name: str, key: str, *, repository: Mapping[str, str] = _OURS) -> Question:
    """Have the dynamic partitions of this name include the key; it may be there already."""
    variables = {"selector": repository, "name": name, "key": key}
    added = frozenset({"AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError"})
    return Question(_ADD_PARTITION, "addDynamicPartition", variables, added)


async def reload_code_location(client: httpx.AsyncClient, location: str = LOCATION) -> None:
    """Load a code location again; the code server serves the old one until the new one is there.

    Raises `DagsterError`, `httpx.HTTPError`.
    """
    check_loaded(await _ask_long(client, reload_of(location)))


def reload_of(location: str) -> Question:
    """Load a code location again; answered with what `check_loaded` looks at."""
    return Question(_RELOAD, "reloadRepositoryLocation", {"location": location})


def check_loaded(said: Mapping[str, Any]) -> None:
    """What `reload_of` was answered with. Raises `DagsterError` where the code location is not there then."""
    loaded = said.get("locationOrLoadError") or {}
    if loaded.get("__typename") != "RepositoryLocation":
        raise DagsterError(str(loaded.get("message") or said.get("message") or said))


async def is_location_loaded(client: httpx.AsyncClient, location: str = LOCATION) -> bool:
    """Whether a code location can be used; False while it is being loaded.

    Raises `DagsterError` where it is gone or could not be loaded, `httpx.HTTPError`.
    """
    said = await _ask_long(
        client, Question(_LOCATION, "workspaceLocationEntryOrError", {"location": location})
    )
    if said.get("loadStatus") == "LOADING":
        return False
    check_loaded(said)
    return True


async def defined_metadata(client: httpx.AsyncClient, *, group: str, label: str) -> set[str]:
    """The texts that the assets of a group carry under `label` in their definitions, as the webserver knows them.

    Raises `DagsterError`, `httpx.HTTPError`.
    """
    nodes = await _ask_long(
        client, Question(_METADATA, "assetNodes", {"group": {"groupName": group, **_OURS}})
    )
    entries = [entry for node in nodes for entry in node["metadataEntries"]]
    return {entry["text"] for entry in entries if entry.get("label") == label}


async def _ask_long(client: httpx.AsyncClient, question: Question) -> Any:
    return question.answer(await client.post("/graphql", json=question.body(), timeout=LOADING_S))
