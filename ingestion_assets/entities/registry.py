"""The entities of this process: what is in force, and how a process follows when that changes."""

from dataclasses import dataclass

from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.in_force import entities_in_force, note_stamp
from ingestion_assets.entities.reading import places
from ingestion_assets.settings import load_settings


@dataclass(frozen=True, slots=True)
class _Known:
    entities: EntitySet
    stamp: int


_known: _Known | None = None


def defined_entities() -> EntitySet:
    """The entities that this process goes by. Raises `FaultyDefinitionsError` where there are none."""
    return (_known or _look()).entities


def current_entities() -> EntitySet:
    """What is in force now, and what this process goes by from here on. Costs a look at one file."""
    return _current().entities


def current_version() -> str:
    """The version of that."""
    return _current().entities.version


def _current() -> _Known:
    known = _known
    if known is None or known.stamp != note_stamp(load_settings().home):
        known = _look()
    return known


def _look() -> _Known:
    global _known  # noqa: PLW0603 - what the whole process goes by
    settings = load_settings()
    stamp = note_stamp(settings.home)
    entities = entities_in_force(places(settings.entities, home=settings.home), home=settings.home)
    _known = _Known(entities, stamp)
    return _known
