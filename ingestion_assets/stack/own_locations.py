"""The code locations of a user's own beside ours: a code server for each module, and what tells Dagster where they listen."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from ingestion_assets.own_modules import OwnModule
from ingestion_assets.settings import Settings
from ingestion_assets.stack.places import Places
from ingestion_assets.stack.supervision import Program
from ingestion_assets.stores.embedded import LOOPBACK
from ingestion_assets.stores.privileges import bound_to_parent

WATCH = "code-watch"


def server_of(one: OwnModule) -> str:
    """The name of its code server, as a program and where ports are remembered."""
    return f"code-server-{one.location}"


def port_names(settings: Settings) -> list[str]:
    """What needs a port."""
    return [server_of(one) for one in settings.own_modules]


def project_of(settings: Settings) -> Path:
    """The folder that their code lies in."""
    return (settings.project or Path()).absolute()


def code_server(
    *,
    name: str,
    location: str,
    module: str,
    attribute: str | None,
    port: int,
    folder: Path,
    options: Sequence[str] = (),
) -> Program:
    """Dagster's own code server of one module, with `folder` first on its path. It loads the code again when it is asked to."""
    command = (
        *(sys.executable, "-m", "dagster", "code-server", "start", "--module-name", module),
        *(("--attribute", attribute) if attribute else ()),
        *("--host", LOOPBACK, "--port", str(port), "--location-name", location),
        *("--log-level", "warning", *options),
    )
    return Program(name=name, group="dagster", folder=folder, command=bound_to_parent(command, signal="KILL"))


def own_programs(
    *, settings: Settings, places: Places, ports: Mapping[str, int], options: Sequence[str]
) -> list[Program]:
    """The code servers, and who has them load changed files."""
    folder = project_of(settings)
    servers = [
        code_server(
            name=server_of(one), location=one.location, module=one.module, attribute=one.attribute,
            port=ports[server_of(one)], folder=folder, options=options,
        )
        for one in settings.own_modules
    ]  # fmt: skip
    if not servers:
        return []
    command = bound_to_parent((sys.executable, "-m", "ingestion_assets.stack.code_watch"), signal="KILL")
    return [*servers, Program(name=WATCH, group="dagster", folder=places.run, command=command)]


def write_workspace(places: Places, *, settings: Settings, ports: Mapping[str, int]) -> None:
    """Tell webserver and daemon where the code servers listen."""
    servers = [
        {
            "grpc_server": {
                "host": LOOPBACK,
                "port": ports[server_of(one)],
                "location_name": one.location,
            }
        }
        for one in settings.own_modules
    ]
    places.own_workspace.write_text(yaml.safe_dump({"load_from": servers}), encoding="utf-8")
