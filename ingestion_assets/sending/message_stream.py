"""Sending files of messages as one stream: parts of each file in order, files in parallel, resumed where they were acknowledged."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import uuid_utils
import zstandard

from ingestion_assets.sending.delivery import Delivery, StoppedError
from ingestion_assets.sending.message_files import STDIN, MessageFile, parts

POLL_S = 0.3
_END = "end"


class OutOfStepError(Exception):
    """The stream was acknowledged to a place that the file does not have; says what to do."""


@dataclass(slots=True)
class Sent:
    """What was sent so far, and at the end what became of it."""

    stream: str
    bytes_read: int = 0
    lines: int = 0
    resumed_at: int = 0
    totals: dict[str, int] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, bytes_read: int, lines: int) -> None:
        with self._guard:
            self.bytes_read += bytes_read
            self.lines += lines


class StreamMemory:
    """Names of streams that were begun and not ended, by what they are made of, so that the same command goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def name_for(self, *, target: str, files: Sequence[MessageFile]) -> str:
        """The name of the stream of these files: the one begun before, or a new one."""
        if any(file.path == STDIN for file in files):
            return str(uuid_utils.uuid7())
        begun = self._read()
        key = self._key(target, files)
        if key not in begun:
            begun[key] = str(uuid_utils.uuid7())
            self._write(begun)
        return begun[key]

    def ended(self, *, target: str, files: Sequence[MessageFile]) -> None:
        """Forget a stream that is complete."""
        begun = self._read()
        if begun.pop(self._key(target, files), None) is not None:
            self._write(begun)

    @staticmethod
    def _key(target: str, files: Sequence[MessageFile]) -> str:
        return json.dumps([target, *(file.identity() for file in files)])

    def _read(self) -> dict[str, str]:
        return json.loads(self._path.read_text(encoding="utf-8")) if self._path.is_file() else {}

    def _write(self, begun: dict[str, str]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".part")
        temporary.write_text(json.dumps(begun), encoding="utf-8")
        temporary.replace(self._path)


def send_stream(
    delivery: Delivery,
    files: Sequence[MessageFile],
    *,
    sent: Sent,
    concurrency: int,
    stop: threading.Event,
    wait: bool,
    tick: Callable[[], None],
) -> None:
    """Send the files, each over a channel of its own, declare the end, and wait for what became of all lines.

    Raises `OutOfStepError`, `GaveUpError`, `AccessDeniedError`, `StoppedError`.
    """
    with ThreadPoolExecutor(concurrency) as pool:
        work = [
            pool.submit(_send_file, delivery, file, sent=sent, channel=str(index), stop=stop)
            for index, file in enumerate(files)
        ]
        try:
            while not all(one.done() for one in work):
                tick()
                stop.wait(POLL_S)
                if stop.is_set():
                    raise StoppedError
                _raise_first(work)
        except BaseException:
            stop.set()
            raise
        _raise_first(work)
    if delivery.stream_position(sent.stream, channel=_END) is None:
        delivery.stream_part(params={"stream": sent.stream, "channel": _END}, content=zstandard.compress(b""))
    channels = [*map(str, range(len(files))), _END]
    open_channels = set(channels)
    known: dict[str, dict[str, int]] = {}
    while wait and open_channels:
        for channel in sorted(open_channels):
            position = delivery.stream_position(sent.stream, channel=channel)
            if position is None:  # an empty file has no parts
                open_channels.discard(channel)
                continue
            known[channel] = position["totals"]
            if not position["unfinished"]:
                open_channels.discard(channel)
        sent.totals = {
            name: sum(one.get(name, 0) for one in known.values()) for one in known.values() for name in one
        }
        tick()
        if open_channels and stop.wait(POLL_S):
            raise StoppedError


def _raise_first(work: Sequence["object"]) -> None:
    for one in work:
        if one.done() and one.exception() is not None:  # type: ignore[attr-defined]
            raise one.exception()  # type: ignore[attr-defined]


def _send_file(
    delivery: Delivery, file: MessageFile, *, sent: Sent, channel: str, stop: threading.Event
) -> None:
    known = delivery.stream_position(sent.stream, channel=channel) if file.path != STDIN else None
    offset = known["bytes"] if known else 0
    sent.resumed_at += offset
    sent.add(bytes_read=0, lines=known["lines"] if known else 0)
    read = 0
    for text, position in parts(file, after=offset):
        if stop.is_set():
            raise StoppedError
        offset = _send_part(delivery, text, offset, stream=sent.stream, channel=channel)
        sent.add(bytes_read=max(0, position - read), lines=text.count(b"\n") + (not text.endswith(b"\n")))
        read = position


def _send_part(delivery: Delivery, text: bytes, offset: int, *, stream: str, channel: str) -> int:
    """Send a part; gives the offset behind it. A part whose acknowledgement was lost is not sent again."""
    end = offset + len(text)
    while offset < end:
        params = {"stream": stream, "channel": channel, "offset": str(offset), "more": "true"}
        answer = delivery.stream_part(params=params, content=zstandard.compress(text[offset - end :], 3))
        if answer.status_code == 202:
            return end
        acknowledged = (
            answer.json().get("acknowledged", {}).get("bytes") if answer.status_code == 409 else None
        )
        if acknowledged is None or not offset < acknowledged <= end:
            raise OutOfStepError(
                f"the server answered {answer.status_code}: {answer.json().get('detail')}. "
                "If the file was changed meanwhile, send it anew with --reset."
            )
        offset = acknowledged
    return end
