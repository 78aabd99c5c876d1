"""The zones of a project on this machine, and whether each could be in force, as far as can be said without a database: for a person who is writing one."""

from pathlib import Path
from typing import TYPE_CHECKING

from ingestion_assets.own_modules import module_of_project, read_modules
from ingestion_assets.zones.document import ZoneError

if TYPE_CHECKING:
    from ingestion_assets.zones.zone import Zone


def zones_of(module: str | None) -> dict[str, str | None]:
    """By name the zones that the module's definitions make, and why one cannot be in force. Raises `ZoneError`."""
    from ingestion_assets.orchestration.warm_code import load_own  # noqa: PLC0415
    from ingestion_assets.zones.zone_assets import made  # noqa: PLC0415

    named = module or module_of_project(Path.cwd())
    if named is None:
        raise ZoneError(
            "the pyproject.toml in this folder names no Dagster project; name the module with the definitions"
        )
    try:
        for one in read_modules(named):
            load_own(one, Path.cwd())
    except Exception as error:  # whatever a project raises; the innermost reason is that of the zone
        while error.__cause__ is not None:
            error = error.__cause__  # type: ignore[assignment]
        raise ZoneError(f"the definitions of {named} cannot be loaded: {error}") from error
    return {zone.name: _fault(zone) for zone in made.values()}


def _fault(zone: "Zone") -> str | None:
    from ingestion_assets.zones.in_force import check_not_installed  # noqa: PLC0415
    from ingestion_assets.zones.tables.target import TableRefusedError  # noqa: PLC0415
    from ingestion_assets.zones.verification.config import ConfigError, keys_of, read_config  # noqa: PLC0415

    try:
        check_not_installed(zone.name)
        secrets = zone.secrets()
        if zone.verify is not None:
            keys_of(read_config(zone.verify), secrets)
        if zone.table is not None:
            zone.table.check(zone.shape())
    except (ZoneError, ConfigError, TableRefusedError) as error:
        return str(error)
    return None
