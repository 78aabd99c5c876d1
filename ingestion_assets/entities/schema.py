"""What the entities endpoints answer."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field


class MessageAnswer(BaseModel):
    """A message that was stored, or that is `superseded`: what is stored was accepted later, with that receipt."""

    status: Literal["success", "superseded"]
    entity: str
    id: Any = Field(description="Its primary key; an object of fields where that has several.")
    timestamp: datetime
    superseded_by: str | None = Field(
        None, description="The newer receipt, of a message that is `superseded`."
    )


class MessageError(BaseModel):
    """A message that was not stored."""

    status: Literal["error"]
    message: str
    entity: str | None
    field: str | None = None
    code: str | None = Field(None, description="Stable; of a body that is no single message there is none.")
    line: str | None


class LineError(BaseModel):
    """A line that was not stored."""

    line_number: int = Field(description="From 1.")
    byte_offset: int = Field(description="Where the line begins, from 0.")
    entity: str | None
    field: str | None
    code: str = Field(description="Stable.")
    message: str
    line: str


class LineCounts(BaseModel):
    """What became of lines: processed + resolved = inserted + updated + unchanged + superseded + failed + waiting."""

    processed: int
    resolved: int = Field(description="Lines that had waited for the end of their stream; 0 of a batch.")
    inserted: int
    updated: int
    unchanged: int
    superseded: int = Field(description="Lines that are older than what is stored; they changed nothing.")
    failed: int
    waiting: int = Field(description="Lines that are decided when their stream ends; 0 of a batch.")


class BatchAnswer(LineCounts):
    """What became of a batch."""

    status: Literal["success", "partial", "superseded", "error"]
    superseded_by: dict[str, int] = Field(
        description="The receipts of what is newer, with the number of lines."
    )
    by_entity: dict[str, LineCounts] = Field(description="The same counts of each entity, by its name.")
    message: str | None = Field(
        None, description="Why nothing was stored, of a batch with more errors than it may have."
    )
    errors: list[LineError]
    errors_not_listed: int = Field(description="Further errors, to be found among the rejects.")
    duration_ms: int


class StreamPosition(BaseModel):
    """How far a stream is durable, and what became of it so far."""

    stream: str
    channel: str
    lines: int = Field(description="Lines acknowledged.")
    bytes: int = Field(description="Bytes of text acknowledged: go on from here with `?offset=`.")
    ended: bool = Field(description="Whether its end was acknowledged.")
    unfinished: int = Field(description="Parts that no run has ended yet.")
    totals: dict[str, int]


class Statistics(BaseModel):
    """How much was processed since the beginning."""

    total_messages_processed: int
    messages_by_entity: dict[str, int]
    errors: int
    superseded: int = Field(description="Messages that were older than what was stored already.")
    uptime_seconds: float
    requests_per_second: float = Field(
        description="Requests to these endpoints, over the life of the process."
    )
