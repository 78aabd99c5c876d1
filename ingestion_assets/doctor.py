"""`ingestion doctor`: settings, stores, versions, clocks, disk and permissions, looked at from here; each line says how to mend it."""

import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import typer

from ingestion_assets.command_output import AsJson, print_json, print_table
from ingestion_assets.settings import Settings, load_settings

app = typer.Typer()

FREE_BYTES = 2 * 2**30
CLOCK_S = 5.0
Result = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at, what was found, and, unless all is well, how to mend it."""

    what: str
    result: Result
    found: str
    mend: str = ""


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Look for what is wrong, and say how to mend it. Exit status 1 if something is at fault. It leaves all as it was."""
    findings = list(examine())
    if as_json:
        print_json(map(asdict, findings))
    else:
        print_table(("what", "", "found"), ((one.what, one.result, one.found) for one in findings))
        for one in findings:
            if one.mend:
                typer.echo(f"{one.what}: {one.mend}")
    if any(one.result == "fault" for one in findings):
        raise typer.Exit(1)


def examine() -> Iterator[Finding]:
    """Everything, in the order in which one thing rests on another."""
    settings = load_settings()
    yield _versions()
    yield from _variables()
    yield from _flows()
    yield from _home(settings)
    yield from _stores(settings)
    if settings.home.exists() or settings.landing_url:
        yield from _try(
            "landing storage",
            lambda: _landing(settings),
            "see that it can be written: the folder, or INGESTION_LANDING_URL",
        )
    yield from _programs(settings)


def _versions() -> Finding:
    python = ".".join(map(str, sys.version_info[:3]))
    found = f"ingestion-assets {version('ingestion-assets')}, Python {python}, Dagster {version('dagster')}"
    if sys.version_info[:2] != (3, 11):
        return Finding(
            "versions", "warning", found, "it is tested with Python 3.11: make the environment with that"
        )
    return Finding("versions", "ok", found)


def _variables() -> Iterator[Finding]:
    from ingestion_assets.settings_table import no_settings  # noqa: PLC0415

    if faults := no_settings(os.environ):
        yield Finding(
            "settings",
            "warning",
            ", ".join(faults),
            "nobody heeds them: `ingestion settings` lists those there are",
        )


def _flows() -> Iterator[Finding]:
    from ingestion_assets.installed_flows import installed, parts  # noqa: PLC0415
    from ingestion_assets.settings import load_flow_settings  # noqa: PLC0415

    found = installed()
    _, faults = parts(found, "settings", lambda _flow, kind: load_flow_settings(kind))
    for fault in (*found.faults, *faults):
        yield Finding(
            "flows", "fault", fault, "mend the package of the flow, or take it out of INGESTION_FLOWS"
        )
    yield Finding("flows", "ok", ", ".join(found.flows))


def _home(settings: Settings) -> Iterator[Finding]:
    home = settings.home
    if not home.exists():
        yield Finding("home", "ok", f"{home} is not there yet; `ingestion up` makes it")
        return
    mine = os.access(home, os.R_OK | os.W_OK | os.X_OK)
    yield Finding(
        "home",
        "ok" if mine else "fault",
        str(home),
        "" if mine else f"this user may not use it: chown {home}, or set INGESTION_HOME",
    )
    for name in ("", "admin_token", "secret_key", "stack.env"):
        path = home / name
        if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
            yield Finding(
                "permissions",
                "warning",
                f"{path} can be read by others",
                f"it holds secrets: chmod go-rwx {path}",
            )
    free = shutil.disk_usage(home).free
    enough = free >= FREE_BYTES
    yield Finding(
        "disk", "ok" if enough else "warning", f"{free / 2**30:.1f} GiB free below {home}",
        "" if enough else "make room: when it is full, payloads are refused; see INGESTION_RETENTION_DAYS and INGESTION_RUN_RETENTION_GB",
    )  # fmt: skip


def _stores(settings: Settings) -> Iterator[Finding]:
    if settings.postgres_url is None:
        yield Finding(
            "stack",
            "fault",
            f"none runs in {settings.home}",
            "start it with `ingestion up`, or set INGESTION_POSTGRES_URL and the like",
        )
        return
    yield from _try("PostgreSQL", _postgres, "see that it runs and that INGESTION_POSTGRES_URL is right")
    yield from _try("MongoDB", _mongodb, "see that it runs and that INGESTION_MONGODB_URL is right")
    yield from _try(
        "Redis", lambda: _redis(settings), "see that it runs and that INGESTION_REDIS_URL is right"
    )


