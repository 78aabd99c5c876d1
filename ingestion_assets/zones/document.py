"""A zone document: all that front doors and the ledger know of a drop zone. Free of Dagster, of FastAPI and of the user's code.

The code location that has the zone writes it, when its sensor ticks; everybody else reads it.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ingestion_assets.landing.flows import FLOW_NAME

_NAME = re.compile(FLOW_NAME)
RESERVED = frozenset(
    {
        "landing",
        "retention",
        "run_retention",
        "key_retention",
        "default",
        "read",
        "admin",
        "ingestion",
        "public",
    }
)
"""What a zone cannot be called: names of the spine's own jobs, groups, scopes and schemas."""
FIRST_ASSET, LAST_ASSET = "raw_batches", "ingestion_log"


class ZoneError(ValueError):
    """A zone that cannot be; says what is wrong and what to do."""


class ByValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Partitions by a value of each record, at the JSONPath `by`; they are the dynamic partitions `keys` in Dagster."""

    by: str
    keys: str


class ZoneDocument(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is in force of a zone.

    `schema` is the JSON Schema of one record; `path` the JSONPath where records lie in a payload. `verify` says how the sender signs,
    without its secrets: these are `secrets`, sealed. `partitions` is None for days. `asset` is the name of the asset between the first
    and the last. `waits_normally_s` is for how long a payload may wait before that counts as a fault.
    """

    name: str
    asset: str
    schema: Mapping[str, Any]
    location: str = ""
    repository: str = "__repository__"
    path: str = "$"
    key: Sequence[str] = ()
    version: str | None = None
    verify: Mapping[str, Any] | None = None
    secrets: Sequence[str] = ()
    partitions: ByValue | None = None
    sources: Sequence[Mapping[str, Any]] = ()
    waits_normally_s: float = 300.0
    queue: str = "default"

    def encoded(self) -> bytes:
        """As JSON, always the same for the same zone."""
        return msgspec.json.encode(self)


def decoded(document: bytes | str) -> ZoneDocument:
    """Raises `msgspec.ValidationError` for what a newer release wrote and this one cannot read."""
    return msgspec.json.decode(document, type=ZoneDocument)


def check_name(name: str) -> None:
    """Raises `ZoneError`."""
    if not _NAME.fullmatch(name) or len(name) > 40:
        raise ZoneError(f"a zone's name is lower-case letters, digits and _, at most 40, not {name!r}")
    if name in RESERVED:
        raise ZoneError(f"no zone can be called {name!r}; give it another name")
