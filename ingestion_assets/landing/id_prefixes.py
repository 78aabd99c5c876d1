"""Ids as people give them: whole, or the first digits, where only one begins so."""

from uuid import UUID

import sqlalchemy as sa

SHOWN = 5


class NoSuchIdError(LookupError):
    """No id begins so, or several do; says which, and how to go on."""


def whole_id(
    connection: sa.Connection, column: sa.Column[UUID], given: str, *, what: str, listed_by: str
) -> UUID:
    """The one id in `column` that begins with `given`. Raises `NoSuchIdError`."""
    digits = given.strip().lower().replace("-", "")
    if not digits or len(digits) > 32 or set(digits) - set("0123456789abcdef"):
        raise NoSuchIdError(
            f"{given!r} is no id of a {what}, nor the beginning of one; `{listed_by}` shows them."
        )
    first, last = UUID(digits.ljust(32, "0")), UUID(digits.ljust(32, "f"))
    found = list(
        connection.scalars(sa.select(column).where(column.between(first, last)).order_by(column).limit(SHOWN))
    )
    if not found:
        raise NoSuchIdError(f"There is no {what} {given}; `{listed_by}` shows them.")
    if len(found) > 1:
        more = " …" if len(found) == SHOWN else ""
        raise NoSuchIdError(
            f"Several ids of a {what} begin with {given}: {', '.join(map(str, found))}{more}. Give more digits."
        )
    return found[0]
