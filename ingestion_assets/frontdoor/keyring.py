"""Who sends this request: token to principal, remembered for seconds, and for longer while PostgreSQL is down."""

import asyncio
import hmac
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.frontdoor.keys import ApiKey, find_keys, note_use
from ingestion_assets.frontdoor.problems import Problem, unavailable
from ingestion_assets.frontdoor.tokens import Principal, digest, is_well_formed
from ingestion_assets.stores.statement_limits import is_of_connection, limited

ADMIN = Principal("admin", frozenset({"admin"}))
FRESH_S = 2.0
LOOKUP_S = 1.0
STATEMENT_S = 0.8  # less than that: a PostgreSQL that has not even cancelled by then is away
BUSY_S = 5.0  # so long a key is good without being looked up, where PostgreSQL is there but slow
RETRY_S = 2.0
REMEMBERED = 20_000


@dataclass(slots=True)
class _Known:
    key: ApiKey | None
    principal: Principal | None
    checked: float


class Keyring:
    """Authenticates requests.

    A key is looked up at most every `FRESH_S` seconds, so a revocation takes effect within them. While PostgreSQL is down,
    keys seen before go on working and others get 503. Where it answers, but not in time, that is so for `BUSY_S` seconds:
    then all get 503, as any of them may be revoked.

    It has threads of its own: other queries may be slow, and no key waits for them.
    """

    def __init__(
        self,
        *,
        engine: sa.Engine,
        admin_token: str | None,
        now: Callable[[], datetime],
    ) -> None:
        self._now = now
        self._engine = limited(engine, seconds=STATEMENT_S)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="keyring")
        self._admin = digest(admin_token) if admin_token else None
        self._known: dict[bytes, _Known] = {}
        self._lookups: dict[bytes, asyncio.Task[None]] = {}
        self._used: dict[UUID, datetime] = {}
        self._not_before = 0.0
        self._is_away = False
        self._heard = 0.0

    def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def principal(self, headers: dict[bytes, bytes]) -> Principal:
        """The sender of a request with these headers. Raises `Problem` 401, 503."""
        token = _token(headers)
        hashed = digest(token)
        if self._admin is not None and hmac.compare_digest(hashed, self._admin):
            return ADMIN
        if not is_well_formed(token):
            raise _unauthorized("The API key is not valid.")
        known = self._known.get(hashed)
        if known is None or time.monotonic() - known.checked > FRESH_S:
            await self._refresh(hashed)
            known = self._known.get(hashed)
            if known is None or not (self._is_away or time.monotonic() - known.checked < FRESH_S + BUSY_S):
                why = "is not reachable" if self._is_away else "does not answer in time"
                new = " and this API key is new here" if known is None else ""
                raise unavailable("postgresql", retry_after_s=RETRY_S, why=why + new)
        return self._admit(known)

    def _admit(self, known: _Known) -> Principal:
        key = known.key
        if key is None or known.principal is None or key.revoked_at is not None:
            raise _unauthorized("The API key is not valid.")
        now = self._now()
        if key.expires_at is not None and key.expires_at <= now:
            raise _unauthorized("The API key has expired.")
        self._used[key.id] = now
        return known.principal

    async def _refresh(self, hashed: bytes) -> None:
        asked = time.monotonic()
        if asked < self._not_before:
            return
        lookup = self._lookups.get(hashed)
        if lookup is None:
            lookup = self._lookups[hashed] = asyncio.create_task(self._look_up(hashed))
            lookup.add_done_callback(lambda _: self._lookups.pop(hashed, None))
        try:
            await asyncio.wait_for(asyncio.shield(lookup), LOOKUP_S)
        except TimeoutError:
            self._put_off(away=self._heard < asked)  # else it waits for other lookups

    def _put_off(self, *, away: bool) -> None:
        self._not_before = time.monotonic() + RETRY_S
        self._is_away = away

    async def _look_up(self, hashed: bytes) -> None:
        def look() -> ApiKey | None:
            with self._engine.connect() as connection:
                return find_keys(connection, [hashed]).get(hashed)

        try:
            key = await asyncio.get_running_loop().run_in_executor(self._threads, look)
        except SQLAlchemyError as error:
            away = is_of_connection(error)
            if not away:
                self._heard = time.monotonic()
            self._put_off(away=away)
            return
        self._heard = time.monotonic()
        self._is_away = False
        if len(self._known) >= REMEMBERED:
            self._known.pop(next(iter(self._known)))
        self._known.pop(hashed, None)
        self._known[hashed] = _Known(key, Principal(key.name, key.scopes) if key else None, time.monotonic())

    async def write_uses(self) -> None:
        """Record the last uses since the last call; loses nothing that matters when PostgreSQL is down."""
        used, self._used = self._used, {}

        def write() -> None:
            with self._engine.begin() as connection:
                note_use(connection, used)

        if used:
            await asyncio.get_running_loop().run_in_executor(self._threads, write)


def _token(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-api-key")
    if given is None:
        scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
        given = value if scheme.lower() == b"bearer" else None
    if not given:
        raise _unauthorized("An API key is needed: send it as `X-API-Key` or as `Authorization: Bearer`.")
    return given.strip().decode("latin-1")


def _unauthorized(detail: str) -> Problem:
    return Problem(401, detail, headers={"WWW-Authenticate": 'Bearer realm="ingestion"'})
