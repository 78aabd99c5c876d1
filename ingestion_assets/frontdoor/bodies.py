"""Reading request bodies: encodings, limits that hold while reading, patience with slow senders."""

import asyncio
import time
from collections.abc import Iterable
from io import BytesIO

from msgspec import Raw
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from ingestion_assets.frontdoor.body_memory import Reservation
from ingestion_assets.frontdoor.decoding import BrokenEncodingError, Decoder, WideWindowError
from ingestion_assets.frontdoor.depth import deeper_than
from ingestion_assets.frontdoor.exchange import arrived_body
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.request_headers import content_coding
from ingestion_assets.settings import Settings

SLOWEST = 512  # bytes a second, averaged, once the body timeout has passed


class BodyReader:
    """Reads one request body after another under the settings' limits."""

    def __init__(self, settings: Settings) -> None:
        self.max_sent = min(settings.max_body_bytes, settings.max_inflight_bytes)
        self.max_decoded = min(settings.max_decoded_bytes, settings.max_inflight_bytes)
        self.max_depth = settings.max_json_depth
        self._timeout_s = settings.body_timeout_s

    async def read(self, receive: Receive, headers: dict[bytes, bytes], reservation: Reservation) -> bytes:
        """The decoded body. Its bytes count as memory of the `reservation` until that is given back.

        Raises `Problem` 400 (broken encoding), 408, 413, 415, 503; `ClientDisconnect`.
        """
        coding = content_coding(headers)
        announced = headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced) > self.max_sent:
            raise self._too_large("sent", self.max_sent)
        sent = arrived_body(receive)
        if sent is None:
            sent = await self._receive(receive, reservation)
        elif len(sent) > self.max_sent:
            raise self._too_large("sent", self.max_sent)
        else:
            await reservation.grow(len(sent))
        return sent if coding == "identity" else await self._decode(coding, sent, reservation)

    def check_depth(self, body: bytes, *, parts: Iterable[Raw] = (), level: int = 0) -> None:
        """Raises `Problem` 413 if the JSON text is nested too deeply. `parts`, `level`: see `deeper_than`."""
        if deeper_than(body, self.max_depth, parts=parts, level=level):
            raise self.too_deep()

    def too_deep(self) -> Problem:
        """413 for JSON that is nested too deeply."""
        return Problem(
            413, f"The JSON is nested more than {self.max_depth} levels deep.", limit_depth=self.max_depth
        )

    async def _receive(self, receive: Receive, reservation: Reservation) -> bytes:
        started = time.monotonic()
        buffer = BytesIO()
        while True:
            chunk, more = await self._message(receive)
            if buffer.tell() + len(chunk) > self.max_sent:
                raise self._too_large("sent", self.max_sent)
            await reservation.grow(len(chunk))
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

    async def _decode(self, coding: str, sent: bytes, reservation: Reservation) -> bytes:
        decoder, buffer = Decoder(coding), BytesIO()
        pieces = decoder.pieces(sent)
        try:
            if not sent:
                raise BrokenEncodingError(coding, "it is empty")
            while piece := await asyncio.to_thread(next, pieces, b""):
                if buffer.tell() + len(piece) > self.max_decoded:
                    raise self._too_large("after decompression", self.max_decoded)
                await reservation.grow(len(piece))
                buffer.write(piece)
            decoder.end()
        except WideWindowError as error:
            raise Problem(413, f"{error.why}.") from error
        except BrokenEncodingError as error:
            item = error_item("body", msg=error.why, type="content_encoding")
            raise Problem(400, f"The request body is {error}.", errors=[item]) from error
        reservation.shrink(len(sent))
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
