"""Whether what we depend on answers, looked at in the background so that health answers cost nothing."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from ingestion_assets.frontdoor.dagster_graphql import dagster_client
from ingestion_assets.landing.storage import ANSWERS_WITHIN_S, LandingStorage
from ingestion_assets.settings import Settings

FRESH_S = 2.0
PROBE_S = 2.0
LANDING_LOOK_S = 1.9  # less than that: what is still unanswered then is judged, not given up

Probe = Callable[[], Awaitable[None]]


class Dependencies:
    """Probes PostgreSQL, MongoDB, Redis, landing storage and the orchestrator side by side."""

    def __init__(self, *, settings: Settings, engine: AsyncEngine, storage: LandingStorage) -> None:
        self._settings = settings
        self._engine = engine
        self._storage = storage
        self._clients: dict[str, Any] = {}
        self._probes: dict[str, Probe] = {
            "postgresql": self._postgresql,
            "landing": self._landing,
        }
        if settings.asks_dagster:
            self._probes["orchestrator"] = self._orchestrator
        if settings.mongodb_url:
            self._probes["mongodb"] = self._mongodb
        if settings.redis_url:
            self._probes["redis"] = self._redis
        self._errors: dict[str, str | None] = {}
        self._reported: dict[str, str | None] = {}
        self._probed_at = -FRESH_S
        self._running: asyncio.Task[None] | None = None
        self._landing_asked: asyncio.Task[None] | None = None
        self._landing_asked_at = 0.0
        self._landing_answered = False
        self.ledger_was_seen = False

    @property
    def known(self) -> Mapping[str, str | None]:
        """By dependency: None if it answered, else what it said. Empty before the first look."""
        return self._errors | self._reported

    def report(self, name: str, error: str | None) -> None:
        """What someone who watches over `name` has found: None if all is well."""
        self._reported[name] = error

    def forget(self, name: str) -> None:
        """Nobody watches over `name` any more."""
        self._reported.pop(name, None)

    async def refresh(self) -> Mapping[str, str | None]:
        """Look again unless that was just done."""
        if time.monotonic() - self._probed_at > FRESH_S:
            if self._running is None or self._running.done():
                self._running = asyncio.create_task(self._probe_all())
            await asyncio.shield(self._running)
        return self.known

    async def stop(self) -> None:
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
        for name, close in (("mongodb", "close"), ("redis", "aclose"), ("orchestrator", "aclose")):
            if name in self._clients:
                await getattr(self._clients[name], close)()

    async def _probe_all(self) -> None:
        names = list(self._probes)
        answers = await asyncio.gather(*(self._probe(self._probes[name]) for name in names))
        self._errors = dict(zip(names, answers, strict=True))
        self._probed_at = time.monotonic()
        self.ledger_was_seen = self.ledger_was_seen or self._errors["postgresql"] is None

    async def _probe(self, probe: Probe) -> str | None:
        try:
            async with asyncio.timeout(PROBE_S):
                await probe()
        except TimeoutError as error:
            return str(error) or f"no answer within {PROBE_S:g} s"
        except Exception as error:
            return type(error).__name__
        return None

    async def _postgresql(self) -> None:
        async with self._engine.connect() as connection:
            await connection.execute(sa.text("SELECT 1"))

    async def _landing(self) -> None:
        """One that answered before may take as long as payloads wait for it, and is asked again when it has answered."""
        if self._landing_asked is None:
            self._landing_asked = asyncio.create_task(asyncio.to_thread(self._storage.probe))
            self._landing_asked_at = time.monotonic()
        asked = self._landing_asked
        await asyncio.wait([asked], timeout=LANDING_LOOK_S)
        waited_s = time.monotonic() - self._landing_asked_at
        if asked.done():
            self._landing_asked = None
            asked.result()
            self._landing_answered = True
            return
        if waited_s > ANSWERS_WITHIN_S:  # a new question may be answered long before this one
            asked.cancel()
            self._landing_asked = None
            self._landing_answered = False
        if not self._landing_answered:
            raise TimeoutError(f"no answer within {waited_s:.0f} s")

    async def _mongodb(self) -> None:
        if "mongodb" not in self._clients:
            from pymongo import AsyncMongoClient  # noqa: PLC0415

            self._clients["mongodb"] = AsyncMongoClient(
                self._settings.mongodb_url, serverSelectionTimeoutMS=1500, maxPoolSize=2
            )
        await self._clients["mongodb"].admin.command("ping")

    async def _redis(self) -> None:
        if "redis" not in self._clients:
            from redis.asyncio import Redis  # noqa: PLC0415

            self._clients["redis"] = Redis.from_url(
                str(self._settings.redis_url), socket_timeout=1.5, socket_connect_timeout=1.5
            )
        await self._clients["redis"].ping()

    async def _orchestrator(self) -> None:
        if "orchestrator" not in self._clients:
            self._clients["orchestrator"] = dagster_client(self._settings, timeout=1.5)
        (await self._clients["orchestrator"].get("/server_info")).raise_for_status()
