"""Syncs of a site over HTTP: sent, listed, confirmed, undone; and the audit of every attempt."""

from datetime import timedelta
from typing import Annotated, Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ingestion_assets.frontdoor.answers import LandedResponse, outcome_or_receipt, waiting_for
from ingestion_assets.frontdoor.door import FrontDoor, front_door, ledger_needed
from ingestion_assets.frontdoor.intake_refusals import intake_refusals
from ingestion_assets.frontdoor.openapi import (
    IDEMPOTENCY_KEY,
    PREFER,
    keyed_errors,
    outcome,
    receipt_to_come,
    schema_of,
    secured,
    takes,
)
from ingestion_assets.frontdoor.paging import IdCursor, id_cursor, page
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.receipt_view import receipt_url
from ingestion_assets.frontdoor.receiving import Arrival, let_in, take
from ingestion_assets.frontdoor.request_headers import JSON
from ingestion_assets.landing.drops import NewDrop, Receipt
from ingestion_assets.landing.holding import let_go
from ingestion_assets.modules.attempts import attempts_of
from ingestion_assets.modules.flow import NAME, site_drop
from ingestion_assets.modules.inventory import inventory_before, syncs_of
from ingestion_assets.modules.schema import ModuleSyncRequest, RequestError, SyncResponse, decode_request
from ingestion_assets.modules.settings import ModulesSettings
from ingestion_assets.modules.sites import scope
from ingestion_assets.modules.web import views
from ingestion_assets.modules.web.audit import AuditedRoute, attempted_by
from ingestion_assets.modules.web.parameters import SECURED, Limit, SiteId, SyncId
from ingestion_assets.modules.web.site_admission import admission, existing_site, site_to_read
from ingestion_assets.settings import load_flow_settings

router = APIRouter()
audited = APIRouter(route_class=AuditedRoute)


_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: outcome("Applied, or superseded by a newer snapshot; the result.", model=SyncResponse),
    202: receipt_to_come(flow=NAME, partition="1", subject="1", or_else=", or the sync is held"),
}


@audited.post(
    "/sites/{site_id}/modules/sync",
    operation_id="syncModules",
    summary="Synchronize a site's modules",
    description=(
        "Compares what the site reports with what is known of it. A `full` sync marks what it does not name as removed; one that would "
        "remove more than half of the modules (at least ten) is held with 202 until it is confirmed. Needs the scope `modules:<site_id>`. "
        "60 syncs an hour and site."
    ),
    response_model=SyncResponse,
    responses=keyed_errors(400, 404, 408, 413, 415) | _ANSWERS,
    openapi_extra=takes(schema_of(ModuleSyncRequest), PREFER, IDEMPOTENCY_KEY),
)
async def sync(
    request: Request,
    site_id: SiteId,
    confirm_removals: Annotated[bool, Query(description="Remove modules however many they are.")] = False,
) -> Response:
    door, attempted = front_door(request), attempted_by(request)
    started = door.clock.now()
    arrival = await let_in(request, flow=NAME, scopes=(scope(site_id),), media_types=JSON)
    await admission(door).require_active(site_id)
    verdict = await admission(door).count(site_id)
    more = {"next_sync_after": (started + timedelta(seconds=verdict.next_after_s or 0.0)).isoformat()}
    if confirm_removals:
        more["confirm_removals"] = "true"

    key = arrival.idempotency_key and f"{site_id}:{confirm_removals:d}:{arrival.idempotency_key}"

    def make_drop(arrival: Arrival, body: bytes) -> NewDrop:
        attempted.size = len(body)
        door.bodies.check_depth(body)
        try:
            records = len(decode_request(body, now=door.clock.now()).modules)
        except RequestError as error:
            raise Problem(400 if error.malformed else 422, str(error), errors=error.errors) from error
        return site_drop(
            site_id, body, records=records, principal=arrival.principal.name,
            idempotency_key=key, attributes={**arrival.attributes, "via": "http", **more},
        )  # fmt: skip

    return await take(
        request,
        arrival,
        make_drop=make_drop,
        at_once_above=load_flow_settings(ModulesSettings).sync_queue_threshold,
    )


