"""Redis streams: front doors are consumers of one group; what a dead one had in hand, another claims.

An entry is acknowledged (XACK) once it has landed. One that is no payload goes to the dead letters in the same transaction.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any

import structlog
import uuid_utils
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.landing.flows import RefusedError
from ingestion_assets.zones.sources.following import Take
from ingestion_assets.zones.sources.message_landing import Message, Portion, land_received
from ingestion_assets.zones.sources.source_config import DATA, RedisStream, SourceError, group_of

POLL_S = 2.0
GONE_S = 3600.0  # a consumer that has said nothing for so long, and has nothing in hand, is forgotten

Entry = tuple[bytes, Mapping[bytes, bytes] | None]

log = structlog.get_logger(__name__)


@asynccontextmanager
async def opened(door: FrontDoor, flow: str, source: RedisStream) -> AsyncIterator[Take]:
    """Raises `SourceError`, and what Redis raises."""
    if not door.settings.redis_url:
        raise SourceError("a Redis stream needs INGESTION_REDIS_URL, the address of Redis")
    client = Redis.from_url(door.settings.redis_url, socket_timeout=POLL_S + 5, socket_connect_timeout=2)
    reader = _Reader(door, flow, source, client)
    try:
        await reader.join()
        yield reader.take
    finally:
        with suppress(RedisError, OSError):
            await reader.leave()
        await client.aclose()


class _Reader:
    """One consumer of the group."""

    def __init__(self, door: FrontDoor, flow: str, source: RedisStream, client: Redis) -> None:
        self._door, self._flow, self._source = door, flow, source
        self._client: Any = client  # its commands are typed as awaitable or not
        self._group = group_of(source, flow)
        self._wait_s = min(POLL_S, source.claim_after_s / 2)
        self._consumer = uuid_utils.uuid7().hex
        self._look_at = 0.0
        self._portion = Portion()
        self._in_hand = False  # something was not acknowledged at the last look

    async def join(self) -> None:
        """Make the group, which begins with what is in the stream already, unless it is there."""
        try:
            await self._client.xgroup_create(self._source.stream, self._group, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise

    async def take(self) -> None:
        """What could not be landed before, what other consumers have left, then what is new."""
        while self._in_hand:
            await self._take(await self._read("0"))
        if time.monotonic() >= self._look_at:
            await self._claim()
            await self._forget(lambda one: one["idle"] > GONE_S * 1000)
            self._look_at = time.monotonic() + self._wait_s
        await self._take(await self._read(">"))

    async def leave(self) -> None:
        """Go, unless something is in hand: that is found under this consumer's name."""
        await self._forget(lambda one: one["name"] == self._consumer.encode())

    async def _claim(self) -> None:
        """Take over what nobody has acknowledged in time."""
        cursor, idle_ms = b"0-0", int(self._source.claim_after_s * 1000)
        while True:
            cursor, entries, *_ = await self._client.xautoclaim(
                self._source.stream,
                self._group,
                self._consumer,
                min_idle_time=idle_ms,
                start_id=cursor,
                count=self._portion.count,
            )
            if entries:
                log.info("entries_claimed", source=self._source.name, entries=len(entries))
            await self._take(entries)
            if cursor == b"0-0":
                return

    async def _read(self, after: str) -> Sequence[Entry]:
        """New entries (`>`), or this consumer's own that are not acknowledged yet (`0`)."""
        found = await self._client.xreadgroup(
            self._group, self._consumer, {self._source.stream: after}, count=self._portion.count,
            block=int(1000 * self._wait_s),
        )  # fmt: skip
        return _entries(found)

    async def _take(self, entries: Sequence[Entry]) -> None:
        """Land all of them, acknowledge those that have, then raise what kept others from it."""
        self._in_hand = bool(entries)
        self._portion.taken(sum(map(len, (fields or {}).values())) for _, fields in entries)
        ends = await asyncio.gather(*(self._land(*entry) for entry in entries), return_exceptions=True)
        landed = [entry_id for (entry_id, _), end in zip(entries, ends, strict=True) if end is None]
        if landed:
            await self._client.xack(self._source.stream, self._group, *landed)
        for (entry_id, fields), end in zip(entries, ends, strict=True):
            if isinstance(end, RefusedError):
                await self._bury(entry_id, fields or {}, str(end))
        for end in ends:
            if end is not None and not isinstance(end, RefusedError):
                raise end
        self._in_hand = False

    async def _land(self, entry_id: bytes, fields: Mapping[bytes, bytes] | None) -> None:
        source, number = self._source, entry_id.decode()
        if not fields:  # trimmed while it was in hand: nothing is left of it
            log.warning("entry_trimmed", source=source.name, entry=number)
            return
        content = fields.get(source.field.encode())
        if content is None:
            raise RefusedError(f"it has no field {source.field}")
        message = Message(
            key=_key(source, number),
            name=f"{number}.{source.format}",
            content=content,
            principal=f"redis:{source.stream}",
            attributes={"via": "redis", "stream": source.stream, "entry": number},
        )
        await land_received(self._door, self._flow, message)

    async def _bury(self, entry_id: bytes, fields: Mapping[bytes, bytes], reason: str) -> None:
        log.error("message_refused", source=self._source.name, entry=entry_id.decode(), reason=reason)
        why = notes_beside(fields, refused_entry=entry_id, refused_for=reason)
        async with self._client.pipeline(transaction=True) as both:
            both.xadd(self._source.dead_letters, {**fields, **why})
            both.xack(self._source.stream, self._group, entry_id)
            await both.execute()

    async def _forget(self, whom: Callable[[Mapping[str, Any]], bool]) -> None:
        stream, group = self._source.stream, self._group
        for one in await self._client.xinfo_consumers(stream, group):
            if one["pending"] == 0 and whom(one):
                await self._client.xgroup_delconsumer(stream, group, one["name"])


def _key(source: RedisStream, number: str) -> str:
    """Of an entry of which this field is read: another one of it is another payload."""
    named = "" if source.field == DATA else f":{source.field}"
    return f"redis:{source.stream}:{number}{named}"


def notes_beside(fields: Mapping[bytes, bytes], **notes: bytes | str) -> dict[str, bytes | str]:
    """The notes under names that no field has: `refused_for`, then `refused_for_2`, as an entry is kept whole."""
    number = next(n for n in count(1) if not any(_named(name, n).encode() in fields for name in notes))
    return {_named(name, number): note for name, note in notes.items()}


def _named(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"


def _entries(found: Any) -> Sequence[Entry]:
    """Of an answer to XREADGROUP, which is a list in RESP2 and a map in RESP3."""
    if not found:
        return ()
    [entries] = found.values() if isinstance(found, dict) else [entries for _, entries in found]
    return entries[0] if entries and isinstance(entries[0], list) else entries
