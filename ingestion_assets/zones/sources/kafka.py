"""Topics of Kafka: front doors are members of one consumer group.

Offsets are committed once everything before them has landed, or lies in the topic of dead letters.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

import structlog

from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.landing.flows import RefusedError
from ingestion_assets.zones.sources.following import Take
from ingestion_assets.zones.sources.message_landing import Message, Portion, land_received
from ingestion_assets.zones.sources.source_config import Kafka, SourceError, group_of

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer
    from confluent_kafka import Message as KafkaMessage

POLL_S = 1.0
SEND_S = 10.0

Value = TypeVar("Value")

log = structlog.get_logger(__name__)


def client_settings(url: str) -> dict[str, str]:
    """Settings of librdkafka from `kafka://host:9092,other:9092?security.protocol=SASL_SSL&…`. Raises `SourceError`, which says no secret."""
    address, _, query = url.partition("?")
    scheme, _, brokers = address.rstrip("/").partition("://")
    pairs = [pair.partition("=") for pair in query.split("&") if pair]
    if "#" in url:
        raise SourceError("INGESTION_KAFKA_URL has a #: write %23 for one that belongs to a value")
    if (
        scheme.lower() != "kafka"
        or not brokers
        or "@" in brokers
        or "/" in brokers
        or not all(value for *_, value in pairs)
    ):
        raise SourceError(
            "INGESTION_KAFKA_URL is kafka://host:9092,other:9092, and after a ? what librdkafka is to be set to, such as "
            "security.protocol=SASL_SSL&sasl.mechanism=PLAIN&sasl.username=…&sasl.password=…, with %25, %26 and %23 for %, & and # in values"
        )
    return {**{unquote(name): unquote(value) for name, _, value in pairs}, "bootstrap.servers": brokers}


@asynccontextmanager
async def opened(door: FrontDoor, flow: str, source: Kafka) -> AsyncIterator[Take]:
    """Raises `SourceError`, and what Kafka's client raises."""
    url = door.settings.kafka_url
    if url is None:
        raise SourceError("a Kafka topic needs INGESTION_KAFKA_URL, the addresses of its brokers")
    try:
        from confluent_kafka import Consumer, Producer  # noqa: PLC0415
    except ImportError as error:
        raise SourceError("Kafka needs a package more: pip install 'ingestion-assets[kafka]'") from error
    settings: dict[str, Any] = {"log_level": 3, **client_settings(url.get_secret_value())}
    faults: list[KafkaError] = []  # of connections, which belong to no message
    consumer = Consumer(
        {
            **settings,
            "group.id": group_of(source, flow),
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "queued.max.messages.kbytes": 16_384,
            "error_cb": faults.append,
        }
    )
    producer = Producer({**settings, "enable.idempotence": True, "message.timeout.ms": int(SEND_S * 1000)})
    # One thread calls both: they block, and a consumer is one thread's at a time.
    with ThreadPoolExecutor(1, thread_name_prefix="kafka") as thread:
        topic = _Topic(door, flow, source, consumer, producer, faults, thread)
        try:
            await topic.do(lambda: consumer.subscribe([source.topic]))
            yield topic.take
        finally:
            await topic.do(consumer.close)


class _Topic:
    """One member of the group."""

    def __init__(
        self,
        door: FrontDoor,
        flow: str,
        source: Kafka,
        consumer: "Consumer",
        producer: "Producer",
        faults: "list[KafkaError]",
        thread: ThreadPoolExecutor,
    ) -> None:
        self._door, self._flow, self._source = door, flow, source
        self._consumer, self._producer, self._faults, self._thread = consumer, producer, faults, thread
        self._portion = Portion()

    async def do(self, work: Callable[[], Value]) -> Value:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def take(self) -> None:
        from confluent_kafka import KafkaException  # noqa: PLC0415

        messages = await self.do(lambda: self._consumer.consume(self._portion.count, POLL_S))
        self._portion.taken(len(message.value() or b"") for message in messages)
        errors = [error for message in messages if (error := message.error()) is not None]
        if errors or (self._faults and not messages):
            raise KafkaException((errors or self._faults)[0])
        self._faults.clear()
        ends = await asyncio.gather(*map(self._land, messages), return_exceptions=True)
        refused = [
            (message, end)
            for message, end in zip(messages, ends, strict=True)
            if isinstance(end, RefusedError)
        ]
        if refused:
            await self.do(lambda: self._bury(refused))
        failed = [end for end in ends if end is not None and not isinstance(end, RefusedError)]
        ended = [end is None or isinstance(end, RefusedError) for end in ends]
        await self.do(lambda: self._go_on(messages, ended))
        if failed:
            raise failed[0]

    def _go_on(self, messages: "Sequence[KafkaMessage]", ended: Sequence[bool]) -> None:
        """Commit, of each partition, what has ended up to the first that has not, and read that again next."""
        from confluent_kafka import TopicPartition  # noqa: PLC0415

        following: dict[int, int] = {}
        stuck: dict[int, int] = {}
        for message, has_ended in zip(messages, ended, strict=True):
            partition, offset = message.partition() or 0, message.offset() or 0
            if not has_ended:
                stuck.setdefault(partition, offset)
            if partition not in stuck:
                following[partition] = offset + 1
        topic = self._source.topic
        if following:
            offsets = [TopicPartition(topic, *place) for place in following.items()]
            self._consumer.commit(offsets=offsets, asynchronous=False)
        for place in stuck.items():
            self._consumer.seek(TopicPartition(topic, *place))

    async def _land(self, received: "KafkaMessage") -> None:
        source, content = self._source, received.value()
        place = f"{received.partition()}/{received.offset()}"
        if content is None:
            raise RefusedError("it has no value")
        message = Message(
            # The time tells it from one of the same offset in a topic that was made anew.
            key=f"kafka:{source.topic}/{place}@{received.timestamp()[1]}",
            name=f"{place.replace('/', '-')}.{source.format}",
            content=bytes(content) if isinstance(content, bytes | bytearray) else str(content).encode(),
            principal=f"kafka:{source.topic}",
            attributes={"via": "kafka", "topic": source.topic, "offset": place},
        )
        await land_received(self._door, self._flow, message)

    def _bury(self, refused: "Sequence[tuple[KafkaMessage, RefusedError]]") -> None:
        """Send them to the dead letters, and come back once they are there."""
        faults: list[Any] = []
        for message, reason in refused:
            place = f"{message.partition()}/{message.offset()}"
            log.error("message_refused", source=self._source.name, offset=place, reason=str(reason))
            headers: Any = message.headers() or []
            why = [("refused_offset", place.encode()), ("refused_for", str(reason).encode())]
            self._producer.produce(
                self._source.dead_letters, message.value(), message.key(), headers=[*headers, *why],
                on_delivery=lambda error, _: faults.append(error) if error else None,
            )  # fmt: skip
        if self._producer.flush(SEND_S + 2) or faults:
            raise SourceError(
                f"{self._source.dead_letters}, the topic of dead letters, cannot be written: {faults[:1]}"
            )
