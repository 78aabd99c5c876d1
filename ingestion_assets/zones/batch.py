"""What a run does with the payloads that it claimed: frame, read, store or hand over, and say what became of each record."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.landing.claims import Claim
from ingestion_assets.landing.drops import DropOutcome
from ingestion_assets.landing.isolation import Worked
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.zones.records import RecordType
from ingestion_assets.zones.tables.target import Table

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a decorated function says of a record, by its index in the batch. Records of which nothing is said are stored."""

    index: int
    code: str | None = None
    reason: str | None = None

    @classmethod
    def reject(cls, index: int, code: str, reason: str) -> "Outcome":
        """The record is not taken: a stable code in lower case, and a sentence without content."""
        return cls(index, code, reason)

    @classmethod
    def stored(cls, index: int) -> "Outcome":
        return cls(index)


class Batch(Generic[Record]):
    """The records that a decorated function is handed, each valid, in order of acceptance, of as many payloads as fit together."""

    records: Sequence[Record]
    receipts: Sequence[UUID]
    positions: Sequence[int]

    def frame(self) -> "pl.DataFrame":
        """The records as a polars frame, a column a field."""
        raise NotImplementedError

    def pandas(self) -> "pd.DataFrame":
        """The records as a pandas frame."""
        raise NotImplementedError


@dataclass(slots=True)
class ZoneWork:
    """The work of one claim. `deliver` is a table, or a decorated function, in which case `key` is what is handed over once.

    To be made in `Stages(start=…)`; `stored` is the stage of the table's or function's asset, `outcomes` what `ingestion_log` tells.
    """

    zone: str
    claim: Claim
    storage: LandingStorage
    engine: sa.Engine
    records: RecordType
    deliver: "Table | Callable[[Batch[Any]], Iterable[Outcome] | None]"
    max_bytes: int
    is_transient: Callable[[BaseException], bool]
    path: str = "$"
    key: tuple[str, ...] = ()

    def stored(self) -> Worked[DropOutcome]:
        """Store the claim; what became of its payloads."""
        raise NotImplementedError

    def outcomes(self) -> list[DropOutcome]:
        """What is to be said of each payload. The result's counts: received = stored + duplicate + superseded + rejected; `updated` of stored."""
        raise NotImplementedError


def prepare(engine: sa.Engine) -> None:
    """Make what the engine keeps for itself in PostgreSQL (schema `zones`): outcomes until receipts have them, keys handed over."""
    raise NotImplementedError
