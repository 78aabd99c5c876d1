"""A payload while it is being loaded: what was read of it, what was found missing, and what is to be said in the end."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from ingestion_assets.entities.entity_set import EntitySet
from ingestion_assets.entities.flow import REST_OF_LINE
from ingestion_assets.entities.lines import LineFault
from ingestion_assets.entities.loaded import Counts, Fault, Loaded, Refusal
from ingestion_assets.entities.orphans import Missing
from ingestion_assets.entities.parsing import Parsed, parse
from ingestion_assets.entities.writing import Written
from ingestion_assets.landing.drops import LandedDrop

IDENTIFIED = 10_000
"""Payloads of up to so many records get an outcome with the row's identity for each."""
MISSING_REFERENCE = "missing_reference"
REDRIVEN = "redrive_of"
SUPERSEDED = "superseded"


@dataclass(slots=True)
class Payload:
    """One payload of a load. A part of a stream may be `open`: the stream goes on after this load."""

    drop: LandedDrop
    parsed: Parsed
    stream: str | None
    ends: bool
    limit: int | None
    ids: list[str | None] | None
    open: bool = False
    missing: dict[int, Missing] = field(default_factory=dict)
    unstorable: dict[int, LineFault] = field(default_factory=dict)
    """Lines that were read, but that PostgreSQL refuses."""
    late: dict[tuple[UUID, int], LineFault] = field(default_factory=dict)
    """Lines that waited in the stream which this payload ends, and cannot be stored; by payload and record."""
    late_superseded: dict[tuple[UUID, int], UUID] = field(default_factory=dict)
    """Lines that waited in it, and the receipt that had brought something newer meanwhile."""
    resolved: Counter[str] = field(default_factory=Counter)
    refused: bool = False

    @property
    def errors(self) -> int:
        return len(self.parsed.faults) + len(self.missing) + len(self.unstorable)

    @property
    def first(self) -> tuple[int, int]:
        """Lines and bytes of the stream before this part of it."""
        if REDRIVEN in self.drop.attributes:
            return 0, 0
        given = self.drop.attributes
        return int(given.get("first_line", 0)), int(given.get("first_byte", 0))


def read_payload(drop: LandedDrop, entities: EntitySet, *, stay_out: Mapping[int, str]) -> Payload:
    """Read a payload. Never fails: what cannot be read is among its faults.

    `stay_out` are records whose references were nowhere when it was loaded first, with what was said of them.
    """
    limit = None if REDRIVEN in drop.attributes else drop.attributes.get("max_errors")
    stream = stream_of(drop)
    begins = REDRIVEN not in drop.attributes and drop.attributes.get("first_byte", "0") == "0"
    whole = drop.attributes.get(REST_OF_LINE) != "true"
    parsed = parse(drop.body if whole else b"", entities, begins=begins)
    if stay_out:
        for rows in parsed.rows:
            for record in stay_out.keys() & set(map(int, rows.records)):
                parsed.faults[record] = LineFault(MISSING_REFERENCE, stay_out[record], rows.entity.entity)
        parsed.rows = [rows.without(stay_out) for rows in parsed.rows]
    return Payload(
        drop, parsed, stream, stream is not None and drop.attributes.get("stream_end") == "true",
        None if limit is None else int(limit), _identities(parsed) if parsed.count <= IDENTIFIED else None,
    )  # fmt: skip


def stream_of(drop: LandedDrop) -> str | None:
    """The stream that a payload is a part of: streams belong to whoever sends them. Redriven records have left theirs."""
    name = drop.attributes.get("stream")
    return None if name is None or REDRIVEN in drop.attributes else f"{drop.principal}/{name}"


def missing_fault(missing: Missing) -> LineFault:
    """What is said of a row whose reference is nowhere."""
    return LineFault(MISSING_REFERENCE, missing.message, missing.entity, missing.field)


def loaded_of(
    one: Payload, written: Mapping[str, Written], *, late: Sequence[Fault], settled: Sequence[UUID]
) -> Loaded:
    """What is to be said of a payload after its load. `settled` are the payloads whose lines waited for it."""
    wrong = one.parsed.faults | one.unstorable
    faults = [_fault(one, record, fault) for record, fault in wrong.items()]
    if not one.open:
        faults += [_fault(one, record, missing_fault(missing)) for record, missing in one.missing.items()]
    faults.sort(key=lambda fault: fault.record)
    refusals: dict[UUID, dict[int, Refusal]] = {drop_id: {} for drop_id in settled}
    for (drop_id, record), fault in one.late.items():
        refusals[drop_id][record] = Refusal(fault.code, fault.message)
    for (drop_id, record), newer in one.late_superseded.items():
        refusals[drop_id][record] = Refusal(SUPERSEDED, "", newer)
    superseded: dict[UUID, list[int]] = defaultdict(list)
    for what in written.values():
        for newer, records in what.newer.items():
            superseded[newer] += records
    return Loaded(
        drop_id=one.drop.id,
        records=one.parsed.count,
        entities=_counts(one, written, faults=[*faults, *late]),
        faults=[*faults, *late],
        superseded=dict(superseded),
        waiting=sorted(one.missing) if one.open else [],
        settled=refusals,
        refused=one.refused,
        ids=one.ids,
        stream=one.drop.attributes.get("stream"),
        ended=one.ends,
    )


def _counts(one: Payload, written: Mapping[str, Written], *, faults: Sequence[Fault]) -> dict[str, Counts]:
    counts: dict[str, Counts] = defaultdict(Counts)
    for rows in one.parsed.rows:
        counts[rows.entity.entity].processed += len(rows)
    for fault in one.parsed.faults.values():
        counts[fault.entity or ""].processed += 1
    for entity, number in one.resolved.items():
        counts[entity].resolved += number
    if one.refused:
        for each in counts.values():
            each.failed = each.processed
        return dict(counts)
    for entity, what in written.items():
        each = counts[entity]
        each.inserted, each.updated, each.unchanged = what.inserted, what.updated, what.unchanged
        each.superseded = what.superseded
    for fault in faults:
        counts[fault.entity or ""].failed += 1
    if one.open:
        for missing in one.missing.values():
            counts[missing.entity].waiting += 1
    return dict(counts)


def _identities(parsed: Parsed) -> list[str | None]:
    """What each record that was read is called: the entity and its primary key, `OrderLineItem/1/3`."""
    ids: list[str | None] = [None] * parsed.count
    for rows in parsed.rows:
        entity = rows.entity
        key = [entity.names.index(name) for name in entity.primary_key]
        for record, values in zip(rows.records, rows.tuples(), strict=True):
            ids[int(record)] = "/".join((entity.entity, *(values[place] or "" for place in key)))
    return ids


def _fault(one: Payload, record: int, fault: LineFault) -> Fault:
    line = one.parsed.line(record)
    first_line, first_byte = one.first
    return Fault(
        record=record, line=first_line + line.number, offset=first_byte + line.offset, code=fault.code,
        message=fault.message, entity=fault.entity, field=fault.field, raw=line.raw,
    )  # fmt: skip
