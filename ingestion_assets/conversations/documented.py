"""What the API document says of transcript lines, batches and their answers. Nothing is checked against it: see `records`."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ingestion_assets.conversations.envelope import MAX_SESSION_ID, MAX_TODO_FILES
from ingestion_assets.conversations.records import MAX_UUID
from ingestion_assets.conversations.schema import MAX_MESSAGES
from ingestion_assets.frontdoor.openapi import keyed_errors, outcome, receipt_to_come, reference

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
    filled = {"type": "object", "minProperties": 1}
    return {"type": "object", "required": [name], "properties": {name: filled}}


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
ANSWERS: dict[int | str, dict[str, Any]] = {
    **keyed_errors(400, 408, 413, 415),
    200: outcome("Ingested; the result.", content={"application/json": {"example": _RESULT}}),
    202: receipt_to_come(flow=FLOW, partition="2026-01-31"),
}
