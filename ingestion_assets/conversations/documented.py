"""What the API document says of transcript lines, batches and their answers. Nothing is checked against it: see `records`."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ingestion_assets.conversations.envelope import MAX_SESSION_ID, MAX_TODO_FILES
from ingestion_assets.conversations.records import MAX_UUID
from ingestion_assets.conversations.schema import MAX_MESSAGES
from ingestion_assets.frontdoor.openapi import SECURITY, header_parameter, keyed_errors, reference
from ingestion_assets.frontdoor.receipt_view import ReceiptView

FLOW = "conversations"

_OTHERWISE = "Anything else is counted as failed, listed in `errors` and kept as a reject."


class Usage(BaseModel):
    """Tokens of one answer; repeated, and growing, on each of its lines, and counted once."""

    model_config = ConfigDict(extra="allow")

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class ModelMessage(BaseModel):
    """What was said, as the model's API has it."""

    model_config = ConfigDict(extra="allow")

    id: str | None = Field(None, description="Of the model's answer: lines that share it are counted once.")
    role: str | None = Field(None, description="`user` or `assistant`.", examples=["user"])
    model: str | None = None
    content: str | list[Any] | None = Field(
        None, description="Text, or blocks: text, thinking, tool use and its results, images."
    )
    usage: Usage | None = None


class TranscriptLine(BaseModel):
    """One line of a transcript, stored verbatim; further fields are kept. Only `type` is needed."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(
        min_length=1,
        description="`user`, `assistant`, `system`, `progress`, `attachment`, `summary`, …; others are stored with a warning.",
    )
    uuid: str | None = Field(
        None, min_length=1, max_length=MAX_UUID, description="Identifies the line within its session."
    )
    parentUuid: str | None = Field(None, description="The line before; it need not exist.")  # noqa: N815
    sessionId: str | None = Field(None, description="The session; by default the batch's.")  # noqa: N815
    timestamp: str | float | None = Field(
        None, description="ISO 8601 (UTC without an offset), or Unix time in seconds or milliseconds."
    )
    cwd: str | None = Field(None, description="Working directory; tells the project.")
    version: str | None = Field(None, description="Of the client that wrote the line.")
    gitBranch: str | None = None  # noqa: N815
    isSidechain: bool | None = None  # noqa: N815
    requestId: str | None = None  # noqa: N815
    message: ModelMessage | str | None = Field(None, description="Needed on lines of the type `assistant`.")
    toolUseResult: Any = None  # noqa: N815
    costUSD: float | None = Field(None, ge=0, le=100, description="`costUsd` too.")  # noqa: N815
    totalCostUSD: float | None = Field(None, description="Cumulative, on `cost-state` lines.")  # noqa: N815
    summary: str | None = Field(None, description="On lines of the type `summary`.")
    leafUuid: str | None = Field(None, description="The line that a summary belongs to.")  # noqa: N815


class TodoFile(BaseModel):
    """One todo file of a session."""

    sessionId: str  # noqa: N815
    filename: str
    todos: list[Any] = Field(description="Items, with whatever keys the client writes.")
    todoCount: int | None = None  # noqa: N815


class ConfigFiles(BaseModel):
    """A user's configuration: `config.json`, `settings.json`, or both."""

    config: dict[str, Any] | None = None
    settings: dict[str, Any] | None = None
    userId: str | None = None  # noqa: N815


def _filled(name: str) -> dict[str, Any]:
    return {"required": [name], "properties": {name: {"type": "object", "minProperties": 1}}}


