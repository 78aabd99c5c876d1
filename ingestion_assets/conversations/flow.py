"""The conversations flow's face towards the spine: daily partitions, lanes within a day, inbox files, redriving."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache

import msgspec

from ingestion_assets.conversations.json_values import clean
from ingestion_assets.conversations.schema import decode_body, is_part
from ingestion_assets.landing.flows import Body, Command, Flow, RefusedError, Scope
from ingestion_assets.landing.json_text import decode
from ingestion_assets.landing.tallies import KIND, tally_by

NAME = "conversations"
MAX_MESSAGES = 1000
_OUTCOMES = {"messages_processed": "stored", "messages_skipped": "duplicate", "messages_failed": "rejected"}
_ANY = msgspec.json.Decoder(msgspec.Raw)


def lane_of(partition: str, number: int) -> str:
    """The day itself, or one of its lanes where `INGESTION_CONVERSATION_LANES` allows several runs side by side."""
    lanes = _lanes()
    return partition if lanes == 1 else f"{partition}#{number % lanes}"


@lru_cache
def _lanes() -> int:
    from ingestion_assets.conversations.settings import ConversationsSettings  # noqa: PLC0415  # definitions import this module
    from ingestion_assets.settings import load_flow_settings  # noqa: PLC0415

    return load_flow_settings(ConversationsSettings).conversation_lanes


def read_inbox(name: str, content: bytes) -> Sequence[tuple[Body, Mapping[str, str]]]:
    """Cut a transcript (JSON lines) into payloads of at most 1000 messages; a batch body is taken as it is."""
    try:
        envelope = decode_body(content)
    except ValueError as error:
        raise RefusedError(
            f"{name} is neither a transcript (one JSON object a line) nor a batch: {error}"
        ) from error
    if envelope.todos or envelope.config is not None:
        body = Body(content, max(1, len(envelope.messages)))
        return [(body, session_attribute(envelope.sessionId))]
    session = envelope.sessionId or _session_of(name)
    return [
        (_body(envelope.messages[start : start + MAX_MESSAGES], session), session_attribute(session))
        for start in range(0, len(envelope.messages), MAX_MESSAGES)
    ]


def _session_of(name: str) -> str:
    return clean(name.rsplit("/", 1)[-1].removesuffix(".jsonl")[:128])


def session_attribute(session: str | None) -> dict[str, str]:
    """What a drop says of the session of messages that name none, for the time when some of them go their own way."""
    return {"sessionId": clean(session)} if session else {}


def compose(records: Sequence[bytes], attributes: Mapping[str, str]) -> Body:
    """Rejected records of one payload as a batch; one that is no JSON as a line, a todo list or configuration as it is: alone."""
    if len(records) == 1 and is_part(records[0]):
        return Body(records[0], 1)
    return _body([msgspec.Raw(record) for record in records], attributes.get("sessionId"))


def _body(messages: Sequence[msgspec.Raw], session: str | None) -> Body:
    """A batch, or the lines that these are where one of them is no JSON and would spoil it for the others."""
    if not all(_is_json(message) for message in messages):
        return Body(b"\n".join(bytes(message) for message in messages), len(messages))
    head = b"{" if session is None else b'{"sessionId":' + json.dumps(session).encode() + b","
    data = head + b'"messages":[' + b",".join(bytes(message) for message in messages) + b"]}"
    return Body(data, len(messages))


def _is_json(message: bytes | msgspec.Raw) -> bool:
    try:
        decode(memoryview(message), _ANY)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


CONVERSATIONS = Flow(
    name=NAME,
    scope=Scope(name=NAME),
    lane_of=lane_of,
    read_inbox=read_inbox,
    compose=compose,
    redriven_alone=lambda record: is_part(record) or not _is_json(record),
    tally=tally_by(_OUTCOMES, counts=lambda result: {KIND: result.get("stats") or {}}),
    settings="ingestion_assets.conversations.settings:ConversationsSettings",
    definitions="ingestion_assets.conversations.definitions:definitions",
    http="ingestion_assets.conversations.api:HTTP",
    prepare="ingestion_assets.conversations.collections:prepare",
    senders=(
        Command(
            name="claude",
            module="ingestion_assets.conversations.sending.cli",
            help="Send Claude Code transcripts. What was sent before is not sent again.",
        ),
        Command(
            name="sample",
            module="ingestion_assets.conversations.sending.cli",
            help="Write made-up transcripts with everything that real ones hold, as a `.claude` folder.",
        ),
    ),
    demonstration="ingestion_assets.conversations.sending.demonstrated:DEMONSTRATION",
    work=("ingestion_assets.conversations.work", "ingestion_assets.conversations.message_audit"),
)
