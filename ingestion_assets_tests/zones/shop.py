"""Types of records, three ways: what a user's project would have."""

import enum
import json
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import msgspec
import pydantic


class Channel(enum.Enum):
    WEB = "web"
    SHOP = "shop"


class Line(pydantic.BaseModel):
    sku: str
    price: Decimal


class Order(pydantic.BaseModel):
    id: str = pydantic.Field(max_length=5000)
    number: int
    total: Decimal
    weight: float = 0.0
    paid: bool = False
    at: datetime | None = None
    day: date | None = None
    token: UUID | None = None
    channel: Channel = Channel.WEB
    kind: Literal["order", "return"] = "order"
    lines: list[Line] | None = None
    extra: Any = None

    @pydantic.field_validator("number")
    @classmethod
    def _no_thirteen(cls, number: int) -> int:
        if number == 13:
            raise ValueError(f"thirteen is not taken: {number}")
        return number


class LineStruct(msgspec.Struct):
    sku: str
    price: Decimal


class OrderStruct(msgspec.Struct):
    id: str
    number: int
    total: Decimal
    weight: float = 0.0
    paid: bool = False
    at: datetime | None = None
    day: date | None = None
    token: UUID | None = None
    channel: Channel = Channel.WEB
    kind: Literal["order", "return"] = "order"
    lines: list[LineStruct] | None = None
    extra: Any = None

    def __post_init__(self) -> None:
        if self.number == 13:
            raise ValueError(f"thirteen is not taken: {self.number}")


ORDER_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["id", "number", "total"],
    "properties": {
        "id": {"type": "string"},
        "number": {"type": "integer", "not": {"const": 13}},
        "total": {"type": "number"},
        "weight": {"type": "number", "default": 0},
        "paid": {"type": "boolean"},
        "at": {"type": ["string", "null"], "format": "date-time"},
        "day": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        "token": {"type": "string", "format": "uuid"},
        "channel": {"$ref": "#/$defs/Channel"},
        "kind": {"type": "string", "enum": ["order", "return"]},
        "lines": {"type": ["array", "null"], "items": {"$ref": "#/$defs/Line"}},
        "extra": {},
    },
    "$defs": {
        "Channel": {"enum": ["web", "shop"]},
        "Line": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}},
    },
}


def order_schema_in(folder: Path) -> str:
    """The name of the file in the folder."""
    (folder / "order.schema.json").write_text(json.dumps(ORDER_SCHEMA), encoding="utf-8")
    return "order.schema.json"
