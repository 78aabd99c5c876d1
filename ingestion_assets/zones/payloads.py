"""Payloads of a group as one sequence of records, cut into slices that are read while others are stored."""

import gc
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar
from uuid import UUID

from ingestion_assets.landing.drop_outcomes import DropOutcome, Reject
from ingestion_assets.landing.drops import LandedDrop
from ingestion_assets.zones.framing import UnreadableError, frame, kind_of
from ingestion_assets.zones.record_types import Read
from ingestion_assets.zones.zone_flow import JSON, MEDIA_TYPE, framing_of

SLICE = 10_000
UNREADABLE = "unreadable"

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Payload:
    """The records of a payload. `texts`: they come from CSV."""

    id: UUID
    records: Sequence[bytes]
    texts: bool


@dataclass(slots=True)
class Slice:
    """Records that are read together, of one payload or several, and where each stood."""

    texts: bool
    records: list[bytes] = field(default_factory=list)
    receipts: list[UUID] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ReadSlice:
    """A slice and what was read of it."""

    of: Slice
    read: Read

    def receipts(self) -> list[UUID]:
        """Of the good records."""
        if not self.read.refused:
            return self.of.receipts
        return [self.of.receipts[at] for at in self.read.positions]

    def positions(self) -> list[int]:
        """Of the good records."""
        if not self.read.refused:
            return self.of.positions
        return [self.of.positions[at] for at in self.read.positions]


def framed(drop: LandedDrop, *, path: str) -> Payload | DropOutcome:
    """The payload's records, or its outcome where it holds none (of an inbox, or where the zone has changed since)."""
    media_type, where = framing_of(drop.attributes, path)
    try:
        records = frame(drop.body, media_type=media_type, path=where)
    except UnreadableError as error:
        return _unreadable(drop.id, str(error))
    return Payload(drop.id, records, kind_of(drop.attributes.get(MEDIA_TYPE, JSON)) == "csv")


def _unreadable(drop_id: UUID, reason: str) -> DropOutcome:
    return DropOutcome(
        drop_id, {}, rejects=[Reject(-1, "payload", UNREADABLE, reason, b"")],
        errors=[{"code": UNREADABLE, "reason": reason}], failed=True,
    )  # fmt: skip


def slices(payloads: Iterable[Payload]) -> Iterator[Slice]:
    """All records of the payloads in order."""
    made: Slice | None = None
    for payload in payloads:
        for start in range(0, len(payload.records), SLICE):
            records = payload.records[start : start + SLICE]
            if made is not None and (made.texts != payload.texts or len(made.records) + len(records) > SLICE):
                yield made
                made = None
            if made is None:
                made = Slice(payload.texts)
            made.records += records
            made.receipts += [payload.id] * len(records)
            made.positions += range(start, start + len(records))
            if len(made.records) == SLICE:
                yield made
                made = None
    if made is not None:
        yield made


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items, of which the next is made in a thread while one is used: where that waits for a store, for nothing."""

    def following() -> list[Item]:
        return list(islice(items, 1))

    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(following)
        while item := coming.result():
            coming = thread.submit(following)
            yield item[0]


@contextmanager
def uncollected() -> Iterator[None]:
    """While Python does not look for cycles: records have none, and looking through them takes as long as reading them does.

    Of 100,000 records of six fields 0.5 s of processor time, of 1.1 s.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
