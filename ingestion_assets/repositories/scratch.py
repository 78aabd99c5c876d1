"""The flow's scratch folders."""

from pathlib import Path

from ingestion_assets.repositories.flow import NAME
from ingestion_assets.settings import Settings, load_settings
from ingestion_assets.stores import scratch_folders


def scratch_root(settings: Settings) -> Path:
    """Where they lie."""
    return scratch_folders.scratch_root(settings, NAME)


def begin() -> None:
    """A worker begins: what killed processes left is deleted."""
    scratch_folders.delete_left(scratch_root(load_settings()))
