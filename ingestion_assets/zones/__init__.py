"""Drop zones of one's own: a kind of payload that a user's project names, with a table or a function of its own.

What stands here is the public interface; all else of the package may change with any release.
"""

import pkgutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ingestion_assets.orchestration.partitions import DAYS
    from ingestion_assets.zones.batch import Batch, Outcome
    from ingestion_assets.zones.component import DropZone
    from ingestion_assets.zones.decorated import FunctionZone, drop_zone
    from ingestion_assets.zones.document import ZoneError
    from ingestion_assets.zones.record_types import RecordTypeError
    from ingestion_assets.zones.wording import By, Verify

__all__ = [
    "DAYS",
    "Batch",
    "By",
    "DropZone",
    "FunctionZone",
    "Outcome",
    "RecordTypeError",
    "Verify",
    "ZoneError",
    "drop_zone",
]

_ZONES = "ingestion_assets.zones"
_PLACES = {
    "DAYS": "ingestion_assets.orchestration.partitions",
    "Batch": f"{_ZONES}.batch",
    "By": f"{_ZONES}.wording",
    "DropZone": f"{_ZONES}.component",
    "FunctionZone": f"{_ZONES}.decorated",
    "Outcome": f"{_ZONES}.batch",
    "RecordTypeError": f"{_ZONES}.record_types",
    "Verify": f"{_ZONES}.wording",
    "ZoneError": f"{_ZONES}.document",
    "drop_zone": f"{_ZONES}.decorated",
}


def __getattr__(name: str) -> Any:
    """Found when it is asked for: a front door does without Dagster, a code location without what only runs need."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return pkgutil.resolve_name(f"{_PLACES[name]}:{name}")
