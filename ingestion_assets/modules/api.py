"""The modules flow over HTTP: sites, their syncs, what runs on them and whether that is secure."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from ingestion_assets.frontdoor.cursors import decode_cursor, encode_cursor, id_cursor
from ingestion_assets.frontdoor.door import FrontDoor, front_door, ledger_needed
from ingestion_assets.frontdoor.openapi import SECURITY, header_parameter, keyed_errors
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.receipt_view import ReceiptView, receipt_json
from ingestion_assets.frontdoor.receipts import json_response
from ingestion_assets.frontdoor.receiving import (
    Arrival,
    intake_refusals,
    outcome_response,
    receipt_url,
    take_in,
    waiting_for,
)
from ingestion_assets.frontdoor.waiting import TERMINAL
from ingestion_assets.landing import ledger
from ingestion_assets.landing.drops import NewDrop
from ingestion_assets.landing.holding import let_go
from ingestion_assets.modules import inventory, security, views
from ingestion_assets.modules.advice import advise
from ingestion_assets.modules.attempts import attempts_of
from ingestion_assets.modules.desk import attempt_of, desk, now, outcome_word
from ingestion_assets.modules.flow import NAME
from ingestion_assets.modules.schema import ModuleSyncRequest, RequestError, SyncResponse, decode_request
from ingestion_assets.modules.sites import Site, create_site, get_site, list_sites, scope, set_active
from ingestion_assets.modules.webhooks import ForbiddenAddressError, check_url

router = APIRouter(prefix="/api/v1", tags=[NAME])

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
Cursor = Annotated[str | None, Query(max_length=400, description="`next` of the page before.")]
_SECURED: dict[str, Any] = {"security": SECURITY}
_PREFER = header_parameter(
    "Prefer", "`respond-async` answers with the receipt at once; `wait=N` waits at most N seconds (RFC 7240).", "wait=10"
)  # fmt: skip


def _request_schema() -> dict[str, Any]:
    schema = ModuleSyncRequest.model_json_schema()
    schema["properties"]["modules"]["items"] = schema.pop("$defs")["ModuleInfo"]
    return schema


_SYNC_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": SyncResponse, "description": "Applied, or recorded as stale; the result."},
    202: {
        "model": ReceiptView,
        "description": "On durable storage, the outcome is still to come, or the sync is held; the receipt.",
    },
}


class NewSiteRequest(BaseModel):
    """A site to be made."""

    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
    url: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")] | None = None
    webhook_url: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")] | None = Field(
        None, description="Called when a sync is done; see the documentation for its signature."
    )


class SiteChange(BaseModel):
    """What is to be changed of a site."""

    active: bool


@router.post(
    "/sites",
    summary="Create a site",
    description="Answers with the site's own API key, which is shown this once. Needs the scope `admin`.",
    status_code=201,
    response_model=views.NewSiteView,
    responses=keyed_errors(400),
    openapi_extra=_SECURED,
)
async def create(request: Request, site: NewSiteRequest) -> Response:
    door = front_door(request)
    await door.authenticate(request, "admin")
    if site.webhook_url is not None:
        try:
            check_url(site.webhook_url)
        except ForbiddenAddressError as error:
            item = error_item("body", "webhook_url", msg=str(error), type="webhook_url")
            raise Problem(422, f"The webhook is not valid: {error}.", errors=[item]) from error
    made = await door.in_thread(
        lambda connection: create_site(connection, name=site.name, url=site.url, webhook_url=site.webhook_url)
    )
    body = _site(made.site) | {"api_key": made.api_key, "webhook_secret": made.webhook_secret}
    return Response(
        msgspec.json.encode(body),
        201,
        media_type="application/json",
        headers={"Location": f"/api/v1/sites/{made.site.id}"},
    )


@router.get(
    "/sites",
    summary="List sites",
    description="Needs the scope `read` or `modules:*`.",
    response_model=views.SitePage,
    responses=keyed_errors(),
    openapi_extra=_SECURED,
)
async def list_all(request: Request, limit: Limit = 50, cursor: Cursor = None) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read", "modules:*")
    after = _number(cursor)
    found = await door.in_thread(lambda connection: list_sites(connection, after=after, limit=limit + 1))
    following = found[limit - 1].id if len(found) > limit else None
    return json_response({"items": [_site(one) for one in found[:limit]], "next": encode_cursor(following)})


@router.get(
    "/sites/{site_id}",
    summary="Read a site",
    description="Needs the scope `modules:<site_id>` or `read`.",
    response_model=views.SiteView,
    responses=keyed_errors(404),
    openapi_extra=_SECURED,
)
async def read(request: Request, site_id: SiteId) -> Response:
    door = await _reader(request, site_id)
    return json_response(_site(await _existing(door, site_id)))


@router.patch(
    "/sites/{site_id}",
    summary="Switch a site on or off",
    description="A site that is switched off takes no syncs; what is known of it stays. Needs the scope `admin`.",
    response_model=views.SiteView,
    responses=keyed_errors(400, 404),
    openapi_extra=_SECURED,
)
async def change(request: Request, site_id: SiteId, change: SiteChange) -> Response:
    door = front_door(request)
    await door.authenticate(request, "admin")
    site = await door.in_thread(lambda connection: set_active(connection, site_id, active=change.active))
    if site is None:
        raise _no_site()
    return json_response(_site(site))


@router.post(
    "/sites/{site_id}/modules/sync",
    summary="Synchronize a site's modules",
    description=(
        "Compares what the site reports with what is known of it. A `full` sync marks what it does not name as removed; one that would "
        "remove more than half of the modules (at least ten) is held with 202 until it is confirmed. Needs the scope `modules:<site_id>`. "
        "60 syncs an hour and site."
    ),
    response_model=SyncResponse,
    responses=keyed_errors(400, 404, 408, 413, 415) | _SYNC_ANSWERS,
    openapi_extra=_SECURED
    | {
        "parameters": [
            _PREFER,
            header_parameter(
                "Idempotency-Key", "The same key with the same body gives the same receipt, never a second sync.",
                "8e03978e-40d5-43dd-bc93-6894a57f9324", minLength=1, maxLength=255, pattern=r"^[!-~]+$",
            ),
        ],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _request_schema()}}},
    },
)  # fmt: skip
async def sync(
    request: Request,
    site_id: SiteId,
    confirm_removals: Annotated[bool, Query(description="Remove modules however many they are.")] = False,
) -> Response:
    door, started, size = front_door(request), now(), None
    at_desk = desk(door)
    status, detail, receipt = 500, None, None

    def make_drop(arrival: Arrival, body: bytes) -> NewDrop:
        nonlocal size
        size = len(body)
        door.bodies.check_depth(body)
        return _drop(
            arrival, body, site_id=site_id, confirmed=confirm_removals, next_sync_after=next_sync_after
        )

    try:
        await door.authenticate(request, scope(site_id))
        await at_desk.require_active(site_id)
        verdict = await at_desk.limit(site_id)
        next_sync_after = started + timedelta(seconds=verdict.next_after_s or 0.0)
        response = await take_in(
            request,
            scopes=(scope(site_id),),
            make_drop=make_drop,
            at_once_above=door.settings.sync_queue_threshold,
        )
        replayed = response.headers.get("Idempotent-Replayed") == "true"
        status = response.status_code
        receipt = None if replayed else response.headers.get("X-Receipt-Id")
        detail = f"replay of {response.headers.get('X-Receipt-Id')}" if replayed else None
        return response
    except Problem as problem:
        status, detail = problem.status, problem.detail
        raise
    except ClientDisconnect:
        status = 499
        raise
    finally:
        attempt = attempt_of(
            request,
            site_id=site_id,
            at=started,
            via="http",
            status=status,
            outcome=outcome_word(status),
            size=size,
            detail=detail,
        )
        await at_desk.note(replace(attempt, receipt=UUID(receipt) if receipt else None))


@router.get(
    "/sites/{site_id}/modules",
    summary="List a site's modules",
    description=(
        "What is installed, with what is known of its security. `as_of`: what ran on the site then, as it is known now. Needs the scope "
        "`modules:<site_id>` or `read`."
    ),
    response_model=views.ModulePage,
    responses=keyed_errors(404),
    openapi_extra=_SECURED,
)  # fmt: skip
async def list_modules(
    request: Request,
    site_id: SiteId,
    as_of: Annotated[datetime | None, Query(description="An instant (RFC 3339).")] = None,
    removed: Annotated[
        bool | None, Query(description="Also modules that were removed; by default unless `as_of` is given.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=2000, description="Most items in one page.")] = 2000,
    cursor: Cursor = None,
) -> Response:
    door = await _reader(request, site_id)
    instant, after = _aware(as_of), decode_cursor(cursor)
    await _existing(door, site_id)
    found = await door.in_thread(
        lambda connection: inventory.modules_of(
            connection,
            site_id,
            as_of=instant,
            removed=instant is None if removed is None else removed,
            after=after or "",
            limit=limit + 1,
        )
    )
    following = found[limit - 1]["machine_name"] if len(found) > limit else None
    return json_response({"items": found[:limit], "next": encode_cursor(following)})


@router.get(
    "/sites/{site_id}/modules/{machine_name}/history",
    summary="Read a module's history",
    description="Every change of its version or enabled state, oldest first. Needs the scope `modules:<site_id>` or `read`.",
    response_model=views.ChangePage,
    responses=keyed_errors(404),
    openapi_extra=_SECURED,
)
async def read_history(
    request: Request,
    site_id: SiteId,
    machine_name: Annotated[
        str, Path(max_length=255, pattern=r"^[^\x00]+$", description="The module.", examples=["token"])
    ],
    limit: Limit = 500,
    cursor: Cursor = None,
) -> Response:
    door = await _reader(request, site_id)
    after = _number(cursor)
    await _existing(door, site_id)
    found = await door.in_thread(
        lambda connection: inventory.history_of(
            connection, site_id, machine_name, after=after, limit=limit + 1
        )
    )
    if not found and not after:
        raise Problem(404, "The site never had such a module.")
    following = found[limit - 1]["sequence"] if len(found) > limit else None
    items = [
        {key: value for key, value in one.items() if key != "sequence"}
        | {"sync_id": f"sync_{one['sync_id']}"}
        for one in found[:limit]
    ]
    return json_response({"items": items, "next": encode_cursor(following)})


@router.get(
    "/sites/{site_id}/security",
    summary="Read a site's security",
    description=(
        "How many modules need a security update, and which; what is not known is `unknown`, with the time of the feed's last answer. "
        "Needs the scope `modules:<site_id>` or `read`."
    ),
    response_model=views.SiteSecurityView,
    responses=keyed_errors(404),
    openapi_extra=_SECURED,
)
async def read_security(request: Request, site_id: SiteId) -> Response:
    door = await _reader(request, site_id)
    site = await _existing(door, site_id)
    found = await door.in_thread(lambda connection: inventory.modules_of(connection, site_id, removed=False))
    histories = await door.in_thread(lambda connection: security.known_histories(connection, ["drupal"]))
    core = advise(site.drupal_version or "", histories.get("drupal"))
    answers = [one["security"]["feed_answered_at"] for one in found if one["security"]["feed_answered_at"]]
    attention = {"not_secure", "revoked", "unsupported", "unknown"}
    return json_response(
        {
            "site_id": site_id,
            "security_updates_found": sum(bool(one["security"]["needs_security_update"]) for one in found),
            "counts": dict(Counter(one["security"]["status"] for one in found)),
            "core": {
                "status": core.status,
                "needs_security_update": core.needs_security_update,
                "recommended": core.recommended,
                "security_updates": core.security_updates,
                "reason": core.reason,
                "feed_answered_at": next(
                    (o["security"]["feed_answered_at"] for o in found if o["project"] == "drupal"), None
                ),
            },
            "oldest_feed_answer": min(answers, default=None),
            "items": [
                one
                for one in found
                if one["security"]["needs_security_update"] or one["security"]["status"] in attention
            ],
        }
    )


@router.get(
    "/sites/{site_id}/syncs",
    summary="List a site's syncs",
    description="Who sent what, when, from where, and what it changed; newest first. Needs the scope `modules:<site_id>` or `read`.",
    response_model=views.SyncPage,
    responses=keyed_errors(404),
    openapi_extra=_SECURED,
)
async def list_syncs(request: Request, site_id: SiteId, limit: Limit = 50, cursor: Cursor = None) -> Response:
    door = await _reader(request, site_id)
    position = id_cursor(cursor)
    await _existing(door, site_id)
    found = await door.in_thread(
        lambda connection: inventory.syncs_of(
            connection, site_id, before=UUID(position) if position else None, limit=limit + 1
        )
    )
    following = found[limit - 1].id if len(found) > limit else None
    return json_response({"items": [_sync(one) for one in found[:limit]], "next": encode_cursor(following)})


@router.post(
    "/sites/{site_id}/syncs/{sync_id}/confirm",
    summary="Confirm a held sync",
    description="Lets a sync go on that would remove many modules. Needs the scope `modules:<site_id>`.",
    response_model=SyncResponse,
    responses=keyed_errors(404, 409) | _SYNC_ANSWERS,
    openapi_extra=_SECURED | {"parameters": [_PREFER]},
)
async def confirm(request: Request, site_id: SiteId, sync_id: SyncId) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request, scope(site_id))
    drop_id = await _own_sync(door, site_id, sync_id)
    attributes = {"confirm_removals": "true", "confirmed_by": principal.name}
    went = await door.in_thread(
        lambda connection: let_go(connection, drop_id, flow=NAME, attributes=attributes)
    )
    if not went:
        raise Problem(409, "The sync is not held.")
    return await _outcome(door, request, drop_id)


@router.post(
    "/sites/{site_id}/syncs/{sync_id}/revert",
    summary="Undo a sync",
    description="Applies the inventory from right before the sync, as a new sync. Needs the scope `modules:<site_id>`.",
    response_model=SyncResponse,
    responses=keyed_errors(404, 409) | _SYNC_ANSWERS,
    openapi_extra=_SECURED | {"parameters": [_PREFER]},
)
async def revert(request: Request, site_id: SiteId, sync_id: SyncId) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request, scope(site_id))
    drop_id = await _own_sync(door, site_id, sync_id)
    site = await _existing(door, site_id)
    before = await door.in_thread(lambda connection: inventory.inventory_before(connection, site_id, drop_id))
    if before is None:
        raise Problem(409, "The sync was not applied, so there is nothing to undo.")
    body = {
        "site_info": {**(site.site_info or {}), "reverts": f"sync_{drop_id}"},
        "modules": before,
        "sync_timestamp": max(now(), site.snapshot_at or now()),
        "drupal_version": site.drupal_version,
        "php_version": site.php_version,
        "sync_type": "full",
    }
    client = request.scope.get("client")
    attributes = {"via": "revert", "reverts": str(drop_id)} | (
        {"remote_address": client[0]} if client else {}
    )
    encoded = msgspec.json.encode(body)
    drop = _site_drop(
        site_id,
        body=encoded,
        records=len(before),
        principal=principal.name,
        idempotency_key=None,
        attributes=attributes,
    )
    with intake_refusals():
        accepted = await door.intake.accept(drop)
    return await _outcome(door, request, accepted.id)


@router.get(
    "/sites/{site_id}/attempts",
    summary="List attempts to sync a site",
    description="Every attempt, refused ones included: who, when, from where, how large, what came of it. Needs the scope `read`.",
    response_model=views.AttemptPage,
    responses=keyed_errors(),
    openapi_extra=_SECURED,
)
async def list_attempts(
    request: Request, site_id: SiteId, limit: Limit = 50, cursor: Cursor = None
) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read")
    position = id_cursor(cursor)
    found = await door.in_thread(
        lambda connection: attempts_of(
            connection, site_id, before=UUID(position) if position else None, limit=limit + 1
        )
    )
    following = found[limit - 1]["id"] if len(found) > limit else None
    items = [{key: value for key, value in one.items() if key != "site_id"} for one in found[:limit]]
    return json_response({"items": items, "next": encode_cursor(following)})


@router.get(
    "/security/releases/{module}/{version}/sites",
    summary="List the sites that a security release concerns",
    description="Sites that lack this security release, or run it and it has become insecure. Needs the scope `read` or `modules:*`.",
    response_model=views.TouchedPage,
    responses=keyed_errors(),
    openapi_extra=_SECURED,
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
    cursor: Cursor = None,
) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read", "modules:*")
    after = _site_and_module(cursor)
    found = await door.in_thread(
        lambda connection: security.sites_of_release(
            connection, module, version, after=after, limit=limit + 1
        )
    )
    following = None
    if len(found) > limit:
        following = f"{found[limit - 1]['site_id']}/{found[limit - 1]['machine_name']}"
    return json_response({"items": found[:limit], "next": encode_cursor(following)})


def _drop(
    arrival: Arrival,
    body: bytes,
    *,
    site_id: int,
    confirmed: bool,
    next_sync_after: datetime,
) -> NewDrop:
    try:
        read = decode_request(body, now=now())
    except RequestError as error:
        raise Problem(400 if error.malformed else 422, str(error), errors=error.errors) from error
    attributes = {**arrival.attributes, "via": "http", "next_sync_after": next_sync_after.isoformat()}
    if confirmed:
        attributes["confirm_removals"] = "true"
    return _site_drop(
        site_id, body=body, records=len(read.modules), principal=arrival.principal.name,
        idempotency_key=arrival.idempotency_key, attributes=attributes,
    )  # fmt: skip


def _site_drop(
    site_id: int,
    *,
    body: bytes,
    records: int,
    principal: str,
    idempotency_key: str | None,
    attributes: dict[str, str],
) -> NewDrop:
    site = str(site_id)
    return NewDrop(
        flow=NAME, partition=site, lane=site, subject=site, principal=principal, body=body, records=records,
        idempotency_key=idempotency_key, attributes=attributes,
    )  # fmt: skip


async def _outcome(door: FrontDoor, request: Request, drop_id: UUID) -> Response:
    waiting = waiting_for(request)
    headers = {"X-Receipt-Id": str(drop_id)} | (
        {"Preference-Applied": waiting.applied} if waiting.applied else {}
    )
    outcome = None
    if waiting.seconds > 0:
        outcome = await door.finished.outcome(drop_id, timeout_s=waiting.seconds, known=True)
    if outcome is None:
        async with ledger_needed():
            outcome = await ledger.receipt(door.async_engine, drop_id)
    if outcome is not None and outcome.state in TERMINAL:
        return outcome_response(door, outcome, headers)
    headers["Location"] = receipt_url(drop_id)
    view = (
        receipt_json(outcome, dagster_url=door.settings.dagster_url)
        if outcome
        else {"id": drop_id, "state": "landed"}
    )
    return Response(msgspec.json.encode(view), 202, media_type="application/json", headers=headers)


async def _reader(request: Request, site_id: int) -> FrontDoor:
    door = front_door(request)
    await door.authenticate(request, scope(site_id), "read")
    return door


async def _existing(door: FrontDoor, site_id: int) -> Site:
    site = await door.in_thread(lambda connection: get_site(connection, site_id))
    if site is None:
        raise _no_site()
    return site


def _no_site() -> Problem:
    return Problem(404, "There is no such site.")


async def _own_sync(door: FrontDoor, site_id: int, sync_id: str) -> UUID:
    drop_id = UUID(sync_id.removeprefix("sync_"))
    async with ledger_needed():
        receipt = await ledger.receipt(door.async_engine, drop_id)
    if receipt is None or receipt.flow != NAME or receipt.partition != str(site_id):
        raise Problem(404, "There is no such sync of this site.")
    return drop_id


def _site(site: Site) -> dict[str, Any]:
    return {name: getattr(site, name) for name in Site.__dataclass_fields__}


def _sync(row: Any) -> dict[str, Any]:
    return {
        "sync_id": f"sync_{row.id}",
        "state": row.state,
        "sync_type": row.sync_type,
        "snapshot_at": row.snapshot_at,
        "received_at": row.received_at,
        "applied_at": row.applied_at,
        "principal": row.principal,
        "remote_address": row.attributes.get("remote_address"),
        "user_agent": row.attributes.get("user_agent"),
        "via": row.attributes.get("via", "http"),
        "modules": row.modules,
        "counts": row.counts,
        "result": row.result,
        "receipt_url": receipt_url(row.id),
    }


def _aware(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _number(cursor: str | None) -> int:
    text = decode_cursor(cursor) or "0"
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise _bad_cursor()
    return int(text)


def _site_and_module(cursor: str | None) -> tuple[int, str]:
    site, _, module = (decode_cursor(cursor) or "0/").partition("/")
    if not site.isascii() or not site.isdigit() or len(site) > 18:
        raise _bad_cursor()
    return int(site), module


def _bad_cursor() -> Problem:
    item = error_item("query", "cursor", msg="not a cursor of this list", type="cursor")
    return Problem(422, "The cursor is not one that this list gave out.", errors=[item])
