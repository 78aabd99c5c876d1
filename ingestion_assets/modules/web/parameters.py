"""Parameters of the flow's endpoints: which site, which sync, which page of a list."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import Path, Query
from starlette.responses import Response

from ingestion_assets.frontdoor.cursors import Position, encode_cursor
from ingestion_assets.frontdoor.openapi import SECURITY, header_parameter
from ingestion_assets.frontdoor.receipts import json_response

Row = TypeVar("Row")

SiteId = Annotated[int, Path(ge=1, le=2**63 - 1, description="The site.", examples=[1])]
SyncId = Annotated[
    str,
    Path(
        pattern=r"^(sync_)?[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$",
        description="The sync.",
        examples=["sync_0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f"],
    ),
]
Limit = Annotated[int, Query(ge=1, le=500, description="Most items in one page.")]
PREFER = header_parameter(
    "Prefer", "`respond-async` answers with the receipt at once; `wait=N` waits at most N seconds (RFC 7240).", "wait=10"
)  # fmt: skip
SECURED: dict[str, Any] = {"security": SECURITY}


def page(
    found: Sequence[Row],
    *,
    limit: int,
    position: Callable[[Row], Position],
    item: Callable[[Row], object] = lambda row: row,
) -> Response:
    """One page of a list. `found`: one more than `limit` where there is more; `position`: what the next page comes after."""
    following = position(found[limit - 1]) if len(found) > limit else None
    return json_response({"items": [item(one) for one in found[:limit]], "next": encode_cursor(following)})


def aware(moment: datetime | None) -> datetime | None:
    """An instant given without a zone is taken as UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment
