"""Reading request bodies: encodings, limits that hold while reading, patience with slow senders."""

import asyncio
import time
import zlib
from collections.abc import Iterable, Iterator
from io import BytesIO

import zstandard
from msgspec import Raw
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from ingestion_assets.frontdoor.budget import Hold
from ingestion_assets.frontdoor.depth import deeper_than
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.settings import Settings

PIECE = 1 << 20
ZSTD_WINDOW = 8 * 2**20  # RFC 9659: the most that a `zstd` content coding may ask of its receiver
# Compressed bytes decoded at once: they swell to 4 MiB at most, as 4 bytes can be a block of 128 KiB.
_ZSTD_FEED = 128
SLOWEST = 512  # bytes a second, averaged, once the body timeout has passed

ENCODINGS = "gzip, zstd, identity"


class BodyReader:
    """Reads one request body after another under the settings' limits."""

    def __init__(self, settings: Settings) -> None:
        self.max_sent = min(settings.max_body_bytes, settings.max_inflight_bytes)
        self.max_decoded = min(settings.max_decoded_bytes, settings.max_inflight_bytes)
        self.max_depth = settings.max_json_depth
        self._timeout_s = settings.body_timeout_s

    async def read(
        self, receive: Receive, headers: dict[bytes, bytes], hold: Hold, *, arrived: bytes | None = None
    ) -> bytes:
        """The decoded body. Its bytes count against `hold` until that is given back.

        `arrived`: all that was sent, where it is in memory already; then nothing is received.
        Raises `Problem` 400 (broken encoding), 408, 413, 415, 503; `ClientDisconnect`.
        """
        coding = headers.get(b"content-encoding", b"identity").strip().lower()
        if coding not in (b"identity", b"", b"gzip", b"x-gzip", b"zstd"):
            raise Problem(
                415,
                f"Content-Encoding must be one of {ENCODINGS}.",
                headers={"Accept-Encoding": ENCODINGS},
                errors=[
                    error_item("header", "Content-Encoding", msg="not supported", type="content_encoding")
                ],
            )
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self.max_sent:
            raise self._too_large("sent", self.max_sent)
        if arrived is None:
            sent = await self._receive(receive, hold)
        elif len(arrived) > self.max_sent:
            raise self._too_large("sent", self.max_sent)
        else:
            sent = arrived
            await hold.grow(len(sent))
        if coding in (b"identity", b""):
            return sent
        if not sent:
            raise _broken(coding, "it is empty")
        return await self._decode(coding, sent, hold)

    def check_depth(self, body: bytes, *, parts: Iterable[Raw] = (), level: int = 0) -> None:
        """Raises `Problem` 413 if the JSON text is nested too deeply. `parts`, `level`: see `deeper_than`."""
        if deeper_than(body, self.max_depth, parts=parts, level=level):
            raise too_deep(self.max_depth)

    async def _receive(self, receive: Receive, hold: Hold) -> bytes:
        started = time.monotonic()
        buffer = BytesIO()
        while True:
            chunk, more = await self._message(receive)
            if buffer.tell() + len(chunk) > self.max_sent:
                raise self._too_large("sent", self.max_sent)
            await hold.grow(len(chunk))
            buffer.write(chunk)
            if not more:
                return buffer.getvalue()
            elapsed = time.monotonic() - started
            if elapsed > self._timeout_s and buffer.tell() < elapsed * SLOWEST:
                raise self._too_slow()

    async def _message(self, receive: Receive) -> tuple[bytes, bool]:
        try:
            async with asyncio.timeout(self._timeout_s):
                message = await receive()
        except TimeoutError:
            raise self._too_slow() from None
        return _content(message)

    async def _decode(self, coding: bytes, sent: bytes, hold: Hold) -> bytes:
        pieces = _zstd_pieces(sent) if coding == b"zstd" else _gzip_pieces(sent)
        buffer = BytesIO()
        while piece := await asyncio.to_thread(next, pieces, b""):
            if buffer.tell() + len(piece) > self.max_decoded:
                raise self._too_large("after decompression", self.max_decoded)
            await hold.grow(len(piece))
            buffer.write(piece)
        hold.shrink(len(sent))
        return buffer.getvalue()

    def _too_slow(self) -> Problem:
        return Problem(
            408,
            f"The request body did not arrive within {self._timeout_s:g} s.",
            headers={"Connection": "close"},
        )

    def _too_large(self, how: str, limit: int) -> Problem:
        return Problem(
            413,
            f"The request body is larger than {limit} bytes {how}; send it in smaller parts.",
            headers={"Connection": "close"},
            limit_bytes=limit,
        )


def _content(message: Message) -> tuple[bytes, bool]:
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)


def too_deep(limit: int) -> Problem:
    """413 for JSON that is nested too deeply."""
    return Problem(413, f"The JSON is nested more than {limit} levels deep.", limit_depth=limit)


def _broken(coding: bytes, why: str) -> Problem:
    return Problem(
        400,
        f"The request body is not valid {coding.decode()}: {why}.",
        errors=[error_item("body", msg=why, type="content_encoding")],
    )


def _gzip_pieces(data: bytes) -> Iterator[bytes]:
    """Decompressed pieces of at most `PIECE` bytes; members may follow each other (RFC 1952)."""
    view, position = memoryview(data), 0
    decoder = zlib.decompressobj(wbits=31)
    while position < len(view):
        if decoder.eof:
            decoder = zlib.decompressobj(wbits=31)
        feed = view[position : position + PIECE // 16]
        try:
            piece = decoder.decompress(feed, PIECE)
        except zlib.error as error:
            raise _broken(b"gzip", str(error)) from error
        position += len(feed) - len(decoder.unused_data if decoder.eof else decoder.unconsumed_tail)
        if piece:
            yield piece
    while piece := decoder.decompress(b"", PIECE):
        yield piece
    if not decoder.eof:
        raise _broken(b"gzip", "it ends too early")


def _zstd_pieces(data: bytes) -> Iterator[bytes]:
    """Decompressed pieces of a little more than `PIECE` bytes at most; frames may follow each other (RFC 8878)."""
    view, position = memoryview(data), 0
    make = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj
    decoder, piece = make(), bytearray()
    while position < len(view):
        if decoder.eof:
            decoder = make()
        feed = view[position : position + _ZSTD_FEED]
        try:
            piece += decoder.decompress(feed)
        except zstandard.ZstdError as error:
            if "too much memory" in str(error):
                raise Problem(413, f"zstd windows above {ZSTD_WINDOW} bytes are not accepted.") from error
            raise _broken(b"zstd", str(error).removeprefix("zstd decompressor error: ")) from error
        position += len(feed) - len(decoder.unused_data)
        if len(piece) >= PIECE:
            yield bytes(piece)
            piece.clear()
    if not decoder.eof:
        raise _broken(b"zstd", "it ends too early")
    yield bytes(piece)
