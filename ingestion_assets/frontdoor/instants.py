"""Instants as query parameters: RFC 3339, so with an offset. Nobody is left to guess in which zone a time was meant."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

# The validating library takes numbers for times, too.
_NUMBER = re.compile(r"\s*[+-]?[\d._]+([eE][+-]?\d+)?\s*")


def _written_out(value: object) -> object:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        raise PydanticCustomError("datetime", "Input should be a time as in RFC 3339")
    return value


def _aware(value: datetime) -> datetime:
    if value.tzinfo is None:
        raise PydanticCustomError("timezone_aware", "the time needs a zone, such as Z")
    return value


Instant = Annotated[datetime, BeforeValidator(_written_out), AfterValidator(_aware)]
