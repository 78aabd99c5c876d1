"""Taking jobs from the Redis list `module_sync_queue`, which other producers push to (`LPUSH`), into landing storage.

A job is moved to this process's own list, landed, and only then removed there: one that is lost in between is found on that list
when the process's sign of life has run out, and put back. Nothing is judged here but which site's it is, so that whatever is pushed
lands: the run judges the request, and what it refuses is a reject like any other. What is no job lands under the site 0, of which
there is none.

The job: `{"job_id", "site_id", "data": <the request body>, …}`. Its `job_id` is its idempotency key, once a site, so that it is never
applied twice; `job_status:<job_id>` names its receipt for an hour.
"""

import asyncio
import json
import re
import time
from hashlib import sha256

import msgspec
import structlog
import uuid_utils
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ingestion_assets.frontdoor.cancellation import heed_cancellation
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.landing.drops import (
    IdempotencyConflictError,
    LandingUnavailableError,
    NewDrop,
)
from ingestion_assets.modules.flow import NO_SITE, REFUSED, site_drop

QUEUE = "module_sync_queue"
TAKEN = f"{QUEUE}:taken"
ALIVE = f"{QUEUE}:alive"
POSTPONED = f"{QUEUE}:later"
ALIVE_S = 15
STATUS_S = 3600
POLL_S = 2.0
RETRY_S = 1.0
LOOK_S = 5.0
PRINCIPAL = "queue"

_KEY = re.compile(r"[!-~]{1,255}")

log = structlog.get_logger(__name__)


class _Job(msgspec.Struct):
    site_id: int
    data: msgspec.Raw
    job_id: str = ""


class _Request(msgspec.Struct):
    modules: list[msgspec.Raw]


async def take_jobs(door: FrontDoor) -> None:
    """Take jobs until cancelled."""
    if not door.settings.redis_url:
        return
    own = f"{TAKEN}:{uuid_utils.uuid7().hex}"
    client = Redis.from_url(door.settings.redis_url, socket_timeout=POLL_S + 5, socket_connect_timeout=2)
    look_at = 0.0
    try:
        while True:
            heed_cancellation()
            try:
                # Not at each job: it goes through all the names that Redis has.
                if time.monotonic() >= look_at:
                    await _put_back_lost(client, own)
                    await _put_back_postponed(client)
                    look_at = time.monotonic() + LOOK_S
                await _take_next(door, client, own)
            except (RedisError, OSError) as error:
                log.debug("queue_unavailable", error=str(error))
                await asyncio.sleep(RETRY_S)
            except LandingUnavailableError as error:
                log.warning("queue_waits", error=str(error))
                await asyncio.sleep(RETRY_S)
    finally:
        await client.aclose()


async def _take_next(door: FrontDoor, client: Redis, own: str) -> None:
    await client.set(own.replace(TAKEN, ALIVE), "1", ex=ALIVE_S)
    job = await client.lindex(own, -1)  # pyright: ignore[reportGeneralTypeIssues]
    if job is None:
        job = await client.blmove(QUEUE, own, POLL_S, "RIGHT", "LEFT")  # pyright: ignore[reportGeneralTypeIssues,reportArgumentType]
    if job is None:
        return
    await _land(door, client, job if isinstance(job, bytes) else job.encode())
    await client.lrem(own, 1, job)  # pyright: ignore[reportGeneralTypeIssues,reportArgumentType]


async def _put_back_lost(client: Redis, own: str) -> None:
    async for key in client.scan_iter(f"{TAKEN}:*", count=1000):
        other = key.decode()
        if other == own or await client.exists(other.replace(TAKEN, ALIVE)):
            continue
        while await client.lmove(other, QUEUE, "RIGHT", "RIGHT"):  # pyright: ignore[reportGeneralTypeIssues]
            log.info("queue_job_put_back", consumer=other)


async def _put_back_postponed(client: Redis) -> None:
    """Jobs that a front door of an earlier release was to try again later, where one still runs, too."""
    for raw in await client.zrange(POSTPONED, 0, 99):
        async with client.pipeline(transaction=True) as both:
            both.zrem(POSTPONED, raw)  # pyright: ignore[reportArgumentType]
            both.lpush(QUEUE, raw)  # pyright: ignore[reportArgumentType]
            await both.execute()


async def _land(door: FrontDoor, client: Redis, raw: bytes) -> None:
    """Raises `LandingUnavailableError`."""
    drop, job_id = job_drop(raw)
    try:
        accepted = await door.intake.accept(drop)
    except IdempotencyConflictError:
        drop = _refused(drop, "the job_id was used before with other data")
        accepted = await door.intake.accept(drop)
    reason = drop.attributes.get(REFUSED)
    status = {"status": "failed", "reason": reason} if reason else {"status": "landed"}
    said = json.dumps({**status, "receipt": str(accepted.id)})
    await client.set(f"job_status:{job_id}", said, ex=STATUS_S)


def job_drop(raw: bytes) -> tuple[NewDrop, str]:
    """A job as a payload of its site, and the name of its status: its `job_id`, else a hash of all of it."""
    digest = sha256(raw).hexdigest()
    try:
        job = msgspec.json.decode(raw, type=_Job)
        if not 0 < job.site_id < 2**63:
            raise ValueError("no site has such a number as its site_id")
    except (ValueError, RecursionError) as error:
        return _refused(_drop(NO_SITE, raw, key=digest), f"it is no job: {error}"), digest
    # What is no idempotency key of a request, such as a text with NUL, could not be kept as it is.
    key = job.job_id if _KEY.fullmatch(job.job_id) else sha256(job.job_id.encode() or raw).hexdigest()
    return _drop(job.site_id, bytes(job.data), key=key), job.job_id[:300] or digest


def _drop(site_id: int, body: bytes, *, key: str) -> NewDrop:
    return site_drop(
        site_id, body, records=_modules_in(body), principal=PRINCIPAL, idempotency_key=f"queue:{site_id}:{key}",
        attributes={"via": "queue", "job_id": key},
    )  # fmt: skip


def _modules_in(body: bytes) -> int:
    try:
        return len(msgspec.json.decode(body, type=_Request).modules)
    except (ValueError, RecursionError):
        return 1


def _refused(drop: NewDrop, reason: str) -> NewDrop:
    """The same payload, to be kept as a reject: under a key of its own, so that it too lands once."""
    digest = sha256(drop.body).hexdigest()
    attributes = {**drop.attributes, REFUSED: reason}
    key = f"{drop.idempotency_key}:{digest}"
    return msgspec.structs.replace(drop, idempotency_key=key, attributes=attributes)
