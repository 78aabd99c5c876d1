"""Notifications of S3 in a queue that speaks SQS's protocol: each object that was created is a payload.

A message is deleted once all its objects have landed, and hidden from others meanwhile. One that cannot be taken is left on the queue,
whose redrive policy moves it to the dead letters after so many tries.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import msgspec
import structlog

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.landing.flows import RefusedError
from ingestion_assets.zones.sources.following import Take
from ingestion_assets.zones.sources.message_landing import Message, check_size, land
from ingestion_assets.zones.sources.source_config import SourceError, Sqs

if TYPE_CHECKING:
    from obstore.store import S3Store

AT_ONCE = 10  # as many as SQS gives
WAIT_S = 10

log = structlog.get_logger(__name__)


class _Bucket(msgspec.Struct):
    name: str


class _Object(msgspec.Struct, rename="camel"):
    key: str
    size: int = 0
    e_tag: str = ""
    version_id: str | None = None
    sequencer: str = ""


class _S3(msgspec.Struct):
    bucket: _Bucket
    object: _Object


class _Record(msgspec.Struct, rename="camel"):
    event_name: str
    s3: _S3


class _Notification(msgspec.Struct):
    records: list[_Record] = msgspec.field(name="Records", default_factory=list)
    event: str = msgspec.field(name="Event", default="")
    of_sns: str = msgspec.field(name="Message", default="")


class Created(msgspec.Struct, frozen=True):
    """An object that was created. `sequencer` tells the events of one key apart."""

    bucket: str
    key: str
    size: int
    etag: str
    version: str | None
    sequencer: str


def created_objects(body: str) -> list[Created]:
    """Those that a message tells of, also by way of SNS. Raises `RefusedError` for what is no notification of S3."""
    try:
        told = msgspec.json.decode(body, type=_Notification)
        if told.of_sns:
            told = msgspec.json.decode(told.of_sns, type=_Notification)
    except (ValueError, RecursionError) as error:
        raise RefusedError("it is no notification of S3") from error
    if not told.records and told.event != "s3:TestEvent":  # sent when notifications are set up
        raise RefusedError("it is no notification of S3: it has no records")
    return [
        Created(
            one.s3.bucket.name, unquote_plus(one.s3.object.key), one.s3.object.size, one.s3.object.e_tag,
            one.s3.object.version_id or None, one.s3.object.sequencer,
        )
        for one in told.records
        if one.event_name.removeprefix("s3:").startswith("ObjectCreated:")
    ]  # fmt: skip


@asynccontextmanager
async def opened(door: FrontDoor, flow: str, source: Sqs) -> AsyncIterator[Take]:
    """With credentials and endpoints from the environment (`AWS_…`). Raises `SourceError`, and what AWS's client raises."""
    try:
        from aiobotocore.config import AioConfig  # noqa: PLC0415
        from aiobotocore.session import get_session  # noqa: PLC0415
    except ImportError as error:
        raise SourceError("SQS needs a package more: pip install 'ingestion-assets[sqs]'") from error
    options = AioConfig(connect_timeout=5, read_timeout=WAIT_S + 10, retries={"max_attempts": 2})
    async with get_session().create_client("sqs", region_name=source.region, config=options) as client:
        yield _Queue(door, flow, source, client).take


def store_of(source: Sqs, bucket: str) -> "S3Store":
    """Where the objects lie: in the queue's region, as S3 tells of objects in no other."""
    from obstore.store import S3Store  # noqa: PLC0415

    return S3Store(bucket) if source.region is None else S3Store(bucket, region=source.region)


class _Queue:
    """One reader of the queue."""

    def __init__(self, door: FrontDoor, flow: str, source: Sqs, client: Any) -> None:
        self._door, self._flow, self._source = door, flow, source
        self._client = client
        self._stores: dict[str, S3Store] = {}

    async def take(self) -> None:
        received = await self._client.receive_message(
            QueueUrl=self._source.queue_url, MaxNumberOfMessages=AT_ONCE, WaitTimeSeconds=WAIT_S,
            VisibilityTimeout=self._source.visibility_s,
        )  # fmt: skip
        messages = received.get("Messages", ())
        ends = await asyncio.gather(*map(self._take, messages), return_exceptions=True)
        for message, end in zip(messages, ends, strict=True):
            if isinstance(end, RefusedError):
                log.error(
                    "message_refused", source=self._source.name, message=message["MessageId"], reason=str(end)
                )
        for end in ends:
            if end is not None and not isinstance(end, RefusedError):
                raise end

    async def _take(self, message: dict[str, Any]) -> None:
        hiding = asyncio.create_task(self._keep_hidden(message))
        try:
            await self._land_all(created_objects(message["Body"]))
        finally:
            hiding.cancel()
        await self._client.delete_message(
            QueueUrl=self._source.queue_url, ReceiptHandle=message["ReceiptHandle"]
        )

    async def _keep_hidden(self, message: dict[str, Any]) -> None:
        """From other readers, for as long as it is in hand; who sees it all the same lands nothing twice."""
        while True:
            await asyncio.sleep(self._source.visibility_s / 2)
            try:
                await self._client.change_message_visibility(
                    QueueUrl=self._source.queue_url, ReceiptHandle=message["ReceiptHandle"],
                    VisibilityTimeout=self._source.visibility_s,
                )  # fmt: skip
            except Exception as error:
                log.warning("message_not_hidden", source=self._source.name, error=type(error).__name__)

    async def _land_all(self, objects: Sequence[Created]) -> None:
        refused: RefusedError | None = None
        for one in objects:
            try:
                await self._land(one)
            except RefusedError as error:
                refused = error
        if refused is not None:
            raise refused

    async def _land(self, one: Created) -> None:
        if self._source.bucket not in {None, one.bucket}:
            raise RefusedError("its object is of another bucket than the zone's")
        check_size(self._door, one.size)
        with self._door.body_memory.reserve() as reservation:
            await reservation.grow(one.size)
            content = await self._fetch(one)
            if content is None:
                return
            message = Message(
                key=f"s3:{one.bucket}:{sha256(msgspec.json.encode(one)).hexdigest()}",
                name=one.key,
                content=content,
                principal=f"s3:{one.bucket}",
                attributes={"via": "sqs", "bucket": one.bucket, "object": one.key},
            )
            await land(self._door, self._flow, message)

    async def _fetch(self, one: Created) -> bytes | None:
        """The object as it was when it was told of; None where another has taken its place, of which another message tells."""
        from obstore import exceptions  # noqa: PLC0415

        if one.bucket not in self._stores:
            self._stores[one.bucket] = store_of(self._source, one.bucket)
        which: Any = (
            {"version": one.version} if one.version else {"if_match": f'"{one.etag}"'} if one.etag else {}
        )
        try:
            got = await self._stores[one.bucket].get_async(one.key, options=which)
            return bytes(await got.bytes_async())
        except exceptions.PreconditionError:
            log.warning("object_overwritten", source=self._source.name, bucket=one.bucket)
            return None
        except (exceptions.NotFoundError, FileNotFoundError) as error:
            raise RefusedError("its object is not there any more") from error
