"""Starting runs without importing Dagster: one GraphQL mutation to the webserver."""

from typing import Protocol

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


class LaunchError(Exception):
    """The orchestrator did not take the run; says why."""


class Launch(Protocol):
    """Asks for the run of a dispatch."""

    def __call__(self, dispatch: Dispatch) -> None: ...


class GraphqlLauncher:
    """Launches a flow's job through the webserver at `url`. `jobs` names each flow's job."""

    def __init__(self, *, url: str, jobs: dict[str, str]) -> None:
        self._client = httpx.Client(base_url=url, timeout=10)
        self._jobs = jobs

    def __call__(self, dispatch: Dispatch) -> None:
        """Raises `LaunchError`, `httpx.HTTPError`."""
        params = {
            "selector": {
                "repositoryLocationName": LOCATION,
                "repositoryName": REPOSITORY,
                "jobName": self._jobs[dispatch.lane.flow],
            },
            "runConfigData": {},
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in dispatch.tags().items()]
            },
        }
        answer = self._client.post("/graphql", json={"query": _LAUNCH, "variables": {"params": params}})
        answer.raise_for_status()
        launched = (answer.json().get("data") or {}).get("launchRun") or {}
        if launched.get("__typename") != "LaunchRunSuccess":
            raise LaunchError(f"the orchestrator answered {launched or answer.text[:500]}")

    def close(self) -> None:
        self._client.close()
