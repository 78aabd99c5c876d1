"""Starting runs without importing Dagster: one GraphQL mutation to the webserver."""

from collections.abc import Mapping
from typing import Any, Protocol

import httpx

from ingestion_assets.landing.dispatch import Dispatch

LOCATION = "ingestion_assets"
REPOSITORY = "__repository__"

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
_REPOSITORY = {"repositoryLocationName": LOCATION, "repositoryName": REPOSITORY}


class LaunchError(Exception):
    """The orchestrator did not take the run; says why."""


class Launch(Protocol):
    """Asks for the run of a dispatch."""

    def __call__(self, dispatch: Dispatch) -> None: ...


class GraphqlLauncher:
    """Launches a flow's job, which has the flow's name, through the webserver at `url`.

    `dynamic_partitions` names the dynamic partitions of the flows that have those: a key is added before its first run here.
    """

    def __init__(
        self,
        *,
        url: str,
        dynamic_partitions: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
    ) -> None:
        self._client = httpx.Client(base_url=url, timeout=10, auth=login)
        self._dynamic_partitions = dynamic_partitions or {}
        self._added: set[tuple[str, str]] = set()

    def __call__(self, dispatch: Dispatch) -> None:
        """Raises `LaunchError`, `httpx.HTTPError`."""
        self._add_partition(dispatch)
        params = {
            "selector": {**_REPOSITORY, "jobName": dispatch.lane.flow},
            "runConfigData": {},
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in dispatch.tags().items()]
            },
        }
        self._mutate(_LAUNCH, {"params": params}, field="launchRun", wanted=frozenset({"LaunchRunSuccess"}))

    def _add_partition(self, dispatch: Dispatch) -> None:
        name, key = self._dynamic_partitions.get(dispatch.lane.flow), dispatch.lane.partition
        if name is None or (name, key) in self._added:
            return
        variables = {"selector": _REPOSITORY, "name": name, "key": key}
        added = frozenset({"AddDynamicPartitionSuccess", "DuplicateDynamicPartitionError"})
        self._mutate(_ADD_PARTITION, variables, field="addDynamicPartition", wanted=added)
        self._added.add((name, key))

    def _mutate(self, query: str, variables: dict[str, Any], *, field: str, wanted: frozenset[str]) -> None:
        answer = self._client.post("/graphql", json={"query": query, "variables": variables})
        answer.raise_for_status()
        said = (answer.json().get("data") or {}).get(field) or {}
        if said.get("__typename") not in wanted:
            raise LaunchError(f"the orchestrator answered {said or answer.text[:500]}")

    def close(self) -> None:
        self._client.close()
