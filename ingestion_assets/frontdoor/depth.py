"""How deeply JSON is nested, without parsing it."""

import re
from itertools import accumulate

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("]"): -1}
_PASSES = 4
_STRETCH = 64 * 1024


def deeper_than(body: bytes, limit: int) -> bool:
    """Whether some value of the JSON text lies below more than `limit` arrays and objects.

    Exact for well-formed JSON: brackets inside strings do not count. Fewer opening brackets than the limit
    settle small bodies at once. Elsewhere only brackets are kept; taking out every empty pair lowers the whole tree by
    exactly one level, and after a few such passes little is left to count.
    """
    if body.count(b"[") + body.count(b"{") <= limit:
        return False
    brackets = _STRING.sub(b"", body).translate(_ONE_KIND, _ALL_BUT_BRACKETS)
    for level in range(1, _PASSES + 1):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return level > limit
    depth = _PASSES
    for start in range(0, len(brackets), _STRETCH):
        for depth in accumulate(map(_STEP.__getitem__, brackets[start : start + _STRETCH]), initial=depth):
            if depth > limit:
                return True
    return False
