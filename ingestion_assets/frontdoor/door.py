"""What the endpoints share: one front door's connections and watches, made at start and ended at stop."""

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import HTTPConnection

from ingestion_assets.frontdoor.admission import Backlog
from ingestion_assets.frontdoor.bodies import BodyReader
from ingestion_assets.frontdoor.body_memory import BodyMemory
from ingestion_assets.frontdoor.dependencies import Dependencies
from ingestion_assets.frontdoor.keyring import ADMIN, Keyring
from ingestion_assets.frontdoor.keys import without_key
from ingestion_assets.frontdoor.limits import RateLimits
from ingestion_assets.frontdoor.metrics import RequestMetrics
from ingestion_assets.frontdoor.notifications import Notifications
from ingestion_assets.frontdoor.open_streams import OpenStreams
from ingestion_assets.frontdoor.payload_ages import PayloadAges
from ingestion_assets.frontdoor.problems import Problem, too_many_requests, unavailable
from ingestion_assets.frontdoor.receipt_lookup import ReceiptLookup
from ingestion_assets.frontdoor.tokens import Principal
from ingestion_assets.frontdoor.waiting import ReceiptWatch
from ingestion_assets.landing import ledger
from ingestion_assets.landing.channels import FINISHED, LANE_FREE, PROGRESS
from ingestion_assets.landing.drops import LandingUnavailableError
from ingestion_assets.landing.flows import LiveFlows, at_once
from ingestion_assets.landing.intake import Intake
from ingestion_assets.landing.storage import LandingStorage
from ingestion_assets.landing.waking import Waker
from ingestion_assets.settings import Settings
from ingestion_assets.stores import disk
from ingestion_assets.stores.postgres import async_engine, driver_url, engine
from ingestion_assets.stores.statement_limits import is_cancelled, limited

Value = TypeVar("Value")

WATCH_S = 2.0
LEDGER_S = 10.0
STATEMENT_S = 9.0  # less than that: what nobody waits for any more must not hold a thread
USES_EVERY = 10
DISK_EVERY = 30
BEHIND_S = 10.0  # a flow whose payloads wait for less has no backlog, however many have just come

log = structlog.get_logger(__name__)


