"""Sending files of messages as one stream: parts of each file in order, files in parallel, resumed where they were acknowledged."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uuid_utils
import zstandard

from ingestion_assets.entities.sending.message_files import STDIN, DamagedFileError, MessageFile, parts
from ingestion_assets.sending.acknowledgement import Answer, Body, Heard, Proof
from ingestion_assets.sending.delivery import REFUSED_STATUS, UNKNOWN_PATIENCE_S, Delivery
from ingestion_assets.sending.endings import GaveUpError, StoppedError, UsageError
from ingestion_assets.sending.files import reason_of, shown
from ingestion_assets.sending.side_by_side import side_by_side
from ingestion_assets.sending.state_file import StateFile

POLL_S = 0.3
_END = "end"


class OutOfStepError(UsageError):
    """The stream was acknowledged to a place that the file does not have; says what to do."""


@dataclass(slots=True)
class Sent:
    """What was sent so far, and at the end what became of it. `problems` are files that could not be read to their ends."""

    stream: str
    bytes_read: int = 0
    lines: int = 0
    resumed_at: int = 0
    totals: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, bytes_read: int, lines: int) -> None:
        with self._guard:
            self.bytes_read += bytes_read
            self.lines += lines


_SCHEMA = """
create table if not exists streams (
  target text not null, files text not null, name text not null, primary key (target, files));
