"""Taking jobs from the Redis list `module_sync_queue`, which other producers push to (`LPUSH`), into landing storage.

A job is moved to this process's own list, landed, and only then removed there: one that is lost in between is found on that list
when the process's sign of life has run out, and put back. Its `job_id`, which is what an `Idempotency-Key` may be, and its site are its
idempotency key, so that it is never applied twice. What is no job goes to `module_sync_queue:dead`, and `job_status:<job_id>` says what
became of each. A job that fails for whatever other reason comes again after 15, 30, 60 and 120 s, others going first; then it is set
aside there as well.

The job: `{"job_id", "site_id", "data": <the request body>, …}`.
"""

import asyncio
import json
import time
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import msgspec
import structlog
import uuid_utils
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.frontdoor.request_headers import idempotency_key
from ingestion_assets.landing.drops import IdempotencyConflictError, LandingUnavailableError
from ingestion_assets.modules.attempts import Attempt
from ingestion_assets.modules.desk import desk
from ingestion_assets.modules.flow import site_drop
from ingestion_assets.modules.schema import RequestError, decode_request

QUEUE = "module_sync_queue"
DEAD = f"{QUEUE}:dead"
TAKEN = f"{QUEUE}:taken"
ALIVE = f"{QUEUE}:alive"
LATER = f"{QUEUE}:later"
TRIES = f"{QUEUE}:tries"
ALIVE_S = 15
STATUS_S = 3600
POLL_S = 2.0
RETRY_S = 1.0
MOST_TRIES = 5
FIRST_PAUSE_S = 15.0
TRIES_KEPT_S = 86400
PRINCIPAL = "queue"

log = structlog.get_logger(__name__)


class _Job(msgspec.Struct):
    site_id: int
    data: msgspec.Raw
    job_id: str = ""


async def take_jobs(door: FrontDoor) -> None:
    """Take jobs until cancelled."""
    if not door.settings.redis_url:
        return
    name = uuid_utils.uuid7().hex
    client = Redis.from_url(door.settings.redis_url, socket_timeout=POLL_S + 5, socket_connect_timeout=2)
    try:
        while True:
            try:
                await _take_next(door, client, name)
            except (RedisError, OSError) as error:
                log.debug("queue_unavailable", error=str(error))
                await asyncio.sleep(RETRY_S)
            except (LandingUnavailableError, Problem) as error:
                log.warning("queue_waits", error=str(error))
                await asyncio.sleep(RETRY_S)
    finally:
        await client.aclose()


async def _take_next(door: FrontDoor, client: Redis, name: str) -> None:
    own = f"{TAKEN}:{name}"
    await client.set(f"{ALIVE}:{name}", "1", ex=ALIVE_S)
    await _put_back_lost(client, name)
    await _put_back_due(client)
    job = await client.lindex(own, -1)  # pyright: ignore[reportGeneralTypeIssues]
    if job is None:
        job = await client.blmove(QUEUE, own, POLL_S, "RIGHT", "LEFT")  # pyright: ignore[reportGeneralTypeIssues,reportArgumentType]
    if job is None:
        return
    await _land(door, client, job if isinstance(job, bytes) else job.encode())
    await client.lrem(own, 1, job)  # pyright: ignore[reportGeneralTypeIssues,reportArgumentType]


async def _put_back_lost(client: Redis, name: str) -> None:
    async for key in client.scan_iter(f"{TAKEN}:*", count=1000):
        other = key.decode().removeprefix(f"{TAKEN}:")
        if other == name or await client.exists(f"{ALIVE}:{other}"):
            continue
        while await client.lmove(key, QUEUE, "RIGHT", "RIGHT"):  # pyright: ignore[reportGeneralTypeIssues]
            log.info("queue_job_put_back", consumer=other)


async def _put_back_due(client: Redis) -> None:
    for raw in await client.zrangebyscore(LATER, 0, time.time(), 0, 100):
        async with client.pipeline(transaction=True) as both:
            both.zrem(LATER, raw)  # pyright: ignore[reportArgumentType]
            both.rpush(QUEUE, raw)  # pyright: ignore[reportArgumentType]
            await both.execute()


async def _comes_again(client: Redis, raw: bytes, error: Exception) -> bool:
    """Have a job that failed in a way nobody foresaw wait for its next try; False once it has had them all."""
    digest = sha256(raw).hexdigest()
    tries = await client.hincrby(TRIES, digest)  # pyright: ignore[reportGeneralTypeIssues]
    await client.expire(TRIES, TRIES_KEPT_S)
    log.error("queue_job_failed", tries=tries, error=str(error), exc_info=error if tries == 1 else None)
    if tries >= MOST_TRIES:
        await client.hdel(TRIES, digest)  # pyright: ignore[reportGeneralTypeIssues]
        return False
    await client.zadd(LATER, {raw: time.time() + FIRST_PAUSE_S * 2 ** (tries - 1)})
    return True


async def _land(door: FrontDoor, client: Redis, raw: bytes) -> None:
    """Land one job, or put it where it belongs instead.

    Raises `LandingUnavailableError`; `Problem` 503 while PostgreSQL cannot say whether the site is there.
    """
    job_id = sha256(raw).hexdigest()[:40]
    site_id, started = 0, datetime.now(UTC)
    try:
        job = msgspec.json.decode(raw, type=_Job)
        job_id, site_id, body = job.job_id[:300] or job_id, job.site_id, bytes(job.data)
        key = _key(job_id)
        door.bodies.check_depth(body)
        request = decode_request(body, now=started)
        if not 0 < site_id < 2**63:
            raise RequestError("there is no such site", errors=[])
        await desk(door).require_active(site_id)
        drop = site_drop(
            site_id, body, records=len(request.modules), principal=PRINCIPAL, idempotency_key=f"queue:{site_id}:{key}",
            attributes={"via": "queue", "job_id": job_id},
        )  # fmt: skip
        accepted = await door.intake.accept(drop)
    except (ValueError, RecursionError, IdempotencyConflictError, Problem) as error:
        if isinstance(error, Problem) and error.status == 503:
            raise
        conflict = isinstance(error, IdempotencyConflictError)
        reason = "the job_id was used before with other data" if conflict else str(error)
        status, outcome = 422, "invalid"
    except (RedisError, OSError, LandingUnavailableError):
        raise
    except Exception as error:
        if await _comes_again(client, raw, error):
            return
        status, outcome, reason = 500, "failed", f"{type(error).__name__}: {error}"
    else:
        await _tell(client, job_id, status="landed", receipt=str(accepted.id))
        return
    await client.lpush(DEAD, raw)  # pyright: ignore[reportGeneralTypeIssues]
    await _tell(client, job_id, status="failed", reason=reason)
    attempt = Attempt(
        site_id=site_id if 0 < site_id < 2**63 else 0, at=started, via="queue", status=status, outcome=outcome,
        principal=PRINCIPAL, size_bytes=len(raw), detail=reason[:500],
    )  # fmt: skip
    await desk(door).note(attempt)
    log.warning("queue_job_refused", job_id=job_id, reason=reason)


def _key(job_id: str) -> str:
    try:
        return idempotency_key(job_id) or ""
    except Problem as error:
        raise RequestError("job_id must be 1 to 255 visible ASCII characters", errors=[]) from error


async def _tell(client: Redis, job_id: str, **state: Any) -> None:
    await client.set(f"job_status:{job_id}", json.dumps(state), ex=STATUS_S)
