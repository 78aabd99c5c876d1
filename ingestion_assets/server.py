"""The front door as a process: which flows it serves, how it wakes runs, how it starts and stops.

`python -m ingestion_assets.server`
"""

import asyncio
import ctypes
import gc
import pkgutil
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn

from ingestion_assets.frontdoor.app import OWN, FrontDoorApp, build_app
from ingestion_assets.frontdoor.connections import raise_descriptor_limit
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.flow_http import told, without_clashes
from ingestion_assets.frontdoor.launching import GraphqlLauncher
from ingestion_assets.frontdoor.logs import configure_logging
from ingestion_assets.frontdoor.protocol import GuardedProtocol
from ingestion_assets.frontdoor.uvicorn_internals import raise_at_end
from ingestion_assets.frontdoor.websocket_protocol import websocket_options
from ingestion_assets.installed_flows import installed, parts
from ingestion_assets.landing.dispatch import Dispatch
from ingestion_assets.landing.flows import LiveFlows
from ingestion_assets.landing.storage import open_storage
from ingestion_assets.landing.waking import Waker
from ingestion_assets.settings import Settings, load_flow_settings, load_settings
from ingestion_assets.stores.postgres import engine

HTTP_OF_OTHERS = ("ingestion_assets.zones.web.http:http",)
"""Makers of what flows that come and go have at the front door."""
NOTICE_S = 0.5  # between `not ready` and closing the door, for load balancers to notice
ACCEPTED_S = 0.2
M_MMAP_THRESHOLD = -3


def create_app(settings: Settings, *, launch: Callable[[Dispatch], None] | None = None) -> FrontDoorApp:
    """The application with all flows. It connects when its lifespan starts.

    `launch` starts the run of a dispatch; without it the Dagster webserver is asked, where there is one.
    """
    found = installed()
    flows = LiveFlows(found.flows)
    # A wrong setting of a flow stops the start, as one of the spine does, not the first request that needs it.
    _, wrong = parts(found, "settings", lambda _flow, kind: load_flow_settings(kind))
    others = [pkgutil.resolve_name(reference)() for reference in HTTP_OF_OTHERS]
    taken = without_clashes([*OWN, *(router for one in others for router in one.routers)])
    https, faults = parts(found, "http", taken)
    if launch is None and settings.asks_dagster:
        launch = GraphqlLauncher(
            url=settings.dagster_url,
            flow_of=flows.get,
            login=settings.dagster_login,
            headers=settings.headers_for_dagster,
        )
    waker = Waker(
        engine=engine(settings.require("postgres_url")),
        launch=launch,
        rest_s=settings.lane_rest_s,
        flows=flows,
    )
    door = FrontDoor(settings=settings, storage=open_storage(settings), flows=flows, waker=waker)
    app = build_app(door, flows=[*https.values(), *others], faults=[*found.faults, *wrong, *faults])
    app.state.curl_of_flows = lambda: (
        told(one.curls for one in others) | {name: http.curl for name, http in https.items()}
    )
    return app


class DrainingServer(uvicorn.Server):
    """Says `not ready` first, closes the door a moment later, then lets requests finish."""

    def __init__(self, config: uvicorn.Config, door: FrontDoor) -> None:
        super().__init__(config)
        self._door = door

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._door.stopping:
            super().handle_exit(sig, frame)
            return
        self._door.stopping = True
        raise_at_end(self, sig)
        threading.Timer(NOTICE_S, self._close).start()

    def _close(self) -> None:
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        await asyncio.sleep(ACCEPTED_S)  # a connection just made may have its first request on the way
        await super().shutdown(sockets)

    async def main_loop(self) -> None:
        await super().main_loop()
        self._door.stop_waiting()


def serve(settings: Settings, *, launch: Callable[[Dispatch], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; a second signal does not wait for requests."""
    configure_logging(level=settings.log_level, as_json=settings.log_json)
    raise_descriptor_limit()
    _return_memory()
    app = create_app(settings, launch=launch)
    config = uvicorn.Config(
        app, host=settings.host, port=settings.port, http=GuardedProtocol, loop="uvloop", lifespan="on",
        timeout_keep_alive=75, timeout_graceful_shutdown=max(1, int(settings.drain_s - NOTICE_S - 1)),
        access_log=False, log_config=None, server_header=False, proxy_headers=False, backlog=2048,
        **websocket_options(),
    )  # fmt: skip
    gc.freeze()
    gc.set_threshold(
        10_000, 20, 20
    )  # next to no garbage here is in cycles; looking for it is a twentieth of the work
    DrainingServer(config, app.door).run()


def _return_memory() -> None:
    """Have glibc map large buffers one by one, so that bodies' memory goes back to the system when they are done."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(M_MMAP_THRESHOLD, 256 * 1024)


def main() -> None:
    """Entry point."""
    serve(load_settings())


if __name__ == "__main__":
    main()
