"""Ingestion as software-defined assets: durable drops in, Dagster assets out."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingestion_assets.zones.component import DropZone as DropZone

_COMPONENTS = ("DropZone",)


def __getattr__(name: str) -> Any:
    """Dagster components are found here by their names, `ingestion_assets.DropZone`; nothing else needs them."""
    if name not in _COMPONENTS:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from ingestion_assets.zones import component  # noqa: PLC0415

    return getattr(component, name)


def __dir__() -> list[str]:
    return [*globals(), *_COMPONENTS]
