"""Messages of a Kafka topic land once each, whoever dies.

Against the broker that librdkafka brings for its own tests: it speaks Kafka's protocol over TCP, consumer groups included, and keeps its log in
memory. Apache Kafka itself is in no registry of Python packages.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from ingestion_assets.stores.postgres import engine
from ingestion_assets.zones.sources.kafka import client_settings
from ingestion_assets.zones.sources.source_config import SourceError
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.zones.sources.followed import following, killed_after_landing, landed


@dataclass(slots=True)
class Topic:
    """A topic of its own for each test, of four partitions."""

    name: str
    address: str
    producer: Producer

    @property
    def url(self) -> str:
        return f"kafka://{self.address}?session.timeout.ms=6000"  # a killed member's partitions are free after that

    @property
    def source(self) -> dict[str, Any]:
        return {"kafka": {"topic": self.name}}

    def send(self, *contents: bytes | None) -> None:
        for number, content in enumerate(contents):
            self.producer.produce(self.name, content, key=str(number).encode(), partition=number % 4)
        assert self.producer.flush(20) == 0

    def committed(self) -> int:
        """The sum of the group's offsets: of how many messages it will never hear again."""
        admin = AdminClient({"bootstrap.servers": self.address, "log_level": 3})
        asked = ConsumerGroupTopicPartitions(
            "ingestion-notes", [TopicPartition(self.name, number) for number in range(4)]
        )
        found = admin.list_consumer_group_offsets([asked])["ingestion-notes"].result(20)
        return sum(max(one.offset, 0) for one in found.topic_partitions or ())

    def dead(self, count: int) -> list[Any]:
        """The dead letters, once there are so many."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.address,
                "group.id": uuid.uuid4().hex,
                "auto.offset.reset": "earliest",
                "log_level": 3,
            }
        )
        consumer.subscribe([f"{self.name}.dead"])
        found: list[Any] = []

        def are_there() -> bool:
            found.extend(one for one in consumer.consume(10, 0.5) if one.error() is None)
            return len(found) >= count

        try:
            wait_until(are_there, seconds=40, what=f"{count} dead letters")
        finally:
            consumer.close()
        return found


@pytest.fixture(scope="module")
def broker() -> Iterator[tuple[str, Producer]]:
    """Its address; it lives in the producer."""
    producer = Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 3})
    [broker] = producer.list_topics(timeout=20).brokers.values()
    yield f"{broker.host}:{broker.port}", producer


@pytest.fixture
def topic(broker: tuple[str, Producer]) -> Topic:
    return Topic(f"shop-{uuid.uuid4().hex}", *broker)


def digests(rows: list[dict[str, Any]]) -> list[bytes]:
    return sorted(bytes(row["body_sha256"]) for row in rows)


def test_messages_land_once_and_offsets_are_committed(
    fresh_postgres_url: str, topic: Topic, tmp_path: Path
) -> None:
    contents = [b"[%d]" % number for number in range(250)]
    topic.send(*contents)
    with following(tmp_path, fresh_postgres_url, topic.source, kafka_url=topic.url) as front:
        rows = front.landed(count=250)
        wait_until(lambda: topic.committed() == 250, seconds=60, what="the offsets")
        front.at_rest()
        topic.send(b"[1, 2]")
        rows = front.landed(count=251)
    assert digests(rows) == sorted(sha256(body).digest() for body in [*contents, b"[1, 2]"])
    assert {row["principal"] for row in rows} == {f"kafka:{topic.name}"}
    assert rows[-1]["records"] == 2


def test_a_member_that_is_killed_between_landing_and_committing_loses_and_doubles_nothing(
    fresh_postgres_url: str, topic: Topic, tmp_path: Path
) -> None:
    contents = [b"[%d]" % number for number in range(40)]
    topic.send(*contents)
    killed_after_landing(tmp_path, fresh_postgres_url, topic.source, kafka_url=topic.url)
    own = engine(fresh_postgres_url)
    assert landed(own)
    assert topic.committed() == 0
    with following(tmp_path, fresh_postgres_url, topic.source, kafka_url=topic.url):
        wait_until(lambda: topic.committed() == len(contents), seconds=60, what="all offsets")
    rows = landed(own, tmp_path)
    assert digests(rows) == sorted(sha256(body).digest() for body in contents)


def test_what_is_no_payload_is_a_dead_letter_and_holds_up_no_other(
    fresh_postgres_url: str, topic: Topic, tmp_path: Path
) -> None:
    topic.send(b"no json", None, b"[1]", b'"crash"')
    with following(tmp_path, fresh_postgres_url, topic.source, kafka_url=topic.url) as front:
        front.landed(count=1)
        wait_until(lambda: topic.committed() == 4, seconds=60, what="the offsets")
        front.at_rest()
    dead = {one.value(): dict(one.headers()) for one in topic.dead(3)}
    assert {value: headers["refused_for"].decode() for value, headers in dead.items()} == {
        b"no json": "0-0.json is no JSON", None: "it has no value", b'"crash"': "it could not be read: ZeroDivisionError",
    }  # fmt: skip
    assert dead[None]["refused_offset"] == b"1/0"


def test_a_message_that_cannot_land_is_read_again_until_it_can(
    fresh_postgres_url: str, topic: Topic, tmp_path: Path
) -> None:
    topic.send(b"[0]")
    with following(tmp_path, fresh_postgres_url, topic.source, kafka_url=topic.url) as front:
        front.landed(count=1)
        front.at_rest()
        landing = tmp_path / "landing"
        away = landing.rename(landing.with_name("away"))
        landing.touch()  # no folder can be made in its place
        topic.send(b"[1]", b"[2]")
        wait_until(lambda: "LandingUnavailable" in str(front.said), seconds=60, what="health to say it")
        assert topic.committed() == 1
        landing.unlink()
        away.rename(landing)
        front.landed(count=3)
        wait_until(lambda: topic.committed() == 3, seconds=60, what="the offsets")


def test_brokers_that_are_not_there_are_told(fresh_postgres_url: str, topic: Topic, tmp_path: Path) -> None:
    with following(tmp_path, fresh_postgres_url, topic.source, kafka_url="kafka://127.0.0.1:9") as front:
        wait_until(lambda: "KafkaException" in str(front.said), seconds=60, what="health to say it")
    with following(tmp_path, fresh_postgres_url, topic.source) as front:
        wait_until(lambda: "INGESTION_KAFKA_URL" in str(front.said), seconds=60, what="health to say it")


def test_urls_are_read() -> None:
    assert client_settings("kafka://a:9092,b:9092?security.protocol=SASL_SSL&sasl.password=p%26q") == {
        "bootstrap.servers": "a:9092,b:9092", "security.protocol": "SASL_SSL", "sasl.password": "p&q",
    }  # fmt: skip
    for wrong in (
        "localhost:9092", "kafka://", "kafka://me:s3cret@a:9092", "http://a:9092", "kafka://a:9092/s3cret",
        "kafka://a:9092?sasl.password=s3cret&s3cret",
    ):  # fmt: skip
        with pytest.raises(SourceError) as caught:
            client_settings(wrong)
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("ab+c%2Fd==", "ab+c/d=="),
        ("a%23b", "a#b"),
        ("a;b c", "a;b c"),
        ("%25%2B", "%+"),
        ("a@b/c?d", "a@b/c?d"),
    ],
)
def test_a_secret_in_the_url_stays_what_it_is(written: str, meant: str) -> None:
    assert client_settings(f"kafka://a:9092/?sasl.password={written}")["sasl.password"] == meant


def test_a_secret_that_would_be_cut_is_refused() -> None:
    with pytest.raises(SourceError, match="%23") as caught:
        client_settings("kafka://a:9092?sasl.password=s3cret#more")
    assert "s3cret" not in str(caught.value)
