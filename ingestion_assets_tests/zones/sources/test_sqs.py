"""Objects that S3 tells of in an SQS queue land once each, whoever dies; all against moto's server."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import boto3
import pytest

from ingestion_assets.landing.flows import RefusedError
from ingestion_assets.stores.postgres import engine
from ingestion_assets.zones.sources.source_config import Sqs
from ingestion_assets.zones.sources.sqs import Created, created_objects, store_of
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.object_stores import BUCKET, S3Server, s3_server
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.zones.sources.followed import following, killed_after_landing, landed


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("aws")) as running, environment(**running.environment):
        yield running


class Notified:
    """A bucket that tells a queue of its objects."""

    def __init__(self, server: S3Server) -> None:
        options: Any = {"endpoint_url": server.url, "region_name": "us-east-1"}
        options |= {"aws_access_key_id": "key", "aws_secret_access_key": "secret"}
        self.s3: Any = boto3.client("s3", **options)
        self.sqs: Any = boto3.client("sqs", **options)
        server.wipe()
        server.make_bucket()
        self.dead_url: str = self.sqs.create_queue(QueueName="dead")["QueueUrl"]
        dead = self.sqs.get_queue_attributes(QueueUrl=self.dead_url, AttributeNames=["QueueArn"])
        policy = json.dumps({"deadLetterTargetArn": dead["Attributes"]["QueueArn"], "maxReceiveCount": "2"})
        self.url: str = self.sqs.create_queue(QueueName="shop", Attributes={"RedrivePolicy": policy})[
            "QueueUrl"
        ]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"][
            "QueueArn"
        ]
        self.s3.put_bucket_notification_configuration(
            Bucket=BUCKET,
            NotificationConfiguration={
                "QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]
            },
        )

    @property
    def source(self) -> dict[str, Any]:
        return {"sqs": {"queue_url": self.url, "region": "us-east-1", "visibility_s": 2}}

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def left(self) -> int:
        """Messages that are not deleted, those in hand too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        told = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=names)["Attributes"]
        return sum(int(told[name]) for name in names)

    def in_hand(self) -> int:
        """Messages that somebody has received."""
        name = "ApproximateNumberOfMessagesNotVisible"
        told = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=[name])
        return int(told["Attributes"][name])

    def emptied(self) -> None:
        wait_until(lambda: self.left() == 0, seconds=40, what="all messages to be deleted")

    def dead(self) -> list[str]:
        """The bodies of dead letters; takes them."""
        got = self.sqs.receive_message(QueueUrl=self.dead_url, MaxNumberOfMessages=10).get("Messages", [])
        return [message["Body"] for message in got]


@pytest.fixture
def notified(server: S3Server) -> Notified:
    return Notified(server)


def test_objects_land_once_and_their_messages_are_deleted(
    fresh_postgres_url: str, notified: Notified, tmp_path: Path
) -> None:
    notified.put("orders/1 of 2.json", b"[1, 2]")
    with following(tmp_path, fresh_postgres_url, notified.source) as front:
        front.landed(count=1)
        notified.put("ä+b.jsonl", b"1\n2")
        rows = front.landed(count=3)
        notified.emptied()
        front.at_rest()
    assert [(row["attributes"]["object"], row["records"]) for row in rows] == [
        ("orders/1 of 2.json", 2), ("ä+b.jsonl", 1), ("ä+b.jsonl", 1),
    ]  # fmt: skip
    assert bytes(rows[0]["body_sha256"]) == sha256(b"[1, 2]").digest()
    assert {row["principal"] for row in rows} == {f"s3:{BUCKET}"}


def test_a_reader_that_is_killed_between_landing_and_deleting_loses_and_doubles_nothing(
    fresh_postgres_url: str, notified: Notified, tmp_path: Path
) -> None:
    contents = [b"[%d]" % number for number in range(15)]
    for number, content in enumerate(contents):
        notified.put(f"{number}.json", content)
    killed_after_landing(tmp_path, fresh_postgres_url, notified.source)
    own = engine(fresh_postgres_url)
    assert landed(own)
    assert notified.left() == len(contents)
    with following(tmp_path, fresh_postgres_url, notified.source):
        notified.emptied()
    rows = landed(own, tmp_path)
    assert sorted(bytes(row["body_sha256"]) for row in rows) == sorted(
        sha256(body).digest() for body in contents
    )
    assert not notified.dead()


