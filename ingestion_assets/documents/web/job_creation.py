"""A job from request to durable: its model and files found, its rows made, its payload landed; and its retry the same way."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec
import sqlalchemy as sa
import structlog
import uuid_utils.compat

from ingestion_assets.documents import batch_jobs, job_views, new_jobs, source_connections
from ingestion_assets.documents.batch_jobs import KeyConflictError, Made, NotLandedError
from ingestion_assets.documents.flow import JobPayload, job_drop
from ingestion_assets.documents.frozen_files import frozen
from ingestion_assets.documents.job_control import OVER, Action, NotAllowedError, Status
from ingestion_assets.documents.job_requests import JobRequest
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.sources.source import Entry
from ingestion_assets.documents.web.file_selections import check_number, expanded
from ingestion_assets.documents.web.option_checks import model_of
from ingestion_assets.documents.web.source_threads import sources
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.intake_refusals import intake_refusals
from ingestion_assets.frontdoor.problems import Problem, error_item, invalid
from ingestion_assets.landing import wanted
from ingestion_assets.landing.drops import LandingUnavailableError, UncertainLandingError
from ingestion_assets.landing.flows import day_of_arrival

log = structlog.get_logger(__name__)


async def create_job(
    door: FrontDoor,
    request: JobRequest,
    *,
    principal: str,
    facts: Mapping[str, str],
    key: str | None = None,
    origin: str = "request",
    entries: Mapping[str, Sequence[Entry]] | None = None,
    started: bool = False,
) -> Made:
    """Create a job, durable when this returns, `started` in the same step. `entries`: files by connection that are known already, and stand for the selections.

    Raises `Problem` 400, 404, 409, 422, 503.
    """
    sha256 = b"" if key is None else await sources.run(request.user_id, lambda: _digest(request, key))
    if key is not None and (known := await _made_before(door, principal, key, sha256)) is not None:
        return known
    model = await sources.run(request.user_id, lambda: model_of(request.processing_options, door.settings))
    connections = await _connections(door, request)
    if entries is None:
        files = await sources.run(request.user_id, lambda: expanded(door, request, connections))
    else:
        files = [frozen(connections[one], entry) for one, listed in entries.items() for entry in listed]
    check_number(files)
    payload = await sources.run(
        request.user_id,
        lambda: new_jobs.payload_of(request, door.settings, model_id=model.id, files=files, origin=origin),
    )

    def insert(connection: sa.Connection) -> Made:
        return new_jobs.insert(
            connection, request, payload, principal=principal, key=key, sha256=sha256, started=started
        )

    try:
        made = await door.in_thread(insert)
    except KeyConflictError:
        raise _key_conflict() from None
    if made.again:
        return _whole(made)
    drop_id = await _land(
        door, payload, principal=principal, facts=facts, key=payload.job_id, fresh=True, started=started
    )
    return Made(made.job_id, drop_id)


def _digest(request: JobRequest, key: str) -> bytes:
    """Equal for equal requests. Passwords make it slow to compute, as it is kept: nobody is to find them by trying."""
    digest = hashlib.sha256(request.model_dump_json().encode())
    if passwords := request.processing_options.parsing().passwords:
        digest.update(hashlib.scrypt(msgspec.json.encode(passwords), salt=key.encode(), n=2**14, r=8, p=1))
    return digest.digest()


async def _made_before(door: FrontDoor, principal: str, key: str, sha256: bytes) -> Made | None:
    def read(connection: sa.Connection) -> Made | None:
        return batch_jobs.made_before(connection, principal=principal, key=key, sha256=sha256)

    try:
        known = await door.in_thread(read)
    except KeyConflictError:
        raise _key_conflict() from None
    return None if known is None else _whole(known)


def _whole(made: Made) -> Made:
    if made.drop_id is None:
        raise Problem(
            503, "The job of this Idempotency-Key is just being created; repeat the request.", retry_after_s=1
        )
    return made


def _key_conflict() -> Problem:
    item = error_item(
        "header", "Idempotency-Key", msg="used for another request", type="idempotency_conflict"
    )
    return Problem(422, "This Idempotency-Key was used before for another job.", errors=[item])


async def act(
    door: FrontDoor,
    job_id: str,
    action: Action,
    *,
    principal: str,
    facts: Mapping[str, str],
    failed_only: bool = True,
    codes: Sequence[str] | None = None,
) -> Status:
    """Do with a job what a person wants. A retry lands as a payload of its own. Raises `Problem` 404, 409, 503."""
    retry_drop = None
    if action == "retry":
        job = await door.in_thread(lambda connection: job_views.brief(connection, job_id))
        if job is None:
            raise Problem(404, "There is no such job.")
        if job["status"] in OVER:
            again = "failed" if failed_only else "all"
            payload = JobPayload(job_id, job["user_id"], priority=job["priority"], again=again)
            key = f"{job_id}-{uuid_utils.compat.uuid7().hex}"
            retry_drop = await _land(door, payload, principal=principal, facts=facts, key=key, fresh=False)
    try:
        return await door.in_thread(
            lambda connection: batch_jobs.control(
                connection, job_id, action, failed_only=failed_only, codes=codes, retry_drop=retry_drop
            )
        )
    except NotLandedError:
        raise Problem(
            503, "The job is just being created, or just ends; repeat the request.", retry_after_s=1
        ) from None
    except (LookupError, NotAllowedError) as error:
        if retry_drop is not None:  # another retry was first
            await _try(door, lambda connection: wanted.cancel(connection, retry_drop))
        if isinstance(error, LookupError):
            raise Problem(404, "There is no such job.") from None
        raise Problem(
            409, str(error), status_of_job=error.status, allowed_actions=list(error.allowed)
        ) from None


async def _land(
    door: FrontDoor,
    payload: JobPayload,
    *,
    principal: str,
    facts: Mapping[str, str],
    key: str,
    fresh: bool,
    started: bool = False,
) -> UUID:
    drop = job_drop(
        payload,
        partition=day_of_arrival(door.clock.now()),
        principal=principal,
        attributes=dict(facts),
        key=key,
        started=started,
    )
    with intake_refusals:
        try:
            accepted = await door.intake.accept(drop)
        except LandingUnavailableError as error:
            if fresh and not isinstance(error, UncertainLandingError):  # else the sweep finds out
                await _try(door, lambda connection: batch_jobs.give_up(connection, payload.job_id))
            raise
    if not accepted.registered:
        raise Problem(
            503,
            "The ledger does not answer; whether the job was taken is not known. Repeat the request with the same Idempotency-Key.",
            retry_after_s=5,
        )
    door.metrics.count_accepted(drop.flow)
    if fresh:
        await _try(door, lambda connection: batch_jobs.landed(connection, payload.job_id, accepted.id))
    return accepted.id


async def _try(door: FrontDoor, change: Callable[[sa.Connection], Any]) -> None:
    """A change that the sweep makes too, should the ledger be away now."""
    try:
        await door.in_thread(change)
    except Problem as problem:
        log.warning("job_not_noted", error=problem.detail)


async def _connections(door: FrontDoor, request: JobRequest) -> dict[str, Connection]:
    def read(connection: sa.Connection) -> dict[str, Connection]:
        wanted = {one.connection_id for one in request.file_selections}
        found = (source_connections.get(connection, one, user_id=request.user_id) for one in sorted(wanted))
        return {one.id: one for one in found if one is not None}

    found = await door.in_thread(read)
    for number, selection in enumerate(request.file_selections):
        known = found.get(selection.connection_id)
        if known is None:
            raise Problem(404, f"There is no connection {selection.connection_id} of this user.")
        if known.source_type != selection.source_type:
            why = f"the connection is a {known.source_type}"
            raise invalid(
                [error_item("body", "file_selections", number, "source_type", msg=why, type="source_type")]
            )
    return found
