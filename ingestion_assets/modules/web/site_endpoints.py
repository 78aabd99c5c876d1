"""Sites over HTTP: made, listed, read, switched on and off."""

from dataclasses import asdict
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, StrictBool
from starlette.responses import Response

from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.json_bodies import json_body
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.keys import KeyNameTakenError
from ingestion_assets.frontdoor.openapi import keyed_errors, schema_of, takes
from ingestion_assets.frontdoor.paging import NumberCursor, number_cursor, page
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.modules.settings import ModulesSettings
from ingestion_assets.modules.sites import create_site, list_sites, set_active
from ingestion_assets.modules.web import views
from ingestion_assets.modules.web.parameters import SECURED, Limit, SiteId
from ingestion_assets.modules.web.site_admission import no_site, site_to_read
from ingestion_assets.modules.webhook_addresses import ForbiddenAddressError, allowed_by, check_address
from ingestion_assets.settings import load_flow_settings
from ingestion_assets.stores.sealing import sealer

router = APIRouter()

Text = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")]


class NewSiteRequest(BaseModel):
    """A site to be made."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "Example Site", "url": "https://www.example.com"}}
    )

    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
    url: Text | None = None
    webhook_url: Text | None = Field(
        None,
        description="Called when a sync is done, in the format of Standard Webhooks. None in a private network, unless a setting allows it.",
        json_schema_extra={
            "pattern": r"^https?://([A-Za-z0-9-]+\.)*[A-Za-z0-9-]+(:[0-9]{1,5})?([/?]\S*)?$",
            "examples": ["https://example.com/hook"],
        },
    )


class SiteChange(BaseModel):
    """What is to be changed of a site."""

    model_config = ConfigDict(json_schema_extra={"example": {"active": False}})

    active: StrictBool


@router.post(
    "/sites",
    operation_id="createSite",
    summary="Create a site",
    description="Answers with the site's own API key, which is shown this once. Needs the scope `admin`.",
    status_code=201,
    response_model=views.NewSiteView,
    responses=keyed_errors(400, 408, 409, 413, 415),
    openapi_extra=takes(schema_of(NewSiteRequest)),
)
async def create(request: Request) -> Response:
    door = front_door(request)
    await door.authenticate(request, "admin")
    site = await json_body(request, NewSiteRequest)
    if site.webhook_url is not None:
        try:
            await check_address(site.webhook_url, allowed_by(load_flow_settings(ModulesSettings)))
        except ForbiddenAddressError as error:
            item = error_item("body", "webhook_url", msg=str(error), type="webhook_url")
            raise Problem(422, f"The webhook is not valid: {error}.", errors=[item]) from error
    try:
        made = await door.in_thread(
            lambda connection: create_site(
                connection,
                sealer=partial(sealer, door.settings),
                name=site.name,
                url=site.url,
                webhook_url=site.webhook_url,
            )
        )
    except KeyNameTakenError as error:
        raise Problem(409, f"The site's key cannot be made: {error}.") from error
    body = asdict(made.site) | {"api_key": made.api_key, "webhook_secret": made.webhook_secret}
    where = {"Location": f"/api/v1/sites/{made.site.id}"}
    return json_response(body, 201, headers=where)


@router.get(
    "/sites",
    operation_id="listSites",
    summary="List sites",
    description="Needs the scope `read` or `modules:*`.",
    response_model=views.SitePage,
    responses=keyed_errors(),
    openapi_extra=SECURED,
)
async def list_all(request: Request, limit: Limit = 50, cursor: NumberCursor = None) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read", "modules:*")
    after = number_cursor(cursor)
    found = await door.in_thread(lambda connection: list_sites(connection, after=after, limit=limit + 1))
    return page(found, limit=limit, position=lambda site: site.id)


@router.get(
    "/sites/{site_id}",
    operation_id="readSite",
    summary="Read a site",
    description="Needs the scope `modules:<site_id>` or `read`.",
    response_model=views.SiteView,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def read(request: Request, site_id: SiteId) -> Response:
    _, site = await site_to_read(request, site_id)
    return json_response(site)


@router.patch(
    "/sites/{site_id}",
    operation_id="changeSite",
    summary="Switch a site on or off",
    description="A site that is switched off takes no syncs; what is known of it stays. Needs the scope `admin`.",
    response_model=views.SiteView,
    responses=keyed_errors(400, 404, 408, 413, 415),
    openapi_extra=takes(schema_of(SiteChange)),
)
async def change(request: Request, site_id: SiteId) -> Response:
    door = front_door(request)
    await door.authenticate(request, "admin")
    change = await json_body(request, SiteChange)
    site = await door.in_thread(lambda connection: set_active(connection, site_id, active=change.active))
    if site is None:
        raise no_site()
    return json_response(site)
