"""A zone as a flow of the spine: its scope, partitions, inbox and redriving, made from its document."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import PurePath

from ingestion_assets.landing.flows import (
    Body,
    Days,
    Flow,
    Keys,
    RefusedError,
    Runs,
    Scope,
    day_of_arrival,
)
from ingestion_assets.zones.document import FIRST_ASSET, LAST_ASSET, ZoneDocument
from ingestion_assets.zones.framing import UnreadableError, frame
from ingestion_assets.zones.partition_values import MixedValuesError, partition_value

MEDIA_TYPE = "media_type"
"""The attribute of a payload that says how its records are framed."""
JSON, LINES, CSV = "application/json", "application/x-ndjson", "text/csv"
_BY_SUFFIX = {".json": JSON, ".jsonl": LINES, ".ndjson": LINES, ".csv": CSV}
_REDRIVEN = "redrive_of"


def flow_of(document: ZoneDocument) -> Flow:
    """The zone as a flow. It has no parts of its own in this package's code location: these are in the user's."""
    by = document.partitions
    return Flow(
        name=document.name,
        scope=Scope(name=document.name),
        partitions=Days() if by is None else Keys(name=by.keys),
        partition_of=day_of_arrival if by is None else _subject,
        runs=Runs(waits_normally_s=document.waits_normally_s, queue=document.queue),
        read_inbox=lambda name, content: _read_inbox(document, name, content),
        compose=_compose,
        assets=(FIRST_ASSET, LAST_ASSET),
        location=document.location,
        repository=document.repository,
    )


def _subject(_received_at: datetime, subject: str | None) -> str:
    if not subject:
        raise RefusedError("it names no partition")
    return subject


def _read_inbox(
    document: ZoneDocument, name: str, content: bytes
) -> Sequence[tuple[Body, Mapping[str, str]]]:
    """A file is a payload."""
    media_type = media_type_of_file(name)
    if media_type is None:
        raise RefusedError(
            f"{name} must end in one of {', '.join(_BY_SUFFIX)}, which says how its records are written"
        )
    try:
        records = frame(content, media_type=media_type, path=document.path)
        if not records:
            raise UnreadableError("there is no record in it")
        subject = partition_value(document.partitions, records)
    except (UnreadableError, MixedValuesError) as error:
        raise RefusedError(f"{name} holds no records of {document.name}: {error}") from error
    return [(Body(content, len(records), subject), {MEDIA_TYPE: media_type})]


def _compose(records: Sequence[bytes], _attributes: Mapping[str, str]) -> Body:
    """Rejected records as JSON lines, a line each: one that is no JSON stays what it is."""
    return Body(b"\n".join(map(_one_line, records)), len(records))


def _one_line(record: bytes) -> bytes:
    """As it was sent, but for the ends of lines: in JSON they stand between values alone, and what is no JSON came as a line."""
    return record.replace(b"\r", b" ").replace(b"\n", b" ")


def media_type_of_file(name: str) -> str | None:
    """How the records of a file are written, by the end of its name; None for another end."""
    return _BY_SUFFIX.get(PurePath(name).suffix.lower())


def framing_of(attributes: Mapping[str, str], path: str) -> tuple[str, str]:
    """The media type of a payload of a zone, and where its records lie; those that are redriven are lines of records."""
    if _REDRIVEN in attributes:
        return LINES, "$"
    return attributes.get(MEDIA_TYPE, JSON), path
