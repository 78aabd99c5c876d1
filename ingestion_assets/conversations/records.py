"""One message as it came → what is stored of it, or why it cannot be. Pure; no store is asked here.

The record itself stays as it came in the document's `record`. What BSON cannot hold is written so that `original`
gives it back: integers outside 64 bits as Decimal128 (up to 34 digits) or as digits in a Binary of subtype 128, as are
floats outside a double. Lone surrogates and NULs are replaced by U+FFFD, with a warning.

The content hash of a line without `message` covers the whole record: an attachment, a progress or a system line says what
it has to say in other fields. So it does where there is no uuid: all `mode` lines of a session would be one.
"""

import uuid as uuids
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any

import bson
import msgspec
from bson.errors import InvalidDocument

from ingestion_assets.conversations.facts import Facts, facts_of
from ingestion_assets.conversations.json_values import (
    Decoded,
    NotJsonError,
    NumberText,
    canonical,
    decode,
    depth,
    restore,
    storable,
)
from ingestion_assets.conversations.message_text import preview_of, without_active_html
from ingestion_assets.conversations.shapes import KNOWN_TYPES, shape_of
from ingestion_assets.conversations.timestamps import NoTimestampError, parse_timestamp, plausible

MAX_DEPTH = 99  # BSON's 100, less the document around the record
MAX_DOCUMENT_BYTES = (
    16 * 2**20 - 4096
)  # MongoDB's 16 MiB, less what a document may get later (a summary its session)
MAX_UUID = 128
MAX_COST = 100
MAX_KEY = 256
_NAMESPACE = uuids.UUID("6f0a2f5e-1d0b-5f0e-9a37-6a1f6d2b7c11")


