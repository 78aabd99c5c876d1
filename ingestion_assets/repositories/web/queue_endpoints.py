"""The queue over HTTP: repositories submitted, the workers' status, what became of jobs."""

from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from ingestion_assets.frontdoor.answers import json_response
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.openapi import errors, keyed_errors
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.receipt_view import receipt_url
from ingestion_assets.frontdoor.receiving import intake_refusals
from ingestion_assets.frontdoor.request_headers import facts_of
from ingestion_assets.landing.drops import LandingUnavailableError, UncertainLandingError
from ingestion_assets.repositories import jobs
from ingestion_assets.repositories.flow import SCOPE, Submission, submission_drop
from ingestion_assets.repositories.jobs import Place
from ingestion_assets.repositories.live_workers import target, worker_status
from ingestion_assets.repositories.settings import RepositoriesSettings, repositories_settings
from ingestion_assets.repositories.submissions import submission_of
from ingestion_assets.repositories.web import views
from ingestion_assets.repositories.web.parameters import SECURED, RefName, RepositoryUrl

router = APIRouter(prefix="/ingestion")
log = structlog.get_logger(__name__)

FULL_RETRY_S = 60.0


@router.post(
    "/ingest/{repo_url:path}",
    operation_id="submitRepository",
    summary="Submit a repository",
    description=(
        "Queues it for a worker, which makes its graph and its vectors. One that waits already keeps its place and its job; at most ten "
        "wait, and for a day at most. Needs the scope `repos`."
    ),
    response_model=views.Dispatched,
    responses=keyed_errors(400),
    openapi_extra=SECURED,
)
async def submit(request: Request, repo_url: RepositoryUrl, ref: RefName = None) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request, SCOPE)
    settings = repositories_settings()
    try:
        submission = submission_of(repo_url, ref, settings)
    except ValueError as error:
        raise Problem(400, f"Invalid repository URL: {error}") from error
    facts = facts_of(request.scope["state"]["headers"], client=request.scope.get("client"))
    return json_response(
        await dispatch(
            door, submission, principal=principal.name, facts={**facts, "via": "http"}, settings=settings
        )
    )


async def dispatch(
    door: FrontDoor,
    submission: Submission,
    *,
    principal: str,
    facts: dict[str, str],
    settings: RepositoriesSettings,
) -> dict[str, Any]:
    """Queue a repository; what is answered for it. Raises `Problem` 429, 503."""

    def take_place(connection: Any) -> tuple[Place, str]:
        place = jobs.take_place(connection, submission, principal=principal, most=settings.max_queue)
        return place, door.settings.gpu_target or target(connection)

    place, worker = await door.in_thread(take_place)
    if place.id is None:
        raise Problem(
            429, f"Queue is full ({place.size} pending tasks). Please try again later.", retry_after_s=FULL_RETRY_S,
            queue_size=place.size, max_queue_size=settings.max_queue,
        )  # fmt: skip
    receipt = place.drop_id
    if receipt is None:
        receipt = await _land(door, submission, place.id, principal=principal, facts=facts)
    return {
        "status": "dispatched",
        "job_id": place.id,
        "queue_position": place.position,
        "target": worker,
        "queue_size": place.size,
        "max_queue_size": settings.max_queue,
        "already_queued": place.again,
        "repository": submission.repository,
        "receipt_url": receipt_url(receipt),
    }


async def _land(
    door: FrontDoor, submission: Submission, job: int, *, principal: str, facts: dict[str, str]
) -> Any:
    """The job's payload, durable; the id of its receipt. Whoever finds the job before that lands it as well: nobody is told of a place
    that would be lost."""
    drop = submission_drop(submission, job=job, principal=principal, attributes=facts)
    with intake_refusals:
        try:
            accepted = await door.intake.accept(drop)
        except UncertainLandingError:
            raise
        except LandingUnavailableError:
            await _try(door, lambda connection: jobs.give_up_place(connection, job))
            raise
    door.metrics.count_accepted(drop.flow)
    await _try(door, lambda connection: jobs.landed(connection, job, accepted.id))
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
    response_model=views.WorkerStatus,
    responses=errors(503),
)
async def read_status(request: Request) -> Response:
    return json_response(await front_door(request).in_thread(worker_status))


@router.get(
    "/jobs/history",
    operation_id="listRepositoryJobs",
    summary="List what became of jobs",
    description="Jobs that are complete, failed or were skipped, newest first. Asks for no key.",
    response_model=views.History,
    responses=errors(503),
)
async def read_history(
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100, description="Most jobs.")] = 10,
) -> Response:
    found = await front_door(request).in_thread(lambda connection: jobs.history(connection, limit=limit))
    return json_response({"jobs": found})
