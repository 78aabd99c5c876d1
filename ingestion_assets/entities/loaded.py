"""What a load has to say of each payload, in a form that can be remembered."""

from collections.abc import Iterable
from uuid import UUID

import msgspec


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A record that was not stored: where it stands (line from 1, byte from 0), why, and its bytes."""

    record: int
    line: int
    offset: int
    code: str
    message: str
    entity: str | None
    field: str | None
    raw: bytes


class Counts(msgspec.Struct, kw_only=True):
    """What became of the records of one entity: processed = inserted + updated + unchanged + superseded + failed + waiting.

    Of the payload that ends a stream, the left side also counts `resolved`: lines that had waited.
    """

    processed: int = 0
    resolved: int = 0
    inserted: int = 0
    updated: int = 0
    unchanged: int = 0
    superseded: int = 0
    failed: int = 0
    waiting: int = 0


class Refusal(msgspec.Struct, frozen=True):
    """Why a record that had waited was not stored in the end; `superseded_by` where a newer receipt had brought its key."""

    code: str
    message: str
    superseded_by: UUID | None = None


class Loaded(msgspec.Struct, kw_only=True):
    """What a load has to say of one payload.

    `superseded` are records that are older than what is stored, by the receipt that brought that. `waiting` are records whose references may still come in their stream. `settled` are the earlier payloads whose records
    waited for the end that this one brought: all of those are stored but for the records named here.
    """

    drop_id: UUID
    records: int
    entities: dict[str, Counts] = {}
    faults: list[Fault] = []
    superseded: dict[UUID, list[int]] = {}
    waiting: list[int] = []
    settled: dict[UUID, dict[int, Refusal]] = {}
    refused: bool = False
    ids: list[str | None] | None = None
    stream: str | None = None
    ended: bool = False

    def total(self) -> Counts:
        """The counts over all entities."""
        return sum_of(self.entities.values())


def sum_of(parts: Iterable[Counts]) -> Counts:
    """The parts added up."""
    each = list(parts)
    return Counts(**{name: sum(getattr(one, name) for one in each) for name in Counts.__struct_fields__})
