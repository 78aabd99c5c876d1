"""Jobs over HTTP: created, read, listed, controlled; statistics."""

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ingestion_assets.documents import job_views
from ingestion_assets.documents.file_errors import Code
from ingestion_assets.documents.job_control import ACTIONS, Action, Status
from ingestion_assets.documents.job_requests import JOB_ID, USER_ID, AskedJob
from ingestion_assets.documents.settings import documents_settings
from ingestion_assets.documents.web import job_answers
from ingestion_assets.documents.web.job_creation import act, create_job
from ingestion_assets.documents.web.user_access import SECURED, UserId, may
from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.json_bodies import json_body
from ingestion_assets.frontdoor.json_response import json_response
from ingestion_assets.frontdoor.openapi import IDEMPOTENCY_KEY, keyed_errors, schema_of, takes
from ingestion_assets.frontdoor.problems import Problem, error_item
from ingestion_assets.frontdoor.request_headers import facts_of, idempotency_key

router = APIRouter()

JobId = Annotated[
    str,
    Path(pattern=JOB_ID, examples=["job_0197b0c06d2e7c6e9d6e0a1b2c3d4e5f"]),
]


class Control(BaseModel):
    """What is to be done with a job."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"user_id": "user123", "action": "start"}}
    )

    user_id: str = Field(pattern=USER_ID)
    action: str = Field(
        max_length=50,
        description="`start`, `pause`, `resume`, `cancel`, `retry`.",
        json_schema_extra={"enum": list(ACTIONS)},
    )
    retry_failed_only: bool = Field(True, description="`retry` does the failed files again; else all.")
    error_codes: list[Code] | None = Field(
        None, max_length=50, description="`retry` does those again that failed with one of these."
    )


class Listing(BaseModel):
    """Which jobs are to be listed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"user_id": "user123", "status_filter": ["running"], "limit": 10}},
    )

    user_id: str = Field(pattern=USER_ID)
    status_filter: list[Status] | None = Field(None, max_length=8, description="Only jobs with one of these.")
    limit: int = Field(10, ge=1, le=100)
    offset: int = Field(0, ge=0, le=1_000_000)


@router.post(
    "/jobs",
    operation_id="createBatchJob",
    summary="Create a job",
    description="The files are found and frozen now; the job waits until it is started. Needs the scope `documents:<user_id>`.",
    response_model=job_answers.JobDetails,
    responses=keyed_errors(400, 404, 408, 409, 413, 415),
    openapi_extra=takes(schema_of(AskedJob), IDEMPOTENCY_KEY),
)
async def create(request: Request) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    asked = await json_body(request, AskedJob)
    may(principal, asked.user_id)
    headers = request.scope["state"]["headers"]
    given = headers.get(b"idempotency-key")
    made = await create_job(
        door, asked, principal=principal.name, facts=_facts(request),
        key=None if given is None else idempotency_key(given.decode("latin-1")),
    )  # fmt: skip
    try:
        if asked.start and await door.in_thread(lambda one: job_views.is_pending(one, made.job_id)):
            await act(door, made.job_id, "start", principal=principal.name, facts=_facts(request))
        details = await _details(door, asked.user_id, made.job_id)
    except Problem as problem:
        if problem.status == 503:  # the job is there
            problem.members["accepted"] = "unknown"
        raise
    more = {"X-Receipt-Id": str(made.drop_id)} | ({"Idempotent-Replayed": "true"} if made.again else {})
    return json_response(details, headers=more)


@router.post(
    "/jobs/list",
    operation_id="listBatchJobs",
    summary="List jobs",
    description="A user's jobs, newest first, without their files. Needs the scope `documents:<user_id>`.",
    response_model=job_answers.JobPage,
    responses=keyed_errors(400, 408, 413, 415),
    openapi_extra=takes(schema_of(Listing)),
)
async def list_jobs(request: Request) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    asked = await json_body(request, Listing)
    may(principal, asked.user_id)

    def read(connection: sa.Connection) -> tuple[list[dict[str, Any]], int]:
        return job_views.page(
            connection, asked.user_id, statuses=asked.status_filter, limit=asked.limit, offset=asked.offset
        )

    jobs, total = await door.in_thread(read)
    return json_response({"jobs": jobs, "total_jobs": total, "has_more": asked.offset + len(jobs) < total})


@router.get(
    "/jobs/{job_id}",
    operation_id="readBatchJob",
    summary="Read a job",
    description="With its sources and files, and what it waits for. Needs the scope `documents:<user_id>`.",
    response_model=job_answers.JobDetails,
    responses=keyed_errors(404),
    openapi_extra=SECURED,
)
async def read_job(request: Request, job_id: JobId, user_id: UserId) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    return json_response(await _details(door, user_id, job_id))


@router.post(
    "/jobs/{job_id}/control",
    operation_id="controlBatchJob",
    summary="Start, pause, resume, cancel or retry a job",
    description=(
        "`pause` lets the files in hand be finished, `cancel` does not; `retry` does the failed files again, or all. An action that the "
        "job's status does not allow is 409, with `allowed_actions`. Needs the scope `documents:<user_id>`."
    ),
    response_model=job_answers.Controlled,
    responses=keyed_errors(400, 404, 408, 409, 413, 415),
    openapi_extra=takes(schema_of(Control)),
)
async def control(request: Request, job_id: JobId) -> Response:
    door = front_door(request)
    principal = await door.authenticate(request)
    asked = await json_body(request, Control)
    may(principal, asked.user_id)
    action = _action(asked.action)
    if await door.in_thread(lambda connection: job_views.owner(connection, job_id)) != asked.user_id:
        raise Problem(404, "There is no such job.")
    status = await act(
        door, job_id, action, principal=principal.name, facts=_facts(request), failed_only=asked.retry_failed_only,
        codes=asked.error_codes,
    )  # fmt: skip
    return json_response({"success": True, "message": f"Job {action} successful", "status": status})


@router.get(
    "/statistics",
    operation_id="readBatchStatistics",
    summary="Read statistics",
    description="Counts over a user's jobs and their files. Needs the scope `documents:<user_id>`.",
    response_model=job_answers.Statistics,
    responses=keyed_errors(),
    openapi_extra=SECURED,
)
async def read_statistics(request: Request, user_id: UserId) -> Response:
    door = front_door(request)
    await door.authenticate(request, f"documents:{user_id}")
    return json_response(await door.in_thread(lambda connection: job_views.statistics(connection, user_id)))


def _action(given: str) -> Action:
    for action in ACTIONS:
        if action == given:
            return action
    why = f"there are {', '.join(ACTIONS)}"
    raise Problem(
        400, f"Invalid action; {why}.", errors=[error_item("body", "action", msg=why, type="action")]
    )


async def _details(door: FrontDoor, user_id: str, job_id: str) -> dict[str, Any]:
    aging_s, idle = documents_settings().documents_aging_s, "batch" in door.settings.idle_queues
    found = await door.in_thread(
        lambda connection: job_views.detailed(connection, user_id, job_id, aging_s=aging_s, idle=idle)
    )
    if found is None:
        raise Problem(404, "There is no such job.")
    return found


def _facts(request: Request) -> dict[str, str]:
    return {**facts_of(request.scope["state"]["headers"], client=request.scope.get("client")), "via": "http"}
