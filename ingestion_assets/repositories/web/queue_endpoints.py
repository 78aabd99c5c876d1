"""The queue over HTTP: repositories submitted, the workers' status, what became of jobs."""

from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ingestion_assets.frontdoor.answers import json_response
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.intake_refusals import intake_refusals
from ingestion_assets.frontdoor.openapi import IDEMPOTENCY_KEY, errors, keyed_errors, outcome, secured
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.receipt_view import receipt_url
from ingestion_assets.frontdoor.request_headers import facts_of, idempotency_key
from ingestion_assets.landing.drops import LandingUnavailableError, UncertainLandingError
from ingestion_assets.repositories import index_jobs
from ingestion_assets.repositories.flow import SCOPE, Submission, submission_drop
from ingestion_assets.repositories.index_jobs import Place
from ingestion_assets.repositories.live_workers import target, worker_status
from ingestion_assets.repositories.settings import repositories_settings
from ingestion_assets.repositories.submissions import submission_of
from ingestion_assets.repositories.web import repository_views
from ingestion_assets.repositories.web.repository_parameters import RefName, RepositoryUrl

router = APIRouter(prefix="/ingestion")
log = structlog.get_logger(__name__)

FULL_RETRY_S = 60.0


@router.post(
    "/ingest/{repo_url:address}",
    operation_id="submitRepository",
    summary="Submit a repository",
    description=(
        "Queues it for a worker, which makes its graph and its vectors. One that waits already keeps its place and its job, whose day begins "
        "anew, and which goes on where it was paused; one that was cancelled gets another. At most ten wait, and for a day at most. Every key "
        "with the scope `repos`, which this needs, may read the receipt."
    ),
    response_model=repository_views.Dispatched,
    responses={**keyed_errors(400), 200: outcome("It has a place in the queue.")},
    openapi_extra=secured(IDEMPOTENCY_KEY),
)
async def submit(request: Request, repo_url: RepositoryUrl, ref: RefName = None) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request, SCOPE)
    try:
        submission = submission_of(repo_url, ref, repositories_settings())
    except ValueError as error:
        raise Problem(400, f"Invalid repository URL: {error}") from error
    headers = request.scope["state"]["headers"]
    given = headers.get(b"idempotency-key")
    key = None if given is None else idempotency_key(given.decode("latin-1"))
    facts = {**facts_of(headers, client=request.scope.get("client")), "via": "http"}
    place, said = await dispatch(door, submission, principal=principal.name, facts=facts, key=key)
    more = {"X-Receipt-Id": str(place.drop_id)} | ({"Idempotent-Replayed": "true"} if place.replayed else {})
    return json_response(said, headers=more)


async def dispatch(
    door: FrontDoor, submission: Submission, *, principal: str, facts: dict[str, str], key: str | None = None
) -> tuple[Place, dict[str, Any]]:
    """Queue a repository: its place, and what is answered for it. Raises `Problem` 422, 429, 503."""
    settings = repositories_settings()
    most = settings.max_queue

    def take_place(connection: sa.Connection) -> tuple[Place, str]:
        place = index_jobs.take_place(
            connection, submission, principal=principal, most=most, ttl_s=settings.ttl_s, key=key
        )
        return place, door.settings.gpu_target or target(connection)

    place, worker = await door.in_thread(take_place)
    if place.id is None:
        raise Problem(
            429, f"Queue is full ({place.size} pending tasks). Please try again later.", retry_after_s=FULL_RETRY_S,
            queue_size=place.size, max_queue_size=most,
        )  # fmt: skip
    if not place.fits:
        item = error_item(
            "header", "Idempotency-Key", msg="used for another repository", type="idempotency_conflict"
        )
        raise Problem(422, "This Idempotency-Key was used before for another repository.", errors=[item])
    if place.drop_id is None:
        landed = await _land(door, submission, place.id, principal=place.principal or principal, facts=facts)
        place = replace(place, drop_id=landed)
    return place, {
        "status": "dispatched",
        "job_id": place.id,
        "queue_position": place.position,
        "target": worker,
        "queue_size": place.size,
        "max_queue_size": most,
        "already_queued": place.again,
        "repository": submission.partition,
        "receipt_url": receipt_url(place.drop_id or ""),
    }


async def _land(
    door: FrontDoor, submission: Submission, job: int, *, principal: str, facts: dict[str, str]
) -> UUID:
    """The job's payload, durable; the id of its receipt. Whoever finds the job before that lands it as well, in the name of the one whose
    job it is: nobody is told of a place that would be lost, and it is there once."""
    drop = submission_drop(submission, job=job, principal=principal, attributes=facts)
    with intake_refusals:
        try:
            accepted = await door.intake.accept(drop)
        except LandingUnavailableError as error:
            if isinstance(error, UncertainLandingError):  # the sweep finds out
                raise
            await _try(door, lambda connection: index_jobs.give_up_place(connection, job))
            raise
    door.metrics.count_accepted(drop.flow)
    await _try(door, lambda connection: index_jobs.landed(connection, job, accepted.id))
    return accepted.id


async def _try(door: FrontDoor, change: Any) -> None:
    """A change that the sweep makes too, should the ledger be away now."""
    try:
        await door.in_thread(change)
    except Problem as problem:
        log.warning("job_not_noted", error=problem.detail)


@router.get(
    "/worker/status",
    operation_id="readWorkerStatus",
    summary="Read the workers' status",
    description="What the workers on repositories do now. Asks for no key.",
    response_model=repository_views.WorkerStatus,
    responses=errors(503),
)
async def read_status(request: Request) -> Response:
    return json_response(await front_door(request).in_thread(worker_status))


@router.get(
    "/jobs/history",
    operation_id="listRepositoryJobs",
    summary="List what became of jobs",
    description="Jobs that are complete, failed or were skipped, newest first. Asks for no key.",
    response_model=repository_views.History,
    responses=errors(503),
)
async def read_history(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100, description="Most jobs.")] = 10,
) -> Response:
    found = await front_door(request).in_thread(
        lambda connection: index_jobs.history(connection, limit=limit)
    )
    return json_response({"jobs": found})
