"""Bytes of text decoded: byte order mark, UTF-8, what the file declares of itself, else what charset-normalizer finds likeliest."""

import codecs
import re

from charset_normalizer import from_bytes

from ingestion_assets.documents.file_errors import FileError

_MARKS = (
    (codecs.BOM_UTF8, "utf_8"), (codecs.BOM_UTF32_LE, "utf_32"), (codecs.BOM_UTF32_BE, "utf_32"),
    (codecs.BOM_UTF16_LE, "utf_16"), (codecs.BOM_UTF16_BE, "utf_16"),
)  # fmt: skip
_DECLARED = re.compile(
    rb"""(?:charset\s*=|<\?xml[^>]{0,80}encoding\s*=)\s*["']?\s*([A-Za-z0-9_.:-]+)""", re.IGNORECASE
)
_ISO_2022 = re.compile(rb"\x1b(\$[@B]|\([JI]|\$\(D)")
SAMPLE_BYTES = 2**18


def decode(data: bytes, given: str | None = None) -> tuple[str, str]:
    """The text, and the encoding that was taken for it. Raises `FileError` where it is no text, or not of the encoding `given`."""
    if given:
        try:
            return data.decode(given).removeprefix("\ufeff"), codecs.lookup(given).name.replace("-", "_")
        except (UnicodeDecodeError, LookupError):
            raise FileError(
                "corrupted",
                "parsing",
                f"The file is not text of encoding {given!r}, which the options ask for.",
            ) from None
    for mark, name in _MARKS:
        if data.startswith(mark):
            return data.decode("utf-8-sig" if name == "utf_8" else name, "replace"), name
    for name in _candidates(data):
        try:
            return data.decode(name), name
        except (UnicodeDecodeError, LookupError):
            continue
    # Detection reads a sample; what cannot be decoded beyond it is replaced, and counted by the caller.
    best = from_bytes(data[:SAMPLE_BYTES]).best()
    if best is None:
        raise FileError(
            "unsupported_type",
            "parsing",
            "The file is of no known kind, and its bytes are text in no known encoding.",
        )
    return data.decode(best.encoding, "replace"), best.encoding


def _candidates(data: bytes) -> list[str]:
    if _ISO_2022.search(data, 0, SAMPLE_BYTES):
        return ["iso2022_jp_2"]
    if b"\0" in data[:4096]:
        return []
    declared = _DECLARED.search(data, 0, 2048)
    return ["utf_8", *([declared[1].decode("ascii").lower().replace("-", "_")] if declared else [])]
