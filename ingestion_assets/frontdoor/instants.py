"""Instants as query parameters: RFC 3339, not the numbers that the validating library would take for times, too."""

import re
from datetime import datetime
from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

_NUMBER = re.compile(r"\s*[+-]?[\d._]+([eE][+-]?\d+)?\s*")


def _written_out(value: object) -> object:
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        raise PydanticCustomError("datetime", "Input should be a time as in RFC 3339")
    return value


Instant = Annotated[datetime, BeforeValidator(_written_out)]
