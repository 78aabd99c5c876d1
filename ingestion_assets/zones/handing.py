"""Records handed to a user's function: each key once, what it rejects, and what is remembered of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from ingestion_assets.zones.batch import Batch, Function, Outcome
from ingestion_assets.zones.kept import Place
from ingestion_assets.zones.record_types import Column
from ingestion_assets.zones.remembered_keys import RememberedKeys
from ingestion_assets.zones.tables.target import Stored


@dataclass(frozen=True, slots=True)
class Handed:
    """What became of records by their places, of those that are not simply stored; the keys that were handed over; and those whose
    remembered record was rejected now."""

    said: dict[Place, Stored]
    keys: dict[bytes, Place]
    gone: Sequence[bytes]


@dataclass(slots=True)
class Records:
    """Good records, in order of acceptance."""

    instances: list[Any]
    values: list[tuple[Any, ...]]
    receipts: list[UUID]
    positions: list[int]

    def place(self, at: int) -> Place:
        return self.receipts[at], self.positions[at]

    def batch(self, chosen: Sequence[int], columns: Sequence[Column]) -> Batch[Any]:
        return Batch(
            columns=columns,
            records=[self.instances[at] for at in chosen],
            values=[self.values[at] for at in chosen],
            receipts=[self.receipts[at] for at in chosen],
            positions=[self.positions[at] for at in chosen],
        )


def hand_over(
    function: Function,
    records: Records,
    *,
    engine: sa.Engine,
    zone: str,
    columns: Sequence[Column],
    key: Sequence[str],
    again: bool = False,
) -> Handed:
    """Call the function with the records whose keys are new. Where it rejects one, the next with its key is handed over instead.

    `again`: those records are handed over, too, that were before; of a key that is not taken any more the next takes its place.
    Raises what the function raises, and `ValueError` for an outcome that is none.
    """
    said: dict[Place, Stored] = {}
    if not key:
        every = range(len(records.instances))
        for at, rejected in _call(function, records, every, columns).items():
            said[records.place(at)] = rejected
        return Handed(said, {}, [])
    keys = RememberedKeys(engine, zone, columns=columns, key=key, values=records.values)
    waiting: set[bytes] = set()
    """Keys whose remembered record is here, and is not handed over yet."""
    if again:
        waiting = {one for at, one in enumerate(keys.of) if keys.taken.get(one) == records.place(at)}
    handed: dict[bytes, Place] = {}
    gone: list[bytes] = []
    left: Sequence[int] = range(len(keys.of))
    while left:
        chosen: dict[bytes, int] = {}
        later: list[int] = []
        for at in left:
            one, place = keys.of[at], records.place(at)
            by = keys.taken.get(one)
            if one in chosen or (one in waiting and by != place):
                later.append(at)
            elif by is None or one in waiting:
                chosen[one] = at
            elif by != place:
                said[place] = Stored("duplicate", by=by[0])
        rejected = _call(function, records, sorted(chosen.values()), columns)
        for one, at in chosen.items():
            waiting.discard(one)
            if at not in rejected:
                keys.taken[one] = handed[one] = records.place(at)
                continue
            said[records.place(at)] = rejected[at]
            if keys.taken.pop(one, None):
                gone += keys.digests[one]
        left = later
    return Handed(said, handed, gone)


def _call(
    function: Function, records: Records, chosen: Sequence[int], columns: Sequence[Column]
) -> dict[int, Stored]:
    """Which of the chosen records the function rejects."""
    if not chosen:
        return {}
    rejected: dict[int, Stored] = {}
    for outcome in function(records.batch(chosen, columns)) or ():
        if not isinstance(outcome, Outcome) or not 0 <= outcome.index < len(chosen):
            raise ValueError(
                f"the function gave {type(outcome).__name__} for one of {len(chosen)} records: it gives "
                "Outcome.reject(index, code, reason) or Outcome.stored(index), with an index into batch.records"
            )
        at = chosen[outcome.index]
        if outcome.code is None:
            rejected.pop(at, None)
        else:
            rejected[at] = Stored("rejected", code=outcome.code, reason=outcome.reason)
    return rejected
