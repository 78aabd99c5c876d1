"""Starting the run of a dispatch, through Dagster's webserver."""

import time
from collections.abc import Mapping

import httpx
import structlog

from ingestion_assets.frontdoor.dagster_graphql import (
    LOADING_S,
    RELOAD,
    TIMEOUT_S,
    DagsterError,
    add_partition,
    ask,
    check_loaded,
    launch_run,
)
from ingestion_assets.landing.dispatch import Dispatch
from ingestion_assets.landing.run_tags import SENSOR_TAG, sensor_of

RELOAD_AGAIN_S = 30.0
LOST = {None, "PipelineNotFoundError"}
"""What Dagster answers with while it has no code location: its process ends where nobody was heard for half a minute, as when
the machine was suspended, and comes back only when it is asked to."""
ADDED_S = 3600.0  # after which a key is added again: one that was idle for a day may be archived


log = structlog.get_logger(__name__)


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
        self._client = httpx.Client(base_url=url, timeout=TIMEOUT_S, auth=login)
        self._dynamic_partitions = dynamic_partitions or {}
        self._added: dict[tuple[str, str], float] = {}
        self._reload_from = 0.0

    def __call__(self, dispatch: Dispatch) -> None:
        """Raises `DagsterError`, `httpx.HTTPError`."""
        try:
            self._launch(dispatch)
        except DagsterError as error:
            if error.typename not in LOST or time.monotonic() < self._reload_from:
                raise
            self._reload_from = time.monotonic() + RELOAD_AGAIN_S
            log.warning("code_location_lost", error=str(error))
            check_loaded(RELOAD.answer(self._client.post("/graphql", json=RELOAD.body(), timeout=LOADING_S)))
            self._launch(dispatch)

    def _launch(self, dispatch: Dispatch) -> None:
        self._add_partition(dispatch)
        tags = dispatch.tags() | {
            SENSOR_TAG: sensor_of(dispatch.lane.flow)
        }  # else it is said to be launched manually
        ask(self._client, launch_run(dispatch.lane.flow, tags=tags))

    def _add_partition(self, dispatch: Dispatch) -> None:
        name, key = self._dynamic_partitions.get(dispatch.lane.flow), dispatch.lane.partition
        now = time.monotonic()
        if name is None or now - self._added.get((name, key), -ADDED_S) < ADDED_S:
            return
        ask(self._client, add_partition(name, key))
        self._added[name, key] = now
