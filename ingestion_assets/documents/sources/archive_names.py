"""The names in a zip archive, in whatever code page they were written. Pure.

The format knows UTF-8 (a flag) and a field beside the name that holds it again in UTF-8; everything else is the code page of the machine
that packed, which is not said. It is guessed over all such names together, as short ones alone say little.
"""

import contextlib
import re
import struct
import zlib
from collections.abc import Iterator, Sequence
from zipfile import ZipInfo

UTF8_FLAG = 0x800
UNICODE_PATH = 0x7075
MOST_BYTES = 1 << 16  # of names that are looked at
# Code pages of DOS and Windows, in which archives are packed; those of terminals and of mainframes only lead astray.
CODE_PAGES = (
    "cp437", "cp850", "cp852", "cp866", "koi8-r", "koi8-u", "cp737", "cp862", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254",
    "cp1255", "cp1256", "cp1257", "cp874", "cp932", "euc-jp", "gb18030", "big5", "cp949",
)  # fmt: skip
# Greek, Cyrillic, Hebrew or Arabic within a word of Latin letters, or a sign within one: nobody names a file so.
_MIXED = re.compile(
    r"[A-Za-z][\u0370-\u06ff]|[\u0370-\u06ff][A-Za-z]|[A-Za-z](?![A-Za-z])[^\x00-\x7f\w][A-Za-z]"
)


def names_of(infos: Sequence[ZipInfo], encoding: str | None) -> list[str]:
    """The name of each entry; `encoding` is what the user says of those that do not tell theirs."""
    raw = [_raw(one) for one in infos]
    told = [_told(one, bytes_) for one, bytes_ in zip(infos, raw, strict=True)]
    untold = [bytes_ for bytes_, name in zip(raw, told, strict=True) if name is None]
    guessed = iter(_decoded(untold, encoding, "".join(one for one in told if one and not one.isascii())))
    return [next(guessed) if name is None else name for name in told]


def _raw(info: ZipInfo) -> bytes:
    """As it is in the archive; `zipfile` has decoded it already."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & UTF8_FLAG else "cp437", "surrogateescape")


def _told(info: ZipInfo, raw: bytes) -> str | None:
    """The name, where the archive says how it is to be read."""
    right = b"\1" + zlib.crc32(raw).to_bytes(
        4, "little"
    )  # another checksum: the name was changed, and not this field
    for beside in _fields(info.extra, UNICODE_PATH):
        if beside.startswith(right) and len(beside) > len(right):
            return beside[len(right) :].decode("utf-8", "replace")
    if info.flag_bits & UTF8_FLAG or raw.isascii():
        return raw.decode("utf-8", "replace")
    return None


def _fields(extra: bytes, wanted: int) -> Iterator[bytes]:
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == wanted:
            yield extra[4 : 4 + size]
        extra = extra[4 + size :]


def _decoded(raw: Sequence[bytes], encoding: str | None, others: str) -> list[str]:
    """The names that do not tell their code page. `others`: those of the same archive that do; they are in the same language."""
    if not raw:
        return []
    if encoding is not None:
        with contextlib.suppress(
            LookupError
        ):  # of options that were kept before an encoding that is none was refused
            return [one.decode(encoding, "replace") for one in raw]
    try:
        return [one.decode("utf-8") for one in raw]  # what forgot the flag
    except UnicodeDecodeError:
        pass
    import chardet  # noqa: PLC0415

    sample = b"\n".join(raw)[:MOST_BYTES]
    likely = [one for one in CODE_PAGES if _can_say(one, others)] or CODE_PAGES
    likely = [one for one in likely if not _MIXED.search(sample.decode(one, "replace"))] or likely
    if others:
        known = set(others.casefold())
        fit, best = max((_fit(sample, one, known), one) for one in likely)
        if fit > 0.5:
            return [one.decode(best, "replace") for one in raw]
    found = chardet.detect(sample, include_encodings=likely, no_match_encoding="cp437", prefer_superset=True)
    return [one.decode(found["encoding"] or "cp437", "replace") for one in raw]


def _can_say(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _fit(sample: bytes, encoding: str, known: set[str]) -> float:
    """How much of a sample, read so, is letters that are known."""
    read = [one for one in sample.decode(encoding, "replace").casefold() if not one.isascii()]
    return sum(one in known for one in read) / len(read)
