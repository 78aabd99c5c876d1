"""How deeply JSON is nested, without parsing it."""

from collections.abc import Iterable
from itertools import accumulate

from msgspec import Raw

_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_OPENING = bytes(set(range(256)) - set(b"[{"))
_ALL_BUT_BRACKETS_AND_QUOTES = bytes(set(range(256)) - set(b'"[]{}'))
_STEP = {ord("["): 1, ord("]"): -1}
_PASSES = 4
_STRETCH = 64 * 1024
_SHORT = 4096  # bytes; shorter texts are settled by all their opening brackets as a rule
_PART = 256 * 1024  # bytes; larger parts are not looked at by themselves, because that means copying them


def deeper_than(body: bytes, limit: int, *, parts: Iterable[Raw] = (), level: int = 0) -> bool:
    """Whether some value of the JSON text lies below more than `limit` arrays and objects.

    Exact for well-formed JSON: brackets inside strings do not count. `parts` are values in the text, each below `level`
    arrays and objects, where the caller knows of such: most are settled by fewer opening brackets than the limit, and so
    is what lies around them.
    """
    if len(body) <= _SHORT and _opening(body) <= limit:
        return False
    around = len(body) + 1  # bytes that may be brackets: not in parts, and not the commas between them
    inside = 0
    for part in parts:
        if len(memoryview(part)) > _PART:
            continue
        text = bytes(part)
        opening = _opening(text)
        if opening > limit - level and _deeper_than(text, limit - level):
            return True
        around -= len(text) + 1
        inside += opening
    return around > limit and _opening(body) - inside > limit and _deeper_than(body, limit)


def _opening(text: bytes) -> int:
    """The number of opening brackets; translating is faster than counting twice, but takes as much memory again."""
    if len(text) <= _PART:
        return len(text.translate(None, _ALL_BUT_OPENING))
    return text.count(b"[") + text.count(b"{")


def _deeper_than(body: bytes, limit: int) -> bool:
    """The same by counting. Only brackets are kept; taking out every empty pair lowers the whole tree by
    exactly one level, and after a few such passes little is left to count.
    """
    brackets = _outside_strings(body)
    taken_out = 0
    while brackets and taken_out < _PASSES:
        brackets = brackets.replace(b"[]", b"")
        taken_out += 1
    if not brackets:
        return taken_out > limit
    depth = taken_out
    for start in range(0, len(brackets), _STRETCH):
        steps = map(_STEP.__getitem__, brackets[start : start + _STRETCH])
        levels = list(accumulate(steps, initial=depth))
        if max(levels) > limit:
            return True
        depth = levels[-1]
    return False


def _outside_strings(body: bytes) -> bytes:
    """The brackets, all of one kind, that stand in no string.

    Escaped backslashes go first, then escaped quotes, so that every quote left begins or ends a string; a pair of
    neighbouring quotes can be taken out without moving anything from inside to outside.
    """
    quotes = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    kept = quotes.translate(_ONE_KIND, _ALL_BUT_BRACKETS_AND_QUOTES).replace(b'""', b"")
    outside: list[bytes] = []
    inside = 0
    for start in range(0, len(kept), _STRETCH):
        pieces = kept[start : start + _STRETCH].split(b'"')
        outside.append(b"".join(pieces[inside::2]))
        inside ^= (len(pieces) - 1) & 1
    return b"".join(outside)
