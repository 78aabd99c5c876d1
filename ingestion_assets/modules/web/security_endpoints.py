"""How sites stand, and which of them a security release concerns, over HTTP."""

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import keyed_errors
from ingestion_assets.frontdoor.paging import NumberAndTextCursor, number_and_text_cursor, page
from ingestion_assets.modules.inventory import core_of, modules_of
from ingestion_assets.modules.schema import CORE
from ingestion_assets.modules.security import sites_of_release
from ingestion_assets.modules.web import views
from ingestion_assets.modules.web.parameters import SECURED, Limit, SiteId
from ingestion_assets.modules.web.site_admission import site_to_read

router = APIRouter()

_ATTENTION = {"not_secure", "revoked", "unsupported", "unknown"}


@router.get(
    "/sites/{site_id}/security",
    operation_id="readSiteSecurity",
    summary="Read a site's security",
    description=(
        "How many modules need a security update, core among them, and which; what is not known is `unknown`, with the time of the "
        "feed's last good answer; what is kept from an answer before is `stale`. "
        "Needs the scope `modules:<site_id>` or `read`."
    ),
    response_model=views.SiteSecurityView,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def read_security(request: Request, site_id: SiteId) -> Response:
    door, _ = await site_to_read(request, site_id)
    found = await door.in_thread(lambda connection: modules_of(connection, site_id, removed=False))
    core = await door.in_thread(lambda connection: core_of(connection, site_id))
    words = [one["security"] for one in found]
    of_core = [one["security"] for one in found if one["project"] == CORE]
    counts, needed = (
        Counter(word["status"] for word in words),
        sum(bool(word["needs_security_update"]) for word in words),
    )
    # Core counts as one of its own where no module of it says the same.
    if core["status"] != "unknown" and core["status"] not in {word["status"] for word in of_core}:
        counts[core["status"]] += 1
    if core["needs_security_update"] and not any(word["needs_security_update"] for word in of_core):
        needed += 1
    answers = [word["feed_answered_at"] for word in (*words, core) if word["feed_answered_at"]]
    return json_response(
        {
            "site_id": site_id,
            "security_updates_found": needed,
            "counts": dict(counts),
            "core": core,
            "oldest_feed_answer": min(answers, default=None),
            "stale": sum(word["stale"] for word in words) + (core["stale"] and not of_core),
            "items": [
                one
                for one, word in zip(found, words, strict=True)
                if word["needs_security_update"] or word["status"] in _ATTENTION or word["stale"]
            ],
        }
    )


@router.get(
    "/security/releases/{module}/{version}/sites",
    operation_id="listSitesOfRelease",
    summary="List the sites that a security release concerns",
    description="Sites that lack this security release, or run it and it has become insecure. Needs the scope `read` or `modules:*`.",
    response_model=views.TouchedPage,
    responses=keyed_errors(),
    openapi_extra=SECURED,
)
async def list_touched(
    request: Request,
    module: Annotated[
        str,
        Path(pattern=r"^[a-z0-9_]{1,128}$", description="The project on drupal.org.", examples=["webform"]),
    ],
    version: Annotated[
        str, Path(max_length=255, pattern=r"^[^\x00]+$", description="The release.", examples=["6.2.9"])
    ],
    limit: Limit = 100,
    cursor: NumberAndTextCursor = None,
) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read", "modules:*")
    after = number_and_text_cursor(cursor)
    found = await door.in_thread(
        lambda connection: sites_of_release(connection, module, version, after=after, limit=limit + 1)
    )
    return page(found, limit=limit, position=lambda one: (one["site_id"], one["machine_name"]))
