"""What a zone may say of its sources, and what is answered to what it may not."""

from typing import Any

import pytest

from ingestion_assets.zones.sources.source_config import Kafka, RedisStream, SourceError, Sqs, read_source


def test_each_kind_is_read() -> None:
    assert read_source({"redis": {"stream": "shop"}}) == RedisStream(stream="shop")
    assert read_source({"sqs": {"queue_url": "https://sqs.example.com/1/shop"}}).name == "sqs shop"
    assert read_source({"kafka": {"topic": "shop", "format": "csv"}}) == Kafka(topic="shop", format="csv")
    assert isinstance(read_source({"sqs": {"queue_url": "http://127.0.0.1/1/shop"}}), Sqs)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({}, "there is nothing"),
        ({"rabbitmq": {}}, "one of redis, sqs, kafka"),
        ({"redis": {"stream": "a"}, "kafka": {"topic": "a"}}, "there is redis, kafka"),
        ({"redis": None}, "Expected `object`"),
        ({"redis": {}}, "missing required field `stream`"),
        ({"redis": {"stream": "a", "topic": "b"}}, "unknown field `topic`. It takes stream, group, field"),
        ({"redis": {"stream": ""}}, "cannot be empty"),
        ({"redis": {"stream": "a", "claim_after_s": 0}}, "from 1 to 86400"),
        ({"redis": {"stream": "a", "format": "xml"}}, "Invalid enum value 'xml'"),
        ({"sqs": {"queue_url": "shop"}}, "the queue's address"),
        ({"sqs": {"queue_url": "https://sqs.example.com/1/shop", "visibility_s": 1}}, "from 2 to 43200"),
        ({"kafka": {"topic": "a b"}}, "letters, digits"),
        ({"kafka": {"topic": "a", "group": ""}}, "`group` is not empty"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_a_sentence(written: dict[str, Any], said: str) -> None:
    with pytest.raises(SourceError) as caught:
        read_source(written)
    assert said in str(caught.value)
