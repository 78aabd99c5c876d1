"""Content codings, undone piece by piece: what a body swells to is bounded, whoever reads it. Nothing of HTTP here."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

import zstandard

PIECE = 2**20
ZSTD_WINDOW = 8 * 2**20  # RFC 9659: the most that a `zstd` content coding may ask of its receiver

# Compressed bytes decoded at once. They swell to 4 MiB at most: deflate makes 1032 bytes of one, and four bytes can be
# a zstd block of 128 KiB.
_FEED = {"gzip": 4096, "zstd": 128}
_MAKE: dict[str, Callable[[], Any]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "zstd": lambda: zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW).decompressobj(),
}


class BrokenEncodingError(ValueError):
    """Bytes that are not what their coding says: the text reads `not valid gzip: …`."""

    def __init__(self, coding: str, why: str) -> None:
        super().__init__(f"not valid {coding}: {why}")
        self.why = why


class WideWindowError(BrokenEncodingError):
    """A zstd frame that needs more memory than a content coding may."""

    def __init__(self) -> None:
        super().__init__("zstd", f"zstd windows above {ZSTD_WINDOW} bytes are not accepted")


class Decoder:
    """Undoes `identity`, `gzip` or `zstd` as the bytes arrive. gzip members (RFC 1952) and zstd frames (RFC 8878) may follow
    each other.
    """

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._decoder: Any = None  # of the member or frame that has begun

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """What `data` goes on with, in pieces of `PIECE` bytes and at most 4 MiB more. Raises `BrokenEncodingError`."""
        if self._coding == "identity":
            if data:
                yield data
            return
        view, position, piece = memoryview(data), 0, bytearray()
        size = _FEED[self._coding]
        while position < len(view):
            if self._decoder is None:
                self._decoder = _MAKE[self._coding]()
            feed = view[position : position + size]
            piece += self._decoded(feed)
            position += len(feed)
            if self._decoder.eof:
                position -= len(self._decoder.unused_data)
                self._decoder = None
            if len(piece) >= PIECE:
                yield bytes(piece)
                piece.clear()
        if piece:
            yield bytes(piece)

    def end(self) -> None:
        """Nothing more comes. Raises `BrokenEncodingError` where a member or frame is not whole."""
        if self._decoder is not None:
            raise BrokenEncodingError(self._coding, "it ends too early")

    def _decoded(self, feed: memoryview) -> bytes:
        try:
            return self._decoder.decompress(feed)
        except (zlib.error, zstandard.ZstdError) as error:
            if "too much memory" in str(error):
                raise WideWindowError from error
            why = str(error).removeprefix("zstd decompressor error: ")
            raise BrokenEncodingError(self._coding, why) from error
