"""GitHub's webhook: a push to the default branch of a known repository submits it again."""

import hashlib
import hmac
from typing import Any

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Request
from starlette.responses import Response

from ingestion_assets.frontdoor.answers import json_response
from ingestion_assets.frontdoor.door import front_door
from ingestion_assets.frontdoor.openapi import errors, header_parameter
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.request_headers import facts_of
from ingestion_assets.repositories.settings import RepositoriesSettings, repositories_settings
from ingestion_assets.repositories.submissions import submission_of
from ingestion_assets.repositories.watched_repositories import want
from ingestion_assets.repositories.web import repository_views
from ingestion_assets.repositories.web.queue_endpoints import dispatch

router = APIRouter(prefix="/ingestion/webhooks")

PRINCIPAL = "webhook:github"
FULL = 429
_KNOWN = sa.text("SELECT EXISTS (SELECT FROM repositories.repositories WHERE partition = :partition)")
_DELIVERED = sa.text("SELECT EXISTS (SELECT FROM repositories.deliveries WHERE id = :id)")
_HEED = sa.text("INSERT INTO repositories.deliveries (id) VALUES (:id) ON CONFLICT DO NOTHING")
_FORGET = sa.text("DELETE FROM repositories.deliveries WHERE at < clock_timestamp() - interval '30 days'")


class _Repository(msgspec.Struct):
    full_name: str
    default_branch: str | None = None
    html_url: str | None = None


class _Push(msgspec.Struct):
    ref: str
    repository: _Repository
    deleted: bool = False


@router.post(
    "/github",
    operation_id="takeGithubWebhook",
    summary="Take GitHub's webhook",
    description=(
        "A push to the default branch of a repository that was indexed before submits it. Signed with the webhook's secret "
        "(`X-Hub-Signature-256`) instead of a key; a delivery is heeded once. While the queue is full, it is noted (202) and submitted when there "
        "is a place."
    ),
    response_model=repository_views.WebhookAnswer,
    responses={
        **errors(400, 401, 408, 413, 415, 503),
        202: {
            "model": repository_views.WebhookAnswer,
            "description": "The queue is full; it is submitted later.",
        },
    },
    openapi_extra={
        "security": [{"signature": []}],
        "parameters": [
            header_parameter("X-GitHub-Event", "Only `push` is heeded.", "push"),
            header_parameter(
                "X-GitHub-Delivery", "The delivery's id.", "8e03978e-40d5-43dd-bc93-6894a57f9324"
            ),
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"type": "object"},
                    "example": {
                        "ref": "refs/heads/main",
                        "repository": {"full_name": "user/repo", "default_branch": "main"},
                    },
                }
            },
        },
    },
)
async def take_github(request: Request) -> Response:
    door = front_door(request)
    headers = request.scope["state"]["headers"]
    settings = repositories_settings()
    with door.body_memory.reserve() as reservation:
        body = await door.bodies.read(request.receive, headers, reservation)
        check_signature(headers, body, settings)
        push = _push_in(headers, body, door.bodies.check_depth)
    if push is None:
        return _ignored("it is no push")
    branch = push.repository.default_branch
    if push.deleted or branch is None or push.ref != f"refs/heads/{branch}":
        return _ignored("it is no push to the default branch")
    try:
        submission = submission_of(f"github.com/{push.repository.full_name}", None, settings)
    except ValueError:
        return _ignored("it names no repository that may be taken")
    delivery = headers.get(b"x-github-delivery", b"").decode("latin-1")[:200].replace("\0", "")

    def known(connection: sa.Connection) -> tuple[bool, bool]:
        found = connection.execute(_KNOWN, {"partition": submission.partition}).scalar_one()
        return found, bool(delivery) and connection.execute(_DELIVERED, {"id": delivery}).scalar_one()

    is_known, is_repeated = await door.in_thread(known)
    if not is_known:
        return _ignored("the repository is not known here")
    if is_repeated:
        return _ignored("it was delivered before")
    facts = {**facts_of(headers, client=request.scope.get("client")), "via": "webhook"}
    job: int | None = None
    try:
        place, _ = await dispatch(door, submission, principal=PRINCIPAL, facts=facts)
        job = place.id
    except Problem as problem:
        if problem.status != FULL:
            raise

    def heed(connection: sa.Connection) -> None:
        connection.execute(_FORGET)
        if delivery:
            connection.execute(_HEED, {"id": delivery})
        if job is None:
            want(connection, submission.partition)

    await door.in_thread(heed)
    if job is None:
        return json_response({"status": "noted", "reason": "the queue is full", "job_id": None}, 202)
    return json_response({"status": "dispatched", "reason": None, "job_id": job})


def check_signature(headers: dict[bytes, bytes], body: bytes, settings: RepositoriesSettings) -> None:
    """Raises `Problem` 401 unless the body is signed with the webhook's secret."""
    secret = settings.github_webhook_secret
    if secret is None:
        raise _unsigned(
            "No secret is set for GitHub's webhook (INGESTION_REPOSITORIES_GITHUB_WEBHOOK_SECRET)."
        )
    own = "sha256=" + hmac.new(secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(own.encode(), headers.get(b"x-hub-signature-256", b"")):
        raise _unsigned("The signature (X-Hub-Signature-256) is not that of this body.")


def _unsigned(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": "Signature"})


def _push_in(headers: dict[bytes, bytes], body: bytes, check_depth: Any) -> _Push | None:
    if headers.get(b"x-github-event") != b"push":
        return None
    check_depth(body)
    try:
        return msgspec.json.decode(body, type=_Push)
    except msgspec.ValidationError as error:
        raise Problem(400, f"The body is not GitHub's: {error}.") from error
    except ValueError as error:  # JSON that is none, or no UTF-8
        raise Problem(400, f"The request body is not well-formed JSON: {error}.") from error


def _ignored(reason: str) -> Response:
    return json_response({"status": "ignored", "reason": reason, "job_id": None})
