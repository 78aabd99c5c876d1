"""Whether a site may sync now: whether it is there and switched on, as far as that is known, and within its rate limit.

Whose key may act for a site is a matter of the front door's scopes; what becomes of a request is noted by `audit`.
"""

import time

from starlette.requests import Request

from ingestion_assets.frontdoor.door import FrontDoor, front_door
from ingestion_assets.frontdoor.limits import RateLimits, Verdict
from ingestion_assets.frontdoor.problems import Problem, too_many_requests
from ingestion_assets.modules.settings import ModulesSettings
from ingestion_assets.modules.sites import Site, get_site, scope
from ingestion_assets.settings import load_flow_settings

FRESH_S = 2.0
REMEMBERED = 20_000


class Admission:
    """One front door's; it remembers which sites take syncs, so that these are taken on while PostgreSQL is down."""

    def __init__(self, door: FrontDoor) -> None:
        self._door = door
        self._active: dict[int, tuple[bool, float]] = {}
        self._policy = load_flow_settings(ModulesSettings).sync_rate_limit
        self._limits = RateLimits(policy=self._policy, store_url=door.settings.redis_url, exact=True)

    async def close(self) -> None:
        await self._limits.stop()

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

    async def count(self, site_id: int) -> Verdict:
        """Count one sync of a site. Raises `Problem` 429."""
        verdict = await self._limits.judge(f"sync:{site_id}")
        if not verdict.allowed:
            raise too_many_requests(
                f"Rate limit exceeded: a site may sync {self._policy}",
                retry_after_s=verdict.retry_after_s,
                headers=dict(verdict.headers),
            )
        return verdict


def admission(door: FrontDoor) -> Admission:
    """The admission of this front door."""
    return door.resource("modules", lambda: Admission(door), lambda opened: opened.close())


async def site_to_read(request: Request, site_id: int) -> tuple[FrontDoor, Site]:
    """The front door and a site that this request may read. Raises `Problem` 401, 403, 404, 429, 503."""
    door = front_door(request)
    await door.authenticate(request, scope(site_id), "read")
    return door, await existing_site(door, site_id)


async def existing_site(door: FrontDoor, site_id: int) -> Site:
    """The site. Raises `Problem` 404."""
    site = await door.in_thread(lambda connection: get_site(connection, site_id))
    if site is None:
        raise no_site()
    return site


def no_site() -> Problem:
    return Problem(404, "There is no such site.")
