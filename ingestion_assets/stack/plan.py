"""What a stack consists of: its servers, programs, addresses and environment, computed from the settings."""

import math
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from ingestion_assets.installed_flows import installed, parts
from ingestion_assets.landing.run_tags import LOCATION
from ingestion_assets.settings import Settings, load_flow_settings
from ingestion_assets.stack.environment_file import as_environment
from ingestion_assets.stack.leftovers import MARK
from ingestion_assets.stack.own_locations import code_server, own_programs
from ingestion_assets.stack.places import Places
from ingestion_assets.stack.program_secrets import withheld
from ingestion_assets.stack.supervision import Group, Program
from ingestion_assets.stores.embedded import (
    LOOPBACK,
    EmbeddedServer,
    address_of,
    embedded_mongodb,
    embedded_postgres,
    embedded_valkey,
)
from ingestion_assets.stores.privileges import bound_to_parent

CONFIGURATION = Path(__file__).parent
"""Folder of `dagster.yaml` and `workspace.yaml`."""

CONFIGURATIONS = {"warm": "dagster.yaml", "dagster": "dagster_own_runs.yaml"}
PORT_NAMES = ("postgres", "mongodb", "valkey", "code_server")
_DAGSTER_STOP_S = 4
_EMBEDDED = {
    "postgres": ("postgres_url", embedded_postgres),
    "mongodb": ("mongodb_url", embedded_mongodb),
    "valkey": ("redis_url", embedded_valkey),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPlan:
    """Everything `ingestion up` runs, and with what environment."""

    servers: tuple[EmbeddedServer, ...]
    programs: tuple[Program, ...]
    urls: Mapping[str, str]
    """URL of each store by the name of its setting (`postgres_url`, `mongodb_url`, `redis_url`)."""
    environment: Mapping[str, str]
    """What a command needs to work with the running stack; children get it, `ingestion env` prints it."""
    addresses: Mapping[str, str]


def plan_stack(
    *, settings: Settings, places: Places, ports: Mapping[str, int], admin_token: str
) -> StackPlan:
    """The stack that `settings` describe. A store whose URL is given is used, not started."""
    servers: list[EmbeddedServer] = []
    urls: dict[str, str] = {}
    for name, (setting, embedded) in _EMBEDDED.items():
        given = getattr(settings, setting)
        # A shell that has evaluated `ingestion env` hands our own servers' addresses back to us.
        if given and address_of(given) != f"{LOOPBACK}:{ports[name]}":
            urls[setting] = given
        else:
            server = embedded(folder=places.home / name, port=ports[name])
            servers.append(server)
            urls[setting] = server.url
    environment = _environment(
        settings=settings, places=places, ports=ports, urls=urls, admin_token=admin_token
    )
    stores = tuple(
        Program(
            name=server.name, group="stores", command=server.command, folder=server.folder,
            environment=server.environment, stop_signal=server.stop_signal, stop_s=6,
        )
        for server in servers
    )  # fmt: skip
    programs = (*stores, *_own_programs(settings=settings, places=places, ports=ports))
    names = {*os.environ, *environment}
    in_code_server = runs_in_code_server(settings, places)
    return StackPlan(
        servers=tuple(servers),
        programs=tuple(
            replace(program, withheld=withheld(program.name, names, runs_in_code_server=in_code_server))
            for program in programs
        ),
        urls=urls,
        environment=environment,
        addresses={
            "front door": settings.front_door_url,
            "API docs": f"{settings.front_door_url}/docs",
            "Dagster UI": settings.dagster_url,
            "admin token": str(places.admin_token)
            if settings.admin_token is None
            else "INGESTION_ADMIN_TOKEN",
        },
    )


def _own_programs(*, settings: Settings, places: Places, ports: Mapping[str, int]) -> tuple[Program, ...]:
    own = places.own_workspace if settings.own_modules else None
    files = (CONFIGURATION / "workspace.yaml", own, settings.workspace)
    workspaces = [word for file in files if file for word in ("--workspace", str(file))]
    as_json = ("--log-format", "json") if settings.log_json else ()
    cores = os.cpu_count() or 1

    def threads_of(number: int) -> dict[str, str]:
        return {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(number))}

    def python(
        name: str, *arguments: str, threads: int = 1, group: Group = "dagster", stop_s: int = _DAGSTER_STOP_S
    ) -> Program:
        return Program(
            name=name, group=group, folder=places.run, stop_s=stop_s,
            command=bound_to_parent((sys.executable, "-m", *arguments), signal="KILL"),
            environment=threads_of(threads),
        )  # fmt: skip

    def workers(queue: str, *, threads: int) -> Program:
        module = "ingestion_assets.orchestration.worker"
        drain_s = settings.worker_drain_s
        return python(
            f"worker-{queue}", module, "--queue", queue, "--drain", str(drain_s), threads=threads, stop_s=math.ceil(drain_s) + 1
        )  # fmt: skip

    ours = code_server(
        name="code-server", location=LOCATION, module="ingestion_assets.definitions", attribute=None,
        port=ports["code_server"], folder=places.run, options=as_json,
    )  # fmt: skip
    return (
        python(
            "frontdoor", "ingestion_assets.server", group="frontdoor", stop_s=math.ceil(settings.drain_s) + 1
        ),
        replace(ours, environment=threads_of(1)),
        *own_programs(settings=settings, places=places, ports=ports, options=as_json),
        python(
            *(
                "webserver",
                "ingestion_assets.webserver",
                "--host",
                settings.host,
                "--port",
                str(settings.webserver_port),
            ),
            *(*workspaces, "--dagster-log-level", "warning"),
        ),
        python("daemon", "dagster._daemon", "run", *workspaces, "--log-level", "warning", *as_json),
        *(
            workers(queue, threads=max(1, cores // number))
            for queue, number in workers_of(settings, places).items()
        ),
    )


def workers_of(settings: Settings, places: Places) -> dict[str, int]:
    """By queue, how many processes execute runs; none where Dagster itself starts them."""
    if runs_in_code_server(settings, places):
        return {}
    numbers = {
        "default": settings.workers_default,
        "gpu": settings.workers_gpu,
        "batch": settings.workers_batch,
    }
    return {queue: number for queue, number in numbers.items() if number}


def stop_order(programs: Iterable[Program]) -> tuple[tuple[Group, float], ...]:
    """The groups, dependents first, with the seconds from the beginning of the stop for which each may hold up the next.

    The front door may drain for longer, beside the others' stop; all is over before 15 s, unless runs get longer to end.
    """
    longest_s = max((program.stop_s for program in programs if program.group == "dagster"), default=0)
    longer_s = max(0, longest_s - _DAGSTER_STOP_S)
    return ("frontdoor", 5.5), ("dagster", 10.0 + longer_s), ("stores", 13.5 + longer_s)


def _environment(
    *, settings: Settings, places: Places, ports: Mapping[str, int], urls: Mapping[str, str], admin_token: str
) -> dict[str, str]:
    return {
        **_given(settings),
        "INGESTION_HOME": str(places.home),
        "INGESTION_HOST": settings.host,
        "INGESTION_PORT": str(settings.port),
        "INGESTION_WEBSERVER_PORT": str(settings.webserver_port),
        "INGESTION_ADMIN_TOKEN": admin_token,
        **{f"INGESTION_{name.upper()}": url for name, url in urls.items()},
        "DAGSTER_HOME": str(places.dagster_home),
        "DAGSTER_CODE_SERVER_HOST": LOOPBACK,
        "DAGSTER_CODE_SERVER_PORT": str(ports["code_server"]),
        "no_grpc_proxy": _own_of_grpc(),
    }


def _own_of_grpc() -> str:
    """What gRPC asks no proxy for: beside what it is told already, code servers, as they are on this machine."""
    told = os.environ.get("no_grpc_proxy", os.environ.get("no_proxy"))  # noqa: SIM112 - it reads small letters alone
    return ",".join(filter(None, (told, LOOPBACK, "localhost")))


def _given(settings: Settings) -> dict[str, str]:
    """What is not left to the defaults: a command in another shell works on the same data as the stack."""
    of_flows, _ = parts(installed(), "settings", lambda _flow, kind: as_environment(load_flow_settings(kind)))
    given = as_environment(settings)
    return {name: value for variables in (*of_flows.values(), given) for name, value in variables.items()}


def child_environment(plan: StackPlan) -> dict[str, str]:
    """The whole environment of supervisord, of which every program gets all but what is withheld from it."""
    return {
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "MALLOC_ARENA_MAX": "2",
        "TOKENIZERS_PARALLELISM": "false",
        **os.environ,
        **plan.environment,
        MARK: plan.environment["INGESTION_HOME"],
        "PYTHONUNBUFFERED": "1",
    }


def runs_in_code_server(settings: Settings, places: Places) -> bool:
    """Whether Dagster itself starts runs, as a rule from the code server: so the settings say, or a `dagster.yaml` of the user's own."""
    place = places.dagster_home / "dagster.yaml"
    if not place.exists() or place.is_symlink():
        return settings.launcher == "dagster"
    read = yaml.safe_load(place.read_bytes())
    launcher = read.get("run_launcher") if isinstance(read, dict) else None
    module = launcher.get("module") if isinstance(launcher, dict) else None
    return not str(module).startswith("ingestion_assets.")


def install_dagster_configuration(settings: Settings, places: Places) -> None:
    """Let `DAGSTER_HOME` use the `dagster.yaml` of the package that the settings ask for, unless a file of the user's own lies there."""
    place = places.dagster_home / "dagster.yaml"
    if place.exists() and not place.is_symlink():
        return
    ours = CONFIGURATION / CONFIGURATIONS[settings.launcher]
    draft = place.with_suffix(".draft")
    draft.unlink(missing_ok=True)
    try:
        draft.symlink_to(ours)
    except OSError:
        shutil.copyfile(ours, draft)
    draft.replace(place)