def _try(what: str, look: Callable[[], Iterator[Finding]], mend: str) -> Iterator[Finding]:
    """What `look` finds; its exception is a fault."""
    from ingestion_assets.stores.error_text import text_of  # noqa: PLC0415

    try:
        yield from look()
    except Exception as error:  # whatever a driver raises
        yield Finding(what, "fault", text_of(error), mend)


def _postgres() -> Iterator[Finding]:
    import sqlalchemy as sa  # noqa: PLC0415

    from ingestion_assets.stores.postgres import MIGRATIONS, VERSION_TABLE, engine  # noqa: PLC0415

    with engine().connect() as connection:
        asked = time.time()
        number, now = connection.execute(
            sa.text("SELECT current_setting('server_version'), extract(epoch FROM clock_timestamp())::float8")
        ).one()
        took = time.time() - asked
        yield Finding("PostgreSQL", "ok", f"{number} answers in {took * 1000:.0f} ms")
        off = now - asked - took / 2
        near = abs(off) <= CLOCK_S + took
        yield Finding(
            "clocks", "ok" if near else "fault", f"this machine's is {off:+.1f} s off PostgreSQL's",
            "" if near else "set both by NTP: ages and waiting times go by PostgreSQL's",
        )  # fmt: skip
        table = connection.scalar(sa.text("SELECT to_regclass(:name)"), {"name": VERSION_TABLE})
        stands = (
            None
            if table is None
            else connection.scalar(sa.text(f"SELECT max(version_num) FROM {VERSION_TABLE}"))
        )
    newest = max(path.name.partition("_")[0] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))
    same = stands == newest
    yield Finding(
        "schema", "ok" if same else "fault", f"{stands or 'none'}, of this release {newest}",
        "" if same else "start the stack once, or run `python -m ingestion_assets.stack.migrations`; a newer one wants that release",
    )  # fmt: skip


def _mongodb() -> Iterator[Finding]:
    from ingestion_assets.stores import mongo  # noqa: PLC0415

    began = time.monotonic()
    told = mongo.database().client.server_info()
    yield Finding("MongoDB", "ok", f"{told['version']} answers in {(time.monotonic() - began) * 1000:.0f} ms")


def _redis(settings: Settings) -> Iterator[Finding]:
    import redis  # noqa: PLC0415

    with redis.Redis.from_url(
        settings.require("redis_url"), socket_timeout=5, socket_connect_timeout=5
    ) as client:
        began = time.monotonic()
        told = client.info()
        took = (time.monotonic() - began) * 1000
    policy = str(told.get("maxmemory_policy", "noeviction"))
    keeps = policy == "noeviction" or not told.get("maxmemory")
    name = "Valkey" if "valkey_version" in told else "Redis"
    yield Finding(
        "Redis", "ok" if keeps else "fault", f"{name} {told.get('valkey_version', told['redis_version'])} answers in {took:.0f} ms, {policy}",
        "" if keeps else "set maxmemory-policy noeviction: what it evicts are runs that wait",
    )  # fmt: skip


def _landing(settings: Settings) -> Iterator[Finding]:
    from ingestion_assets.landing.storage import open_storage  # noqa: PLC0415

    began = time.monotonic()
    open_storage(settings).probe()
    where = "the object store" if settings.landing_url else str(Path(settings.home) / "landing")
    yield Finding(
        "landing storage",
        "ok",
        f"{where} can be written, asked in {(time.monotonic() - began) * 1000:.0f} ms",
    )


def _programs(settings: Settings) -> Iterator[Finding]:
    from ingestion_assets.stack.readiness import answers_http  # noqa: PLC0415

    for what, port, path in (
        ("front door", settings.port, "/health/ready"),
        ("Dagster UI", settings.webserver_port, "/server_info"),
    ):
        answers = answers_http(settings.reached_at, port, path)
        yield Finding(
            what, "ok" if answers else "warning", f"{settings.host}:{port} {'is ready' if answers else 'does not answer, or is not ready'}",
            "" if answers else "`ingestion status` shows what runs here, `ingestion logs` why not; elsewhere this may be as it should",
        )  # fmt: skip
