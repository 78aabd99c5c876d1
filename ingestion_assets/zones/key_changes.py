"""Whether the key of a function's zone may be what it is now: keys that were handed over are of the fields that they were made of."""

from collections.abc import Sequence

import sqlalchemy as sa

from ingestion_assets.zones import in_force, kept
from ingestion_assets.zones.document import ZoneError


def check_key(engine: sa.Engine, zone: str, key: Sequence[str]) -> None:
    """Raises `ZoneError` where records are remembered by another key: by this one, new ones could be taken for them."""
    kept.prepare(engine)
    with engine.begin() as connection:
        if not kept.has_keys(connection, zone):
            return
        names = kept.key_names(connection, zone)
        if names is None and (names := in_force.key_of(connection, zone)):
            kept.name_keys(connection, zone, names)
    if not names or tuple(names) == tuple(key):
        return
    now = f"({', '.join(key)})" if key else "no key"
    raise ZoneError(
        f"the key of {zone} is ({', '.join(names)}), not {now}, and its records are remembered by that: keep the key, or give the zone "
        "another name, which remembers none"
    )
