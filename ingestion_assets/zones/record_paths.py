"""Where in a JSON document the records lie: a JSONPath (RFC 9535).

Names, places and `[*]` are followed in the text itself, which leaves records as they were sent, and fast. For anything else
(filters, slices, `..`) the document is read, with exact numbers, and what is found is written again.
"""

from collections.abc import Iterator
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from ingestion_assets.zones.unreadable import UnreadableError

_raw = msgspec.json.Decoder(msgspec.Raw).decode
_array = msgspec.json.Decoder(list[msgspec.Raw]).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_exact = msgspec.json.Decoder(float_hook=Decimal).decode
_encode = msgspec.json.Encoder(decimal_format="number").encode


@lru_cache(maxsize=256)
def record_path(path: str) -> "RecordPath":
    """Raises `ValueError` with a sentence for what is no JSONPath."""
    from jsonpath import JSONPath, JSONPathEnvironment, JSONPathError  # noqa: PLC0415

    if not path.startswith("$"):
        raise ValueError(f"{path!r} is no JSONPath such as $.items[*]: it begins with $")
    try:
        query = JSONPathEnvironment(strict=True).compile(path)
    except JSONPathError as error:
        said = str(error).partition("\n")[0]
        raise ValueError(f"{path!r} is no JSONPath such as $.items[*]: {said}") from None
    if not isinstance(query, JSONPath):
        raise ValueError(f"{path!r} is more than one JSONPath")
    return RecordPath(path, query)


class RecordPath:
    """A path to records."""

    def __init__(self, path: str, query: Any) -> None:
        from jsonpath.segments import JSONPathChildSegment  # noqa: PLC0415
        from jsonpath.selectors import IndexSelector, NameSelector, WildcardSelector  # noqa: PLC0415

        self._path = path
        self._query = query
        self._steps: list[str | int | None] | None = []
        for segment in query.segments:
            selector = segment.selectors[0]
            if not isinstance(segment, JSONPathChildSegment) or len(segment.selectors) > 1:
                self._steps = None
            elif isinstance(selector, NameSelector):
                self._steps.append(selector.name)
            elif isinstance(selector, IndexSelector):
                self._steps.append(selector.index)
            elif isinstance(selector, WildcardSelector):
                self._steps.append(None)
            else:
                self._steps = None
            if self._steps is None:
                break
        if self._steps and self._steps[-1] is None:
            self._steps.pop()  # the elements of an array are its records anyway

    @property
    def whole(self) -> bool:
        """Whether the document itself is the record, or the array of them."""
        return self._steps == []

    def records(self, document: bytes) -> Iterator[msgspec.Raw]:
        """The records, which are views of the document where the path is plain. An array that is found stands for its elements.

        Raises `msgspec.DecodeError` and `RecursionError` for what is no JSON, `UnreadableError` where the path leads nowhere.
        """
        if self._steps is None:
            found = (msgspec.Raw(_encode(node)) for node in self._query.findall(_exact(document)))
        else:
            found = self._follow(_raw(document), self._steps)
        for node in found:
            if _first(node) == b"[":
                yield from _array(node)
            else:
                yield node

    def _follow(self, node: msgspec.Raw, steps: list[str | int | None]) -> Iterator[msgspec.Raw]:
        if not steps:
            yield node
            return
        step, opening = steps[0], _first(node)
        if step is None and opening in b"[{":
            for one in _array(node) if opening == b"[" else _object(node).values():
                yield from self._follow(one, steps[1:])
            return
        if isinstance(step, str) and opening == b"{":
            members = _object(node)
            if step in members:
                yield from self._follow(members[step], steps[1:])
                return
        if isinstance(step, int) and opening == b"[":
            elements = _array(node)
            if -len(elements) <= step < len(elements):
                yield from self._follow(elements[step], steps[1:])
                return
        raise UnreadableError(f"the body has nothing at {self._path}, where its records should be")


def _first(node: msgspec.Raw) -> bytes:
    return bytes(memoryview(node)[:1])