@router.get(
    "/sites/{site_id}/syncs",
    operation_id="listSyncs",
    summary="List a site's syncs",
    description="Who sent what, when, from where, and what it changed; newest first. Needs the scope `modules:<site_id>` or `read`.",
    response_model=views.SyncPage,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def list_syncs(
    request: Request, site_id: SiteId, limit: Limit = 50, cursor: IdCursor = None
) -> Response:
    door, _ = await site_to_read(request, site_id)
    before = id_cursor(cursor)
    found = await door.in_thread(
        lambda connection: syncs_of(connection, site_id, before=before, limit=limit + 1)
    )
    return page(found, limit=limit, position=lambda one: one.id, item=_sync)


@router.post(
    "/sites/{site_id}/syncs/{sync_id}/confirm",
    operation_id="confirmSync",
    summary="Confirm a held sync",
    description="Lets a sync go on that would remove many modules. Needs the scope `modules:<site_id>`.",
    response_model=SyncResponse,
    responses=keyed_errors(404, 409) | _ANSWERS,
    openapi_extra=secured(PREFER),
)
async def confirm(request: Request, site_id: SiteId, sync_id: SyncId) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request, scope(site_id))
    drop_id = (await _own_sync(door, site_id, sync_id)).id
    attributes = {"confirm_removals": "true", "confirmed_by": principal.name}
    went = await door.in_thread(
        lambda connection: let_go(connection, drop_id, flow=NAME, attributes=attributes)
    )
    if not went:
        raise Problem(409, "The sync is not held.")
    return await outcome_or_receipt(request, await _own_sync(door, site_id, sync_id), waiting_for(request))


@router.post(
    "/sites/{site_id}/syncs/{sync_id}/revert",
    operation_id="revertSync",
    summary="Undo a sync",
    description="Applies the inventory from right before the sync, as a new sync. Needs the scope `modules:<site_id>`.",
    response_model=SyncResponse,
    responses=keyed_errors(404, 409) | _ANSWERS,
    openapi_extra=secured(PREFER),
)
async def revert(request: Request, site_id: SiteId, sync_id: SyncId) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request, scope(site_id))
    drop_id = (await _own_sync(door, site_id, sync_id)).id
    site = await existing_site(door, site_id)
    before = await door.in_thread(lambda connection: inventory_before(connection, site_id, drop_id))
    # By the ledger's clock: one that is ahead here would have the site's own syncs be superseded for as long.
    at = await door.in_thread(
        lambda connection: connection.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    )
    if before is None:
        raise Problem(409, "The sync was not applied, so there is nothing to undo.")
    body = {
        "site_info": {**(site.site_info or {}), "reverts": f"sync_{drop_id}"},
        "modules": before,
        "sync_timestamp": max(at, site.snapshot_at or at),
        "drupal_version": site.drupal_version,
        "php_version": site.php_version,
        "sync_type": "full",
    }
    client = request.scope.get("client")
    attributes = {"via": "revert", "reverts": str(drop_id)} | (
        {"remote_address": client[0]} if client else {}
    )
    drop = site_drop(
        site_id,
        msgspec.json.encode(body),
        records=len(before),
        principal=principal.name,
        attributes=attributes,
    )
    with intake_refusals:
        accepted = await door.intake.accept(drop)
    waiting = waiting_for(request)
    if not accepted.registered:  # the ledger has gone away since
        return LandedResponse(accepted, waiting.applied)
    return await outcome_or_receipt(request, await _own_sync(door, site_id, str(accepted.id)), waiting)


@router.get(
    "/sites/{site_id}/attempts",
    operation_id="listSyncAttempts",
    summary="List attempts to sync a site",
    description="Every attempt, refused ones included: who, when, from where, how large, what came of it. Needs the scope `read`.",
    response_model=views.AttemptPage,
    responses=keyed_errors(),
    openapi_extra=SECURED,
)
async def list_attempts(
    request: Request, site_id: SiteId, limit: Limit = 50, cursor: IdCursor = None
) -> Response:
    door = front_door(request)
    await door.authenticate(request, "read")
    before = id_cursor(cursor)
    found = await door.in_thread(
        lambda connection: attempts_of(connection, site_id, before=before, limit=limit + 1)
    )
    return page(found, limit=limit, position=lambda one: one["id"])


async def _own_sync(door: FrontDoor, site_id: int, sync_id: str) -> Receipt:
    drop_id = UUID(sync_id.removeprefix("sync_"))
    async with ledger_needed():
        receipt = await door.receipts.find(drop_id)
    if receipt is None or receipt.flow != NAME or receipt.partition != str(site_id):
        raise Problem(404, "There is no such sync of this site.")
    return receipt


def _sync(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "sync_id": f"sync_{row.id}",
        "state": row.state,
        "superseded_by": row.superseded_by and f"sync_{row.superseded_by}",
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
