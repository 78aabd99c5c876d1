"""`python -m ingestion_assets.webserver`: Dagster's webserver behind the guard."""

import logging
import sys

import click
import uvicorn
from dagster import DagsterInstance
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.cli import (
    DEFAULT_DB_STATEMENT_TIMEOUT,
    DEFAULT_POOL_MAX_OVERFLOW,
    DEFAULT_POOL_RECYCLE,
)
from dagster_webserver.version import __version__

from ingestion_assets.orchestration.dagster_internals import (
    WorkspaceFileTarget,
    WorkspaceProcessContext,
    configure_loggers,
    setup_interrupt_handlers,
)
from ingestion_assets.settings import Settings, load_settings
from ingestion_assets.webserver.guard import ConfigurationError, Guard, Rules

_LEVELS = click.Choice(["critical", "error", "warning", "info", "debug"])

_POLL_MS = 2000
"""How often the UI looks for news, as `dagster-webserver` has it."""


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, help="Port to listen on.")
@click.option(
    "--workspace",
    default=("workspace.yaml",),
    show_default=True,
    multiple=True,
    help="File that names code locations.",
)
@click.option("--dagster-log-level", default="info", type=_LEVELS, help="Least severe level that is logged.")
def webserver(host: str, port: int, workspace: tuple[str, ...], dagster_log_level: str) -> None:
    """Serve the Dagster UI and its API to our own hosts and pages, by password where one is set."""
    settings = load_settings()
    configure_loggers(
        formatter="json" if settings.log_json else "colored", log_level=dagster_log_level.upper()
    )
    setup_interrupt_handlers()
    try:
        rules = Rules.of(settings)
    except ConfigurationError as error:
        sys.exit(f"webserver: {error}")
    if is_open(settings, host=host):
        logging.getLogger("dagster-webserver").warning(
            "The Dagster UI listens on %s and asks nobody for a password: set INGESTION_WEBSERVER_PASSWORD.",
            host,
        )
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            DEFAULT_DB_STATEMENT_TIMEOUT, DEFAULT_POOL_RECYCLE, DEFAULT_POOL_MAX_OVERFLOW
        )
        with WorkspaceProcessContext(
            instance, version=__version__, read_only=False,
            workspace_load_target=WorkspaceFileTarget(paths=list(workspace)),
        ) as context:  # fmt: skip
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=_POLL_MS)
            # Who asks is known by the address of the connection, not by what a header says of it.
            uvicorn.run(Guard(app, rules), host=host, port=port, log_level="warning", proxy_headers=False)


def is_open(settings: Settings, *, host: str) -> bool:
    """Whether others than this machine reach the webserver without a password."""
    return settings.dagster_login is None and host not in ("localhost", "::1") and not host.startswith("127.")


if __name__ == "__main__":
    webserver()
