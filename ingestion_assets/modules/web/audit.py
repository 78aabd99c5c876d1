"""Every request to sync a site is noted, whatever comes of it. What is kept of it, `modules.attempts` says."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.modules.attempts import Attempt, note_attempt

log = structlog.get_logger(__name__)

GONE_AWAY = 499  # the sender hung up before the answer; the number that web servers log for it
_WORDS = (
    (range(200, 300), "accepted"),
    (range(401, 404), "not_allowed"),
    (range(404, 405), "no_such_site"),
    (range(429, 430), "rate_limited"),
    (range(GONE_AWAY, 500), "gone_away"),
    (range(400, 500), "invalid"),
)


@dataclass(slots=True)
class Attempted:
    """What is learned of an attempt while it is being answered; 500 until more is known."""

    status: int = 500
    size: int | None = None
    detail: str | None = None
    receipt: UUID | None = None

    def answered(self, response: Response) -> None:
        """Note the answer. A replay belongs to the receipt of the first attempt, which keeps its row."""
        self.status, receipt = response.status_code, response.headers.get("X-Receipt-Id")
        if response.headers.get("Idempotent-Replayed") == "true":
            self.detail = f"replay of {receipt}"
        elif receipt:
            self.receipt = UUID(receipt)


class AuditedRoute(APIRoute):
    """A route of a site whose requests are noted, those too that are refused before they come to the endpoint."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answered(request: Request) -> Response:
            site_id = request.path_params["site_id"]
            if not re.fullmatch(r"[0-9]{1,18}", site_id):
                return await answer(request)  # which refuses it: no site has such a number
            async with _audited(request, site_id=int(site_id)) as attempted:
                request.state.attempted = attempted
                response = await answer(request)
                attempted.answered(response)
                return response

        return answered


def attempted_by(request: Request) -> Attempted:
    """The attempt that a request of an `AuditedRoute` is."""
    return request.state.attempted


@contextlib.asynccontextmanager
async def _audited(request: Request, *, site_id: int) -> AsyncIterator[Attempted]:
    """Within it the request is answered; at its end the attempt is kept, also if a `Problem` is raised."""
    door = front_door(request)
    attempted, at = Attempted(), door.clock.now()
    try:
        yield attempted
    except Problem as problem:
        attempted.status, attempted.detail = problem.status, problem.detail
        raise
    except RequestValidationError as error:
        wrong = error.errors()[0]
        attempted.status = 422
        attempted.detail = f"{'.'.join(map(str, wrong['loc']))}: {wrong['msg']}"
        raise
    except ClientDisconnect:
        attempted.status = GONE_AWAY
        raise
    finally:
        await _note(door, _attempt(request, attempted, site_id=site_id, at=at))


async def _note(door: FrontDoor, attempt: Attempt) -> None:
    """Keep an attempt. While PostgreSQL is down refused ones are only logged; accepted ones are noted by their run."""

    def write() -> None:
        with door.answering.begin() as connection:
            note_attempt(connection, attempt)

    try:
        await asyncio.get_running_loop().run_in_executor(door.threads, write)
    except (SQLAlchemyError, OSError) as error:
        said = str(error).splitlines()[:1]
        log.warning("attempt_not_noted", site=attempt.site_id, status=attempt.status, error=said)


def _attempt(request: Request, attempted: Attempted, *, site_id: int, at: datetime) -> Attempt:
    client, agent = request.scope.get("client"), request.headers.get("user-agent")
    return Attempt(
        site_id=site_id, at=at, via="http", status=attempted.status, outcome=outcome_word(attempted.status),
        principal=request.scope["state"].get("principal"), remote_address=client[0] if client else None,
        user_agent=agent[:256].replace("\0", "") if agent else None, size_bytes=attempted.size,
        detail=attempted.detail[:500] if attempted.detail else None, receipt=attempted.receipt,
    )  # fmt: skip


def outcome_word(status: int) -> str:
    """The audit's word for an HTTP status."""
    return next((word for statuses, word in _WORDS if status in statuses), "unavailable")