"""


class StreamMemory:
    """Names of streams that were begun and not ended, by what they are made of, so that the same command goes on.

    Raises `StateFileError`.
    """

    def __init__(self, path: Path) -> None:
        self._file = StateFile(path, schema=_SCHEMA, alone=False)

    def name_for(self, *, target: str, files: Sequence[MessageFile]) -> str:
        """The name of the stream of these files: the one begun before, or a new one, which is kept before anything is sent."""
        new = str(uuid_utils.uuid7())
        if any(file.path == STDIN for file in files):
            return new
        with self._file.writing() as db:
            db.execute("insert or ignore into streams values (?, ?, ?)", (target, _made_of(files), new))
            query = "select name from streams where target = ? and files = ?"
            return db.execute(query, (target, _made_of(files))).fetchone()[0]

    def ended(self, *, target: str, files: Sequence[MessageFile]) -> None:
        """Forget a stream that is complete."""
        with self._file.writing() as db:
            db.execute("delete from streams where target = ? and files = ?", (target, _made_of(files)))


def _made_of(files: Sequence[MessageFile]) -> str:
    return json.dumps([file.identity() for file in files])


def send_stream(
    delivery: Delivery,
    files: Sequence[MessageFile],
    *,
    sent: Sent,
    concurrency: int,
    stop: threading.Event,
    wait: bool,
    patience_s: float,
    tick: Callable[[], None],
) -> None:
    """Send the files, each over a channel of its own, declare the end, and wait for what became of all lines.

    Raises `OutOfStepError`, `GaveUpError`, `AccessDeniedError`, `StoppedError`.
    """
    jobs = [
        partial(_send_file, delivery, file, sent=sent, channel=str(index), stop=stop)
        for index, file in enumerate(files)
    ]
    lengths = side_by_side(jobs, concurrency=concurrency, stop=stop, tick=tick)
    if _position(delivery, sent.stream, channel=_END) is None:
        answer = _post(delivery, b"", stream=sent.stream, channel=_END)
        if not answer.succeeded and answer.body.get("ended") is not True:
            raise OutOfStepError(f"the server answered {answer.status}: {answer.detail}")
    if wait:
        channels = {str(index) for index, length in enumerate(lengths) if length} | {_END}
        _wait_for_outcomes(delivery, channels, sent=sent, stop=stop, patience_s=patience_s, tick=tick)


def _wait_for_outcomes(
    delivery: Delivery,
    channels: set[str],
    *,
    sent: Sent,
    stop: threading.Event,
    patience_s: float,
    tick: Callable[[], None],
) -> None:
    known: dict[str, dict[str, int]] = {}
    before, changed_at = None, time.monotonic()
    while channels:
        for channel in sorted(channels):
            position = _position(delivery, sent.stream, channel=channel)
            if position is not None:
                known[channel] = position["totals"]
                if not position["unfinished"]:
                    channels.discard(channel)
        sent.totals = {
            name: sum(one.get(name, 0) for one in known.values()) for one in known.values() for name in one
        }
        tick()
        if (now := (sent.totals, set(channels))) != before:
            before, changed_at = now, time.monotonic()
        patience = min(patience_s, UNKNOWN_PATIENCE_S) if channels - known.keys() else patience_s
        if channels and time.monotonic() - changed_at > patience:
            raise GaveUpError(
                f"accepted, but what becomes of it was not known after {patience:.0f} s without news"
            )
        if channels and stop.wait(POLL_S):
            raise StoppedError


def _send_file(
    delivery: Delivery, file: MessageFile, *, sent: Sent, channel: str, stop: threading.Event
) -> int:
    """Send what the server does not have of a file; gives how much text it has then."""
    known = _position(delivery, sent.stream, channel=channel) if file.path != STDIN else None
    offset = known["bytes"] if known else 0
    sent.resumed_at += offset
    sent.add(bytes_read=0, lines=known["lines"] if known else 0)
    read = 0
    try:
        for text, position in parts(file, after=offset):
            if stop.is_set():
                raise StoppedError
            offset = _send_part(delivery, text, offset, stream=sent.stream, channel=channel)
            lines = text.count(b"\n") + (not text.endswith(b"\n"))
            sent.add(bytes_read=max(0, position - read), lines=lines)
            read = position
    except (DamagedFileError, OSError) as error:
        said = reason_of(error) if isinstance(error, OSError) else str(error)
        sent.problems.append(f"{shown(file.path)}: {said}; its whole lines before that were sent")
    return offset


def _send_part(delivery: Delivery, text: bytes, offset: int, *, stream: str, channel: str) -> int:
    """Send a part; gives the offset behind it. A part whose acknowledgement was lost is not sent again."""
    end = offset + len(text)
    while offset < end:
        answer = _post(
            delivery, text[offset - end :], stream=stream, channel=channel, offset=str(offset), more="true"
        )
        position = answer.body if answer.succeeded else answer.body.get("acknowledged")
        acknowledged = position.get("bytes") if isinstance(position, dict) else None
        if not isinstance(acknowledged, int) or not offset < acknowledged <= end:
            raise OutOfStepError(
                f"the server answered {answer.status}: {answer.body.get('detail')}. "
                "If the file was changed meanwhile, send it anew with --reset."
            )
        offset = acknowledged
    return end


def _post(delivery: Delivery, text: bytes, **params: str) -> Answer:
    """Post a part until it is durable (202), or out of place (409)."""
    return delivery.answer(
        "POST", "/ingest/stream", params=params, content=zstandard.compress(text),
        headers={"Content-Type": "text/plain", "Content-Encoding": "zstd", "Prefer": "respond-async"},
        proof=_is_position(params["stream"], params["channel"]), refusals=REFUSED_STATUS | {409},
    )  # fmt: skip


def _position(delivery: Delivery, stream: str, *, channel: str) -> Body | None:
    """How far a stream was acknowledged, None if nothing of it is known."""
    proof = _is_position(stream, channel)
    answer = delivery.get(f"/ingest/stream/{stream}", params={"channel": channel}, proof=proof)
    return answer.body if answer.succeeded else None


def _is_position(stream: str, channel: str) -> Proof:
    """Of an answer that says how far a stream is durable, which is the receipt of its parts."""

    def proof(_heard: Heard, body: Body) -> bool:
        counts = (body.get(name) for name in ("lines", "bytes", "unfinished"))
        return (
            (body.get("stream"), body.get("channel")) == (stream, channel)
            and all(isinstance(count, int) for count in counts)
            and isinstance(body.get("totals"), dict)
        )

    return proof
