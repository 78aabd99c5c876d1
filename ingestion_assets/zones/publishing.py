"""Publishing a zone: what its sensor does first, at each tick, in the code location that has the zone."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ingestion_assets.zones.zone import Zone

if TYPE_CHECKING:
    import dagster as dg


LONGEST_AGAIN_S = 300.0


def publisher(zone: Zone) -> "Callable[[dg.SensorEvaluationContext], str | None]":
    """Puts the zone in force unless it is; says what a person should know. What was refused is tried again ever more seldom."""
    refused: dict[str, Any] = {"times": 0, "until": 0.0, "why": None}

    def publish(context: "dg.SensorEvaluationContext") -> str | None:
        if time.monotonic() < refused["until"]:
            return refused["why"]
        origin = context.code_location_origin
        location = "" if origin is None else origin.location_name
        said = publish_zone(zone, location=location, repository=context.repository_name or "__repository__")
        refused["times"] = 0 if said is None else refused["times"] + 1
        refused["until"] = (
            time.monotonic() + min(LONGEST_AGAIN_S, 2.0 ** min(refused["times"], 20)) if said else 0.0
        )
        refused["why"] = said
        if said is not None:
            context.log.error(said)
        return said

    return publish


def publish_zone(zone: Zone, *, location: str, repository: str) -> str | None:
    """Put a zone in force unless it is; the reason where it is refused, which then stands in the ledger, too."""
    from ingestion_assets.settings import load_settings  # noqa: PLC0415 - a code location loads about as fast as Dagster
    from ingestion_assets.stores import postgres  # noqa: PLC0415
    from ingestion_assets.zones import in_force, kept  # noqa: PLC0415
    from ingestion_assets.zones.document import ZoneError  # noqa: PLC0415
    from ingestion_assets.zones.key_changes import check_key  # noqa: PLC0415
    from ingestion_assets.zones.tables.target import TableRefusedError  # noqa: PLC0415
    from ingestion_assets.zones.verification.config import ConfigError, keys_of, read_config  # noqa: PLC0415

    engine, settings = postgres.engine(), load_settings()

    def prepare() -> None:
        if zone.table is None:
            check_key(engine, zone.name, zone.key)
        else:
            kept.prepare(engine)
            zone.table(engine, zone.shape()).prepare()

    document = zone.document(location=location, repository=repository)
    try:
        secrets = zone.secrets()
        if zone.verify is not None:
            keys_of(read_config(zone.verify), secrets)
        with engine.begin() as connection:
            in_force.publish(connection, document, secrets=secrets, settings=settings, prepare=prepare)
    except (ZoneError, ConfigError, TableRefusedError) as error:
        why = f"The zone {zone.name} is not in force as it is written: {error}"
        with engine.begin() as connection:
            in_force.refuse(connection, zone.name, why, location=location)
        return why
    return None
