"""Dagster's instance for commands: that of the home's stack, or of the stores that the settings name on a machine without one."""

from typing import TYPE_CHECKING

from ingestion_assets.settings import load_settings
from ingestion_assets.stack.places import Places
from ingestion_assets.stack.plan import install_dagster_configuration

if TYPE_CHECKING:
    from dagster import DagsterInstance


def dagster_instance() -> "DagsterInstance":
    """Enter it and leave it. Raises `MissingSettingError` where there is no database."""
    from dagster import DagsterInstance  # noqa: PLC0415

    settings = load_settings()
    settings.require("postgres_url")
    places = Places(settings.home)
    places.dagster_home.mkdir(mode=0o700, parents=True, exist_ok=True)
    install_dagster_configuration(settings, places)
    return DagsterInstance.from_config(str(places.dagster_home))
