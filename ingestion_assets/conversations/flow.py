"""The conversations flow's face towards the spine: daily partitions, lanes within a day, inbox files, redriving."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

import msgspec

from ingestion_assets.conversations.schema import decode_body
from ingestion_assets.landing.flows import Body, Flow, RefusedError

NAME = "conversations"
MAX_MESSAGES = 1000


def partition_of(received_at: datetime, _subject: str | None = None) -> str:
    """The UTC day of arrival."""
    return received_at.astimezone(UTC).date().isoformat()


def lane_of(partition: str, drop_id: UUID) -> str:
    """The day itself, or one of its lanes where `INGESTION_CONVERSATION_LANES` allows several runs side by side."""
    lanes = _lanes()
    return partition if lanes == 1 else f"{partition}#{drop_id.int % lanes}"


@lru_cache
def _lanes() -> int:
    from ingestion_assets.settings import load_settings  # noqa: PLC0415  # definitions import this module

    return load_settings().conversation_lanes


def read_inbox(name: str, content: bytes) -> Sequence[tuple[Body, Mapping[str, str]]]:
    """Cut a transcript (JSON lines) into payloads of at most 1000 messages; a batch body is taken as it is."""
    try:
        envelope = decode_body(content)
    except ValueError as error:
        raise RefusedError(
            f"{name} is neither a transcript (one JSON object a line) nor a batch: {error}"
        ) from error
    if envelope.todos or envelope.config is not None:
        return [(Body(content, max(1, len(envelope.messages))), {})]
    session = envelope.sessionId or _session_of(name)
    return [
        (_body(envelope.messages[start : start + MAX_MESSAGES], session), {})
        for start in range(0, len(envelope.messages), MAX_MESSAGES)
    ]


def _session_of(name: str) -> str:
    return name.rsplit("/", 1)[-1].removesuffix(".jsonl")[:128]


def compose(records: Sequence[bytes], attributes: Mapping[str, str]) -> Body:
    """Rejected records of one payload as a batch."""
    return _body([msgspec.Raw(record) for record in records], attributes.get("sessionId"))


def _body(messages: Sequence[msgspec.Raw], session: str | None) -> Body:
    head = b"{" if session is None else b'{"sessionId":' + json.dumps(session).encode() + b","
    data = head + b'"messages":[' + b",".join(bytes(message) for message in messages) + b"]}"
    return Body(data, len(messages))


CONVERSATIONS = Flow(
    name=NAME,
    job=NAME,
    partition_of=partition_of,
    lane_of=lane_of,
    read_inbox=read_inbox,
    compose=compose,
)