class FrontDoor:
    """One front door. `flows` are those whose rejects can be redriven here."""

    def __init__(
        self,
        *,
        settings: Settings,
        storage: LandingStorage,
        flows: LiveFlows,
        waker: Waker,
    ) -> None:
        url = settings.require("postgres_url")
        self.settings = settings
        self.flows = flows
        self.waker = waker
        self.stopping = False
        self.storage = storage
        self.engine: sa.Engine = engine(url)
        self.async_engine: AsyncEngine = async_engine(url)
        self.answering: sa.Engine = limited(self.engine, seconds=STATEMENT_S)
        self.threads = ThreadPoolExecutor(4, thread_name_prefix="frontdoor")
        self.intake = Intake(storage=storage, engine=self.engine, on_registered=waker.wake)
        self.clock = self.intake.clock
        self.receipts = ReceiptLookup(
            engine=self.engine, async_engine=self.async_engine, storage=storage, clock=self.clock
        )
        self.metrics = RequestMetrics(flows)
        self.body_memory = BodyMemory(limit_bytes=settings.max_inflight_bytes)
        self.bodies = BodyReader(settings)
        self.keyring = Keyring(
            engine=self.engine,
            admin_token=settings.admin_token.get_secret_value() if settings.admin_token else None,
            now=self.clock.now,
        )
        self.limits = RateLimits(policy=settings.rate_limit, store_url=settings.redis_url)
        behind_s = min(BEHIND_S, (settings.backlog_limit_s or math.inf) / 10)
        self.backlog = Backlog(
            read=lambda: ledger.statistics(self.async_engine, behind_s=behind_s, at_once=at_once(flows)),
            flows=flows,
            limit_s=settings.backlog_limit_s,
        )
        self.payload_ages = PayloadAges(self.async_engine, flows.keys)
        self.dependencies = Dependencies(settings=settings, engine=self.async_engine, storage=storage)
        self.notifications = Notifications(
            conninfo=driver_url(url, "psycopg")
            .set(drivername="postgresql")
            .render_as_string(hide_password=False),
            channels=(FINISHED, LANE_FREE, PROGRESS),
            on_listening=lambda: waker.wake_all(flows),
        )
        self.notifications.observe(FINISHED, self._note_finished)
        self.notifications.observe(LANE_FREE, waker.lane_freed)
        self.finished = ReceiptWatch(
            notifications=self.notifications, read=lambda ids: ledger.receipts(self.async_engine, ids)
        )
        self.streams = OpenStreams(most=settings.max_streams)
        self._finished_ids: set[UUID] = set()
        self._watch: asyncio.Task[None] | None = None
        self._resources: dict[str, tuple[Any, Callable[[], Awaitable[None]]]] = {}

    async def start(self) -> None:
        self.waker.start()
        await self.intake.start()
        await self.notifications.start()
        self._watch = asyncio.create_task(self._keep_watch())

    async def stop(self) -> None:
        """Finish what was accepted and close every connection."""
        self.stop_waiting()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self.notifications.stop()
        await self.intake.stop()
        await asyncio.to_thread(self.waker.stop)
        await self.limits.stop()
        await self.dependencies.stop()
        for _, close in self._resources.values():
            await close()
        with contextlib.suppress(SQLAlchemyError, OSError):
            await self.async_engine.dispose()
        self.threads.shutdown(wait=False, cancel_futures=True)
        self.keyring.stop()
        self.receipts.stop()

    def stop_waiting(self) -> None:
        """Not ready any more; those who wait for an outcome get their receipt now."""
        self.stopping = True
        self.finished.release()

    def resource(
        self, name: str, make: Callable[[], Value], close: Callable[[Value], Awaitable[None]]
    ) -> Value:
        """A flow's own connection, made at its first use and closed at stop."""
        if name not in self._resources:
            made = make()
            self._resources[name] = (made, lambda: close(made))
        return self._resources[name][0]

    async def authenticate(self, request: HTTPConnection, *scopes: str) -> Principal:
        """Who sends this and whether they may, at this rate. Raises `Problem` 401, 403, 429, 503."""
        principal = await self.keyring.principal(request.scope["state"]["headers"])
        return await self.admit(request, principal, *scopes)

    async def admit(self, request: HTTPConnection, principal: Principal, *scopes: str) -> Principal:
        """Whether they may, at this rate. Raises `Problem` 403, 429."""
        state = request.scope["state"]
        state["principal"] = principal.name
        verdict = await self.limits.judge(principal.name)
        if verdict.headers:
            state["response_headers"].extend(
                (name.lower().encode(), value.encode()) for name, value in verdict.headers
            )
        if not verdict.allowed:
            raise too_many_requests(
                "The rate limit of this API key is used up", retry_after_s=verdict.retry_after_s
            )
        if scopes and not principal.may(*scopes):
            raise Problem(403, f"This API key lacks the scope {' or '.join(scopes)}.")
        return principal

    async def in_thread(self, work: Callable[[sa.Connection], Value], *, goes_on: bool = False) -> Value:
        """Run `work` with a connection and a transaction, in a thread. Raises `Problem` 503 while the ledger is down or slow.

        A statement that takes longer than `STATEMENT_S` is undone with its transaction, unless it `goes_on`: for what must be done however
        long it takes. Several shorter ones may be committed after the 503.
        """
        engine = self.engine if goes_on else self.answering

        def run() -> Value:
            with engine.begin() as connection:
                return work(connection)

        async with ledger_needed():
            return await asyncio.get_running_loop().run_in_executor(self.threads, run)

    def _note_finished(self, payload: str) -> None:
        if len(self._finished_ids) < 100_000:
            self._finished_ids.update(map(UUID, payload.split(",")))

    async def _keep_watch(self) -> None:
        turn = 0
        while True:
            turn += 1
            try:
                await self.backlog.refresh()
                await self.dependencies.refresh()
                await self._count_finished()
                await self._end_streams_without_key()
                if turn % USES_EVERY == 0:
                    await self.keyring.write_uses()
                if turn % DISK_EVERY == 1 and self.settings.home.is_dir():
                    await self._look_at_disk()
            except (SQLAlchemyError, OSError, Problem) as error:
                log.debug("watch_interrupted", error=str(error))
            except Exception:
                log.exception("watch_interrupted")  # and goes on: health and admission depend on it
            await asyncio.sleep(WATCH_S)

    async def _end_streams_without_key(self) -> None:
        ages_s = self.streams.ages_s()
        ages_s.pop(ADMIN.name, None)  # has no key in the ledger
        if ages_s:
            for name in await self.in_thread(lambda connection: without_key(connection, ages_s)):
                log.info("streams_ended", principal=name, reason="its API key was revoked, or has expired")
                self.streams.end(name)

    async def _look_at_disk(self) -> None:
        with contextlib.suppress(Problem):
            self.metrics.show_disk(
                await self.in_thread(lambda connection: disk.look(connection, self.settings.home))
            )

    async def _count_finished(self) -> None:
        ids = list(self._finished_ids)
        for start in range(0, len(ids), 500):
            part = ids[start : start + 500]
            async with asyncio.timeout(LEDGER_S):
                finished = await ledger.receipts(self.async_engine, part)
            self.metrics.count_outcomes(finished.values())
            self._finished_ids.difference_update(part)


@contextlib.asynccontextmanager
async def ledger_needed(*, within_s: float | None = LEDGER_S) -> AsyncIterator[None]:
    """Turns a ledger that is down, or says nothing for so long (None: however long), into the 503 that names it; landing storage too."""
    try:
        async with asyncio.timeout(within_s):
            yield
    except (OperationalError, InterfaceError, PoolTimeoutError, OSError) as error:
        if isinstance(error, TimeoutError) or is_cancelled(error):
            raise unavailable("postgresql", why="does not answer in time") from error
        raise unavailable("postgresql") from error
    except LandingUnavailableError as error:
        raise unavailable("landing") from error


def front_door(request: HTTPConnection) -> FrontDoor:
    """The front door that serves this request, or WebSocket."""
    return request.scope["app"].door
