"""What the flow's endpoints share in one front door: the sites it knows, the rate limit by site, and the audit."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.limits import RateLimits, Verdict
from ingestion_assets.frontdoor.problems import Problem, retry_after_header
from ingestion_assets.modules.attempts import Attempt, note_attempt
from ingestion_assets.modules.sites import get_site

FRESH_S = 2.0
REMEMBERED = 20_000

log = structlog.get_logger(__name__)


class Desk:
    """Keeps what it was told of sites, so that their syncs are taken on while PostgreSQL is down."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._active: dict[int, tuple[bool, float]] = {}
        self.limits = RateLimits(
            policy=door.settings.sync_rate_limit, store_url=door.settings.redis_url, exact=True
        )

    async def close(self) -> None:
        await self.limits.stop()

    async def require_active(self, site_id: int) -> None:
        """Raises `Problem` 404 for a site that is not there or switched off, 503 where that cannot be known."""
        known = self._active.get(site_id)
        if known is None or time.monotonic() - known[1] > FRESH_S:
            try:
                site = await self._door.in_thread(lambda connection: get_site(connection, site_id))
            except Problem:
                if known is None:
                    raise
            else:
                known = (site is not None and site.active, time.monotonic())
                if len(self._active) >= REMEMBERED:
                    self._active.pop(next(iter(self._active)))
                self._active[site_id] = known
        if known is None or not known[0]:
            raise Problem(404, "There is no such site, or it is switched off.")

    async def limit(self, site_id: int) -> Verdict:
        """Count one sync of a site. Raises `Problem` 429."""
        verdict = await self.limits.judge(f"sync:{site_id}")
        if not verdict.allowed:
            after = retry_after_header(verdict.retry_after_s)
            raise Problem(
                429,
                f"Rate limit exceeded: a site may sync {self._door.settings.sync_rate_limit}; try again in {after} s.",
                headers={**dict(verdict.headers), "Retry-After": after},
            )
        return verdict

    async def note(self, attempt: Attempt) -> None:
        """Keep an attempt. While PostgreSQL is down refused ones are only logged; accepted ones are noted by their run."""

        def write() -> None:
            with self._door.engine.begin() as connection:
                note_attempt(connection, attempt)

        try:
            await asyncio.get_running_loop().run_in_executor(self._door.threads, write)
        except (SQLAlchemyError, OSError) as error:
            log.warning(
                "attempt_not_noted",
                site=attempt.site_id,
                status=attempt.status,
                error=str(error).splitlines()[:1],
            )


def desk(door: FrontDoor) -> Desk:
    """The flow's desk in this front door."""
    return door.resource("modules", lambda: Desk(door), lambda opened: opened.close())


def attempt_of(
    request: Request,
    *,
    site_id: int,
    at: datetime,
    via: str,
    status: int,
    outcome: str,
    size: int | None,
    detail: str | None,
) -> Attempt:
    """An attempt as its request tells it."""
    client = request.scope.get("client")
    agent = request.headers.get("user-agent")
    return Attempt(
        site_id=site_id, at=at, via=via, status=status, outcome=outcome, principal=request.scope["state"].get("principal"),
        remote_address=client[0] if client else None, user_agent=agent[:256].replace("\0", "") if agent else None,
        size_bytes=size, detail=detail[:500] if detail else None,
    )  # fmt: skip


def now() -> datetime:
    return datetime.now(UTC)


def outcome_word(status: int) -> str:
    """The audit's word for a status."""
    words: Sequence[tuple[range, str]] = (
        (range(200, 300), "accepted"),
        (range(401, 404), "not_allowed"),
        (range(404, 405), "no_such_site"),
        (range(429, 430), "rate_limited"),
        (range(499, 500), "gone_away"),
        (range(400, 500), "invalid"),
    )
    return next((word for statuses, word in words if status in statuses), "unavailable")