@dataclass(frozen=True, slots=True)
class Record:
    """A valid message. `document` is the encoded BSON without what only its drop knows (see `stamped`)."""

    id: str
    session_id: str
    uuid: str
    type: str
    timestamp: datetime | None
    content_hash: bytes
    document: Mapping[str, Any]
    facts: Facts
    shape: tuple[Any, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Invalid:
    """A message that is not stored: a stable code, a sentence, and the uuid where it has one."""

    code: str
    reason: str
    uuid: str | None = None


class _RefusedError(Exception):
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


def message_id(session_id: str, uuid: str) -> str:
    """The one key of a message: session and uuid, split by the first `/` (in the session it is written `%2F`)."""
    if "/" in session_id or "%" in session_id:
        session_id = session_id.replace("%", "%25").replace("/", "%2F")
    return f"{session_id}/{uuid}"


def shortened(text: str, *, most: int = MAX_KEY) -> str:
    """A text that is part of a key: beyond `most` characters its beginning and its digest, so that no two become one."""
    return text if len(text) <= most else f"{text[:128]}…{sha256(text.encode()).hexdigest()}"


def parse(
    raw: bytes | msgspec.Raw, *, default_session: str | None = None, sanitize: bool = False
) -> Record | Invalid:
    """Judge one JSON object.

    Codes of `Invalid`: not_json, not_an_object, too_deep, too_large, missing_type, empty_uuid, uuid_too_long,
    invalid_timestamp, missing_message, invalid_cost, cost_out_of_range. Everything else is a `Record`.
    """
    try:
        decoded = decode(bytes(raw))
    except NotJsonError as error:
        return Invalid("not_json", f"Not a JSON value: {error}.")
    except RecursionError:
        return Invalid("too_deep", f"Nested deeper than the {MAX_DEPTH} levels that can be stored.")
    if not isinstance(decoded.value, dict):
        return Invalid(
            "not_an_object", f"A message is a JSON object, this is {type(decoded.value).__name__}."
        )
    try:
        return _record(decoded, default_session=default_session, sanitize=sanitize)
    except _RefusedError as refused:
        given = decoded.value.get("uuid")
        return Invalid(refused.code, str(refused), given if isinstance(given, str) else None)


def original(document: Mapping[str, Any]) -> dict[str, Any]:
    """The record inside a stored document, as JSON would give it (replaced characters stay replaced)."""
    return restore(document["record"])


def _record(decoded: Decoded, *, default_session: str | None, sanitize: bool) -> Record:
    record: dict[str, Any] = decoded.value
    warnings = list(decoded.warnings)
    kind = record.get("type")
    if not isinstance(kind, str) or not kind:
        raise _RefusedError("missing_type", "The field `type` is missing, empty or not a text.")
    if kind not in KNOWN_TYPES and not kind.startswith(("artifact-", "marble-origami-")):
        warnings.append("unknown_type")
    uuid = _text_id(record.get("uuid"), warnings)
    if uuid == "":
        raise _RefusedError("empty_uuid", "The field `uuid` is empty.")
    if uuid is not None and len(uuid) > MAX_UUID:
        raise _RefusedError(
            "uuid_too_long", f"The uuid has {len(uuid)} characters, at most {MAX_UUID} are allowed."
        )
    timestamp = _timestamp(record, warnings)
    if kind == "assistant" and record.get("message") is None:
        raise _RefusedError("missing_message", "An assistant line without `message`.")
    cost = _cost(record)
    if decoded.openers > MAX_DEPTH and depth(record) > MAX_DEPTH:
        raise _RefusedError("too_deep", f"Nested deeper than the {MAX_DEPTH} levels that can be stored.")

    session_id, waits_for = _session(record, kind, default_session, warnings)
    digest = _content_hash(record, uuid=uuid, kind=kind, timestamp=timestamp)
    if uuid is None:
        uuid = str(uuids.uuid5(_NAMESPACE, digest.hex()))
    identity = message_id(session_id, uuid)
    facts = facts_of(record, kind=kind, line_id=identity, cost=cost, waits_for=waits_for, warnings=warnings)
    stored: Any = record
    if sanitize:
        stored = without_active_html(record)
    if decoded.odd:
        stored = storable(stored)
    document: dict[str, Any] = {
        "_id": identity,
        "sessionId": session_id or None,
        "uuid": uuid,
        "type": kind,
        "timestamp": timestamp,
        "contentHash": digest,
        "preview": preview_of(record),
        "record": stored,
    }
    if warnings:
        document["warnings"] = warnings
    if waits_for:
        document["waiting_for"] = waits_for
    return Record(
        identity, session_id, uuid, kind, timestamp, digest, document, facts,
        shape_of(record, kind, facts.version), tuple(warnings),
    )  # fmt: skip


def _content_hash(
    record: dict[str, Any], *, uuid: str | None, kind: str, timestamp: datetime | None
) -> bytes:
    when = timestamp.isoformat() if timestamp else None
    if uuid is None:
        return sha256(canonical(record)).digest()
    if record.get("message") is None:
        return sha256(canonical({**record, "uuid": uuid, "timestamp": when})).digest()
    hashed = {"uuid": uuid, "type": kind, "timestamp": when, "message": record["message"]}
    return sha256(canonical(hashed)).digest()


def same_content(document: Mapping[str, Any], record: Record) -> bool:
    """Whether a stored document holds what `record` says, by today's rules.

    Its `contentHash` need not tell: earlier versions made it of less for lines without `message`, and read some times otherwise.
    """
    stored = parse(canonical(original(document)), default_session=record.session_id)
    again = parse(canonical(original(record.document)), default_session=record.session_id)
    return (
        isinstance(stored, Record) and isinstance(again, Record) and stored.content_hash == again.content_hash
    )


def stamped(
    record: Record, *, drop_id: uuids.UUID, position: int, fence: int | None = None
) -> bytes | Invalid:
    """The document to store, encoded, marked with the drop and position that brought it, and a rebuild's number.

    `Invalid` (too_large) when it is over what MongoDB takes.
    """
    document = {**record.document, "dropId": str(drop_id), "position": position}
    if fence is not None:
        document["fence"] = fence
    try:
        encoded = bson.encode(document)
    except (OverflowError, InvalidDocument, UnicodeEncodeError):
        encoded = bson.encode({**document, "record": storable(document["record"])})
    if len(encoded) > MAX_DOCUMENT_BYTES:
        return Invalid(
            "too_large",
            f"The document has {len(encoded)} bytes, at most {MAX_DOCUMENT_BYTES} can be stored.",
            record.uuid,
        )
    return encoded


def _text_id(value: Any, warnings: list[str]) -> str | None:
    """Ids are text; what else a converter wrote is taken as its JSON text."""
    if value is None or isinstance(value, str):
        return value
    warnings.append("id_not_text")
    return canonical(value).decode()


def _timestamp(record: dict[str, Any], warnings: list[str]) -> datetime | None:
    try:
        timestamp = parse_timestamp(record.get("timestamp"))
    except NoTimestampError as error:
        raise _RefusedError("invalid_timestamp", str(error)) from None
    if timestamp is not None and plausible(timestamp) is None:
        warnings.append("implausible_timestamp")
    return timestamp


def _session(
    record: dict[str, Any], kind: str, default: str | None, warnings: list[str]
) -> tuple[str, str | None]:
    """The session part of the identity ('' where there is none), and the leaf that a summary waits for."""
    session = _text_id(record.get("sessionId"), warnings)
    leaf = record.get("leafUuid")
    if not session and kind == "summary" and isinstance(leaf, str) and 0 < len(leaf) <= MAX_UUID:
        return "", leaf
    session = session or default or ""
    if len(session) > MAX_KEY:
        warnings.append("session_id_shortened")
    return shortened(session), None


def _cost(record: dict[str, Any]) -> float | int | None:
    found = None
    for name in ("costUSD", "costUsd"):
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float):
            if isinstance(value, NumberText):
                raise _RefusedError("cost_out_of_range", f"{name} is {value}, allowed is 0 to {MAX_COST}.")
            raise _RefusedError("invalid_cost", f"{name} is not a number.")
        if not 0 <= value <= MAX_COST:
            raise _RefusedError(
                "cost_out_of_range", f"{name} is {str(value)[:40]}, allowed is 0 to {MAX_COST}."
            )
        found = value
    return found


__all__ = [
    "Invalid",
    "Record",
    "message_id",
    "original",
    "parse",
    "same_content",
    "shortened",
    "stamped",
]
