"""What runs on a site, and how each module came to be what it is, over HTTP."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from ingestion_assets.frontdoor.instants import Instant
from ingestion_assets.frontdoor.openapi import keyed_errors
from ingestion_assets.frontdoor.paging import NumberCursor, TextCursor, number_cursor, page, text_cursor
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.modules.inventory import history_of, modules_of
from ingestion_assets.modules.web import views
from ingestion_assets.modules.web.parameters import SECURED, Limit, SiteId
from ingestion_assets.modules.web.site_admission import site_to_read

router = APIRouter()


@router.get(
    "/sites/{site_id}/modules",
    operation_id="listModules",
    summary="List a site's modules",
    description=(
        "What is installed, with what is known of its security. `as_of`: what ran on the site then, as it is known now. Needs the scope "
        "`modules:<site_id>` or `read`."
    ),
    response_model=views.ModulePage,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)  # fmt: skip
async def list_modules(
    request: Request,
    site_id: SiteId,
    as_of: Annotated[Instant | None, Query(description="An instant (RFC 3339).")] = None,
    removed: Annotated[
        bool | None, Query(description="Also modules that were removed; by default unless `as_of` is given.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=2000, description="Most items in one page.")] = 2000,
    cursor: TextCursor = None,
) -> Response:
    door, _ = await site_to_read(request, site_id)
    after = text_cursor(cursor)
    also_removed = as_of is None if removed is None else removed
    found = await door.in_thread(
        lambda connection: modules_of(
            connection, site_id, as_of=as_of, removed=also_removed, after=after, limit=limit + 1
        )
    )
    return page(found, limit=limit, position=lambda one: one["machine_name"])


@router.get(
    "/sites/{site_id}/modules/{machine_name}/history",
    operation_id="readModuleHistory",
    summary="Read a module's history",
    description="Every change of its version or enabled state, oldest first. Needs the scope `modules:<site_id>` or `read`.",
    response_model=views.ChangePage,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def read_history(
    request: Request,
    site_id: SiteId,
    machine_name: Annotated[
        str, Path(max_length=255, pattern=r"^[^\x00]+$", description="The module.", examples=["token"])
    ],
    limit: Limit = 500,
    cursor: NumberCursor = None,
) -> Response:
    door, _ = await site_to_read(request, site_id)
    after = number_cursor(cursor)
    found = await door.in_thread(
        lambda connection: history_of(connection, site_id, machine_name, after=after, limit=limit + 1)
    )
    if not found and not after:
        raise Problem(404, "The site never had such a module.")
    return page(found, limit=limit, position=lambda one: one["sequence"], item=_change)


def _change(row: dict[str, Any]) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name != "sequence"}
    return shown | {"sync_id": f"sync_{row['sync_id']}"}