class Batch(BaseModel):
    """Messages, todos and configuration; at least one of them."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["messages"], "properties": {"messages": {"minItems": 1}}},
                {"required": ["todos"], "properties": {"todos": {"minItems": 1}}},
                {"required": ["config"], "properties": {"config": {"anyOf": [_filled("config"), _filled("settings")]}}},
            ]
        }
    )  # fmt: skip

    messages: list[TranscriptLine | Annotated[Any, Field(description=_OTHERWISE)]] = Field(
        default_factory=list, max_length=MAX_MESSAGES, description="Transcript lines, as they are."
    )
    todos: list[TodoFile] = Field(default_factory=list, max_length=MAX_TODO_FILES)
    config: ConfigFiles | None = None
    sessionId: str | None = Field(  # noqa: N815
        None,
        min_length=1,
        max_length=MAX_SESSION_ID,
        description="The session of all messages that name none.",
    )


class IngestStats(BaseModel):
    """Counts of one batch; received = processed + skipped + failed."""

    messages_received: int
    messages_processed: int
    messages_skipped: int = Field(description="Duplicates of what was stored before.")
    messages_failed: int
    sessions_created: int
    sessions_updated: int
    todos_processed: int
    todos_superseded: int = Field(0, description="Todo lists older than what is stored.")
    todos_failed: int = Field(0, description="Todo lists that cannot be stored; kept as rejects.")
    config_updated: bool
    config_superseded: bool = Field(False, description="The configuration is older than what is stored.")
    config_failed: bool = Field(False, description="The configuration cannot be stored; kept as a reject.")
    projects_created: list[str]
    duration_ms: int


class BatchIngestResponse(BaseModel):
    """What became of one batch."""

    success: bool
    stats: IngestStats
    message: str
    errors: list[dict[str, Any]] | None = Field(
        None,
        description="Failed messages: index, uuid, code, reason. Todo lists and a configuration that cannot be stored: part, code, reason.",
    )
    warnings: list[dict[str, Any]] | None = Field(
        None,
        description="What was stored although odd, and conflicts. Todo lists and a configuration older than what is stored: part, code "
        "`superseded`, superseded_by (a receipt).",
    )


MESSAGE = {
    "type": "user", "uuid": "0b5c7d8e-6a0f-4d0b-9c39-4e1f6a2b7c11", "sessionId": "f3f1c9a0-8f4e-4c67-9a65-1b2a3c4d5e6f",
    "timestamp": "2026-01-31T09:30:00.000Z", "cwd": "/home/ada/projects/engine",
    "message": {"role": "user", "content": "What does this function do?"},
}  # fmt: skip
LINE = {"anyOf": [reference("TranscriptLine"), {"type": "object", "description": _OTHERWISE}]}
_STATS = {
    "messages_received": 1, "messages_processed": 1, "messages_skipped": 0, "messages_failed": 0, "sessions_created": 1,
    "sessions_updated": 0, "todos_processed": 0, "todos_superseded": 0, "todos_failed": 0, "config_updated": False,
    "config_superseded": False, "config_failed": False, "projects_created": ["0197b0c0"], "duration_ms": 840,
}  # fmt: skip
_RESULT = {"success": True, "stats": _STATS, "message": "Batch ingestion completed successfully"}
_RECEIPT = "0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f"
_LANDED = {
    "id": _RECEIPT, "state": "landed", "flow": FLOW, "partition": "2026-01-31", "subject": None, "records": 1,
    "size_bytes": 281, "received_at": "2026-01-31T09:30:01Z", "url": f"/api/v1/receipts/{_RECEIPT}", "registered": False,
}  # fmt: skip
_PARAMETERS = [
    header_parameter(
        "Prefer", "`respond-async` answers with the receipt at once; `wait=N` waits at most N seconds (RFC 7240).", "wait=10"
    ),
    header_parameter(
        "Idempotency-Key", "The same key with the same body gives the same receipt, never a second ingestion.",
        "8e03978e-40d5-43dd-bc93-6894a57f9324", minLength=1, maxLength=255, pattern=r"^[!-~]+$",
    ),
]  # fmt: skip
_TEXT = {"schema": {"type": "string"}}
_COMMON_HEADERS = {
    "X-Receipt-Id": {"description": "Id of the receipt.", **_TEXT},
    "Preference-Applied": {"description": "What of `Prefer` was followed.", **_TEXT},
    "Idempotent-Replayed": {"description": "`true` if this key and body were accepted before.", **_TEXT},
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    **keyed_errors(400, 408, 413, 415),
    200: {
        "description": "Ingested; the result.",
        "headers": _COMMON_HEADERS,
        "content": {"application/json": {"example": _RESULT}},
    },
    202: {
        "model": ReceiptView,
        "description": "On durable storage, the outcome is still to come; the receipt.",
        "headers": {**_COMMON_HEADERS, "Location": {"description": "Address of the receipt.", **_TEXT}},
        "content": {"application/json": {"example": _LANDED}},
    },
}


def described(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    """What the API document says of an endpoint that takes a payload of this schema."""
    content = {"application/json": {"schema": schema, "example": example}}
    return {
        "security": SECURITY,
        "parameters": _PARAMETERS,
        "requestBody": {"required": True, "content": content},
    }
