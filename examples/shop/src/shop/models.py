"""What comes in."""

from datetime import datetime
from decimal import Decimal

import msgspec
from pydantic import BaseModel, Field


class Order(BaseModel):
    """An order as the shop's till reports it."""

    id: str = Field(min_length=1)
    customer: str
    amount: Decimal = Field(ge=0)
    currency: str = Field("EUR", pattern="^[A-Z]{3}$")
    updated_at: datetime


class Visit(msgspec.Struct):
    """A page that somebody looked at."""

    id: str
    page: str
    at: datetime
    seconds: float = 0.0
