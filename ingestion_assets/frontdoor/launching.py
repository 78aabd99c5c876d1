"""Starting the run of a dispatch, through Dagster's webserver."""

import time
from collections.abc import Callable, Mapping

import httpx
import structlog

from ingestion_assets import proxies
from ingestion_assets.frontdoor.dagster_graphql import (
    LOADING_S,
    TIMEOUT_S,
    DagsterError,
    add_partition,
    ask,
    check_loaded,
    launch_run,
    reload_of,
    repository_of,
)
from ingestion_assets.landing.dispatch import Dispatch
from ingestion_assets.landing.flows import Flow, Keys
from ingestion_assets.landing.run_tags import LOCATION, SENSOR_TAG, sensor_of

RELOAD_AGAIN_S = 30.0
LOST = {None, "PipelineNotFoundError"}
"""What Dagster answers with while it has no code location: its process ends where nobody was heard for half a minute, as when
the machine was suspended, and comes back only when it is asked to."""
ADDED_S = 3600.0  # after which a key is added again: one that was idle for a day may be archived


log = structlog.get_logger(__name__)


class GraphqlLauncher:
    """Launches a flow's job, which has the flow's name, through the webserver at `url`.

    `flow_of` gives a flow by its name: its code location and repository, and its dynamic partitions, where it has those: a key is
    added before its first run here. `headers` and `login` are what the webserver, or who stands before it, wants.
    """

    def __init__(
        self,
        *,
        url: str,
        flow_of: Callable[[str], Flow | None],
        login: tuple[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._client = httpx.Client(
            base_url=url, timeout=TIMEOUT_S, auth=login, headers=headers, trust_env=proxies.stand_before(url)
        )
        self._flow_of = flow_of
        self._added: dict[tuple[str, str], float] = {}
        self._reload_from = 0.0

    def __call__(self, dispatch: Dispatch) -> None:
        """Raises `DagsterError`, `httpx.HTTPError`."""
        flow = self._flow_of(dispatch.lane.flow)
        if flow is None:
            raise DagsterError(f"there is no flow {dispatch.lane.flow} here")
        try:
            self._launch(flow, dispatch)
        except DagsterError as error:
            # A user's own, which may take long to load, is seen to by `code_location.py`: here all runs would wait for it.
            if (
                error.typename not in LOST
                or flow.location != LOCATION
                or time.monotonic() < self._reload_from
            ):
                raise
            self._reload_from = time.monotonic() + RELOAD_AGAIN_S
            log.warning("code_location_lost", location=LOCATION, error=str(error))
            reload = reload_of(LOCATION)
            check_loaded(reload.answer(self._client.post("/graphql", json=reload.body(), timeout=LOADING_S)))
            self._launch(flow, dispatch)

    def _launch(self, flow: Flow, dispatch: Dispatch) -> None:
        self._add_partition(flow, dispatch.key)
        tags = dispatch.tags() | {
            SENSOR_TAG: sensor_of(dispatch.lane.flow)
        }  # else it is said to be launched manually
        ask(self._client, launch_run(flow.name, tags=tags, repository=repository_of(flow)))

    def _add_partition(self, flow: Flow, key: str) -> None:
        if not isinstance(flow.partitions, Keys):
            return
        name, now = flow.partitions.name, time.monotonic()
        if now - self._added.get((name, key), -ADDED_S) < ADDED_S:
            return
        ask(self._client, add_partition(name, key, repository=repository_of(flow)))
        self._added[name, key] = now
