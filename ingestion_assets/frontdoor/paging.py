"""Pages of lists, and the cursors that lead from one to the next: opaque to clients, checked when they come back.

Whatever has a cursor's form is a place in its list, so that the API document can say which texts are taken.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Query
from starlette.responses import Response

from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.problems import Problem, error_item

NUMBER_BYTES = 6
LONG = 24_000
"""Room for a path of 4,096 characters, whatever they are, and what stands before it."""
TIME_BYTES = 8
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_ID = r"^[A-Za-z0-9_-]{22}$"
_NUMBER = r"^[A-Za-z0-9_-]{8}$"
_TEXT = r"^([A-Za-z0-9_-]{4})*([A-Za-z0-9_-]{2,4})$"
_ID_AND_TEXTS = r"^[A-Za-z0-9_-]{20}([A-Za-z0-9_-]{4})*([A-Za-z0-9_-]{2,4})$"
_ID_AND_TIME = r"^[A-Za-z0-9_-]{32}$"
_NUMBER_AND_TEXT = r"^[A-Za-z0-9_-]{8}([A-Za-z0-9_-]{4})*([A-Za-z0-9_-]{2,4})$"
_WHAT = "`next` of the page before."

IdCursor = Annotated[str | None, Query(max_length=22, description=_WHAT, json_schema_extra={"pattern": _ID})]
NumberCursor = Annotated[
    str | None, Query(max_length=8, description=_WHAT, json_schema_extra={"pattern": _NUMBER})
]
TextCursor = Annotated[
    str | None, Query(max_length=LONG, description=_WHAT, json_schema_extra={"pattern": _TEXT})
]
"""Of lists by names and paths, which may be long."""
PlaceCursor = Annotated[
    str | None, Query(max_length=LONG, description=_WHAT, json_schema_extra={"pattern": _NUMBER_AND_TEXT})
]
"""Of lists by paths and ids of files."""
IdAndPathCursor = Annotated[
    str | None, Query(max_length=LONG, description=_WHAT, json_schema_extra={"pattern": _ID_AND_TEXTS})
]
NumberAndTextCursor = Annotated[
    str | None, Query(max_length=2000, description=_WHAT, json_schema_extra={"pattern": _NUMBER_AND_TEXT})
]

IdAndTextsCursor = Annotated[
    str | None, Query(max_length=4000, description=_WHAT, json_schema_extra={"pattern": _ID_AND_TEXTS})
]

IdAndTimeCursor = Annotated[
    str | None, Query(max_length=32, description=_WHAT, json_schema_extra={"pattern": _ID_AND_TIME})
]

Row = TypeVar("Row")
Position = (
    UUID | int | str | tuple[int, str] | tuple[UUID, str] | tuple[UUID, str, str, str] | tuple[UUID, datetime]
)


def listed(items: Sequence[object], following: Position | None) -> Response:
    """One page of a list; `following`: what the next page comes after, None at the end."""
    return json_response({"items": items, "next": encode_cursor(following)})


def page(
    found: Sequence[Row],
    *,
    limit: int,
    position: Callable[[Row], Position],
    item: Callable[[Row], object] = lambda row: row,
) -> Response:
    """One page of a list. `found`: one more than `limit` where there is more; `position`: what the next page comes after."""
    following = position(found[limit - 1]) if len(found) > limit else None
    return listed([item(one) for one in found[:limit]], following)


def encode_cursor(position: Position | None) -> str | None:
    """The cursor for a position, None at the end of a list."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(_bytes(position)).decode().rstrip("=")


def _bytes(position: Position) -> bytes:
    if isinstance(position, UUID):
        return position.bytes
    if isinstance(position, int):
        return position.to_bytes(NUMBER_BYTES)
    if isinstance(position, str):
        return position.encode()
    first, *others = position
    return _bytes(first) + b"\0".join(map(_part, others))


def _part(of: str | datetime) -> bytes:
    if isinstance(of, datetime):
        return ((of - _EPOCH) // _MICROSECOND).to_bytes(TIME_BYTES)
    return of.encode()


def id_cursor(cursor: str | None) -> str | None:
    """The id a cursor stands for. Raises `Problem` 422."""
    if cursor is None:
        return None
    decoded = _decode(cursor)
    if len(decoded) != 16:
        raise _invalid()
    return str(UUID(bytes=decoded))


def number_cursor(cursor: str | None) -> int:
    """The number a cursor stands for, 0 for none. Raises `Problem` 422."""
    if cursor is None:
        return 0
    decoded = _decode(cursor)
    if len(decoded) != NUMBER_BYTES:
        raise _invalid()
    return int.from_bytes(decoded)


def text_cursor(cursor: str | None) -> str:
    """The text a cursor stands for, empty for none. Raises `Problem` 422."""
    if cursor is None:
        return ""
    if not cursor:
        raise _invalid()
    return _text(_decode(cursor))


def number_and_text_cursor(cursor: str | None) -> tuple[int, str]:
    """The number and the text that a cursor stands for. Raises `Problem` 422."""
    if cursor is None:
        return 0, ""
    decoded = _decode(cursor)
    if len(decoded) <= NUMBER_BYTES:
        raise _invalid()
    return int.from_bytes(decoded[:NUMBER_BYTES]), _text(decoded[NUMBER_BYTES:])


def id_and_text_cursor(cursor: str | None) -> tuple[UUID, str] | None:
    """The id and the text that a cursor stands for. Raises `Problem` 422."""
    if cursor is None:
        return None
    decoded = _decode(cursor)
    if len(decoded) < 16:
        raise _invalid()
    return UUID(bytes=decoded[:16]), _text(decoded[16:])


def id_and_texts_cursor(cursor: str | None) -> tuple[UUID, str, str, str] | None:
    """The id and the texts that a cursor stands for. Raises `Problem` 422."""
    if cursor is None:
        return None
    decoded = _decode(cursor)
    if len(decoded) < 16:
        raise _invalid()
    first, second, third = [*decoded[16:].decode(errors="replace").split("\0"), "", ""][:3]
    return UUID(bytes=decoded[:16]), first, second, third


def id_and_time_cursor(cursor: str | None) -> tuple[UUID, datetime] | None:
    """The id and the time that a cursor stands for. Raises `Problem` 422."""
    if cursor is None:
        return None
    decoded = _decode(cursor)
    if len(decoded) != 16 + TIME_BYTES:
        raise _invalid()
    return UUID(bytes=decoded[:16]), _EPOCH + min(int.from_bytes(decoded[16:]), _LAST) * _MICROSECOND


def _text(decoded: bytes) -> str:
    return decoded.decode(errors="replace").replace("\0", "\ufffd")


def _decode(cursor: str) -> bytes:
    if set(cursor) & {"+", "/"}:  # of the other alphabet, which Python takes too
        raise _invalid()
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise _invalid() from None


def _invalid() -> Problem:
    item = error_item("query", "cursor", msg="not a cursor of this list", type="cursor")
    return Problem(422, "The cursor is not one that this list gave out.", errors=[item])
