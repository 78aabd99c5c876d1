"""The entities of this process: read once, from where the settings say."""

from functools import lru_cache

from ingestion_assets.entities.definition import EntitySet
from ingestion_assets.entities.reading import places, read_entities
from ingestion_assets.settings import load_settings


@lru_cache(maxsize=1)
def defined_entities() -> EntitySet:
    """All entities, checked. Raises `FaultyDefinitionsError`."""
    settings = load_settings()
    return read_entities(places(settings.entities, home=settings.home))