def test_a_message_that_is_told_twice_lands_once(
    fresh_postgres_url: str, notified: Notified, tmp_path: Path
) -> None:
    """S3 promises at least one message for an object."""
    notified.put("1.json", b"[1]")
    [message] = notified.sqs.receive_message(QueueUrl=notified.url, VisibilityTimeout=0)["Messages"]
    notified.sqs.send_message(QueueUrl=notified.url, MessageBody=message["Body"])
    notified.sqs.send_message(
        QueueUrl=notified.url, MessageBody=json.dumps({"Type": "Notification", "Message": message["Body"]})
    )
    with following(tmp_path, fresh_postgres_url, notified.source):
        notified.emptied()
    rows = landed(engine(fresh_postgres_url), tmp_path)
    assert len(rows) == 1


def test_what_cannot_be_taken_goes_the_way_of_the_queue_and_holds_up_no_other(
    fresh_postgres_url: str, notified: Notified, tmp_path: Path
) -> None:
    notified.put("bad.json", b"no json")
    notified.put("gone.json", b"[0]")
    notified.s3.delete_object(Bucket=BUCKET, Key="gone.json")
    notified.sqs.send_message(QueueUrl=notified.url, MessageBody="hello")
    notified.put("good.json", b"[1]")
    with following(tmp_path, fresh_postgres_url, notified.source) as front:
        rows = front.landed(count=1)
        found: list[str] = []

        def are_dead() -> bool:
            found.extend(notified.dead())
            return len(found) == 3

        wait_until(are_dead, seconds=60, what="the dead letters")
    assert rows[0]["attributes"]["object"] == "good.json"
    assert "hello" in found
    assert notified.left() == 0


def test_an_object_that_was_overwritten_lands_as_what_it_is(
    fresh_postgres_url: str, notified: Notified, tmp_path: Path
) -> None:
    notified.put("1.json", b"[1]")
    notified.put("1.json", b"[2, 3]")
    with following(tmp_path, fresh_postgres_url, notified.source) as front:
        notified.emptied()
        rows = landed(front.engine)
    assert [bytes(row["body_sha256"]) for row in rows] == [sha256(b"[2, 3]").digest()]


def test_a_message_in_hand_stays_hidden_from_others_however_long_it_takes(
    fresh_postgres_url: str, notified: Notified, tmp_path: Path
) -> None:
    notified.put("1.json", b'["slow"]')  # three seconds, of which SQS was told two
    with following(tmp_path, fresh_postgres_url, notified.source) as front:
        wait_until(notified.in_hand, seconds=20, what="the message to be taken")

        def is_landed_and_was_hidden() -> bool:
            assert not notified.sqs.receive_message(QueueUrl=notified.url, VisibilityTimeout=0).get(
                "Messages"
            )
            return bool(landed(front.engine))

        wait_until(is_landed_and_was_hidden, seconds=60, what="the payload")
        notified.emptied()


def test_a_queue_that_is_not_there_is_told(
    fresh_postgres_url: str, notified: Notified, tmp_path: Path
) -> None:
    wrong = {"sqs": {**notified.source["sqs"], "queue_url": f"{notified.url}s"}}
    with following(tmp_path, fresh_postgres_url, wrong) as front:
        wait_until(
            lambda: "NonExistentQueue" in str(front.said) or "does not exist" in str(front.said),
            seconds=30,
            what="word",
        )


def test_objects_of_another_bucket_are_refused_where_one_is_named(
    fresh_postgres_url: str, notified: Notified, tmp_path: Path
) -> None:
    source = {"sqs": {**notified.source["sqs"], "bucket": "another"}}
    notified.put("1.json", b"[1]")
    with following(tmp_path, fresh_postgres_url, source):
        wait_until(notified.dead, seconds=60, what="the dead letter")
    assert not landed(engine(fresh_postgres_url))


def test_objects_are_fetched_from_the_region_of_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    source = Sqs(queue_url="https://sqs.eu-central-1.amazonaws.com/1/shop", region="eu-central-1")
    assert store_of(source, "shop").config.get("region") == "eu-central-1"


def record(event: str = "ObjectCreated:Put", **object_: Any) -> dict[str, Any]:
    return {"eventName": event, "s3": {"bucket": {"name": "b"}, "object": {"key": "a+b%2Bc.json", **object_}}}


def test_notifications_are_read() -> None:
    told = {
        "Records": [record(size=3, eTag="e", versionId="v", sequencer="1"), record("ObjectRemoved:Delete")]
    }
    assert created_objects(json.dumps(told)) == [Created("b", "a b+c.json", 3, "e", "v", "1")]
    assert created_objects(json.dumps({"Event": "s3:TestEvent", "Service": "Amazon S3"})) == []


@pytest.mark.parametrize(
    "body",
    [
        "",
        "hello",
        "{}",
        "[]",
        "null",
        '{"Records": 1}',
        '{"Message": "hello"}',
        '{"Records": [{}]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_notification_is_refused(body: str) -> None:
    with pytest.raises(RefusedError, match="no notification of S3"):
        created_objects(body)
