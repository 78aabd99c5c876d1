"""Gathers what was read of several files into one request, in order, and knows how far each file is in it.

Small files share requests; a large one fills its own. Which lines may share is the front door's matter: a request names
one session for all messages that name none, so files with such messages share only where that session is the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from ingestion_assets.conversations.sending.requests import Outgoing
from ingestion_assets.conversations.sending.slices import Record, Slice
from ingestion_assets.conversations.sending.sources import Source
from ingestion_assets.conversations.sending.transcript_memory import Sent

SMALL_FILE_BYTES = 64 * 1024
FILES_TOGETHER = (
    100  # read by one thread: few enough that several have work where files cannot share requests
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What was read of a file in one go, and how far that takes it. `read` are its bytes of the file."""

    source: Source
    sent: Sent
    lines: Slice
    read: int = 0


class Parcel:
    """Parts that travel in one request, all of one kind of source."""

    def __init__(self, *, max_records: int, max_bytes: int) -> None:
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._records = 0
        self._bytes = 0
        self._session: tuple[str | None] | None = None  # of messages that name none, once there are such
        self.parts: list[Part] = []

    def takes(self, part: Part, *, alone: bool) -> bool:
        """Add the part, if it can travel with the others. `alone`: no other file will come."""
        if self._records and part.lines.records:
            if self._records + len(part.lines.records) > self._max_records:
                return False
            if self._bytes + part.lines.record_bytes > self._max_bytes:
                return False
        session = (part.source.session_id,)
        if part.source.kind == "transcript" and (alone or any(map(_names_no_session, part.lines.records))):
            if self._session not in {None, session}:
                return False
            self._session = session
        self.parts.append(part)
        self._records += len(part.lines.records)
        self._bytes += part.lines.record_bytes
        return True

    def request(self) -> Outgoing | None:
        """All records as one request; None where there are none."""
        records = [record for part in self.parts for record in part.lines.records]
        if not records:
            return None
        kind = self.parts[0].source.kind
        session = self._session[0] if self._session else None
        return Outgoing(
            member="messages" if kind == "transcript" else kind, session_id=session, records=records
        )


def together(sources: Iterable[Source], *, max_bytes: int) -> Iterator[list[Source]]:
    """Sources in groups that one thread reads, in the order given: large files alone, small ones with their neighbours.

    What was sent before counts as well, so that a sender that was killed makes the same groups again, and of them the
    same requests.
    """
    group: list[Source] = []
    size = 0
    for source in sources:
        small = source.size <= SMALL_FILE_BYTES and source.kind != "config"
        full = len(group) == FILES_TOGETHER or size + source.size > max_bytes
        if group and (full or not small or source.kind != group[0].kind):
            yield group
            group, size = [], 0
        if small:
            group.append(source)
            size += source.size
        else:
            yield [source]
    if group:
        yield group


class _Face(msgspec.Struct):
    sessionId: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815


_face = msgspec.json.Decoder(_Face)


def _names_no_session(record: Record) -> bool:
    try:
        named = bytes(_face.decode(record.raw).sessionId)
    except msgspec.DecodeError:  # what only the slow reader can read: as if it named none
        return True
    return not named.startswith(b'"') or named == b'""'
