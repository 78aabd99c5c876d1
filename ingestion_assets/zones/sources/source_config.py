"""What a zone says of the queues that it takes messages from: one struct for each kind, one of them a source."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

Format = Literal["json", "jsonl", "csv"]
"""How the records of a message are written; also the suffix of the name under which the flow reads it."""


DATA = "data"
"""The field of a Redis stream's entry that is read where none is named."""


class SourceError(ValueError):
    """A source that cannot be, or cannot be followed here; says what is wrong and what to do."""


class _Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class RedisStream(_Source, frozen=True, kw_only=True):
    """A stream of the Redis that `INGESTION_REDIS_URL` names.

    The payload is the field `field` of an entry. All front doors read as consumers of one `group`, by default one of the zone's own; what one of them has had in hand for
    `claim_after_s` seconds without acknowledging it, another takes over. `<stream>:dead` gets what cannot be taken.
    """

    stream: str
    group: str | None = None
    field: str = DATA
    format: Format = "json"
    claim_after_s: float = 30.0

    def __post_init__(self) -> None:
        if not (self.stream and self.group != "" and self.field):
            raise ValueError("`stream`, `group` and `field` cannot be empty")
        if not 1 <= self.claim_after_s <= 86_400:
            raise ValueError(f"`claim_after_s` is from 1 to 86400, not {self.claim_after_s:g}")

    @property
    def dead_letters(self) -> str:
        """The stream of what could not be taken."""
        return f"{self.stream}:dead"

    @property
    def name(self) -> str:
        """What it is called in `/health` and logs."""
        return f"redis stream {self.stream}"


class Sqs(_Source, frozen=True, kw_only=True):
    """A queue of Amazon SQS, or of what speaks its protocol, that gets the notifications of an S3 bucket; SNS may stand between.

    Each object is a payload; the suffix of its key says how its records are written. `bucket`: objects of this one only. A message
    in hand is hidden from others for `visibility_s` seconds, and again while it takes longer.
    """

    queue_url: str
    bucket: str | None = None
    region: str | None = None
    visibility_s: int = 60

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/]+/.", self.queue_url):
            raise ValueError(
                "`queue_url` is the queue's address, such as https://sqs.eu-central-1.amazonaws.com/111122223333/shop"
            )
        if not 2 <= self.visibility_s <= 43_200:
            raise ValueError(f"`visibility_s` is from 2 to 43200, not {self.visibility_s}")

    @property
    def name(self) -> str:
        """What it is called in `/health` and logs."""
        return f"sqs {self.queue_url.rstrip('/').rpartition('/')[2]}"


class Kafka(_Source, frozen=True, kw_only=True):
    """A topic of the Kafka that `INGESTION_KAFKA_URL` names. The payload is a message's value; `<topic>.dead` gets what cannot be taken."""

    topic: str
    group: str | None = None
    format: Format = "json"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,240}", self.topic) or self.group == "":
            raise ValueError(
                "`topic` is letters, digits, dots, - and _, at most 240, and `group` is not empty"
            )

    @property
    def dead_letters(self) -> str:
        """The topic of what could not be taken."""
        return f"{self.topic}.dead"

    @property
    def name(self) -> str:
        """What it is called in `/health` and logs."""
        return f"kafka topic {self.topic}"


def group_of(source: RedisStream | Kafka, flow: str) -> str:
    """Whose members share the messages: two flows that read the same get all of them each."""
    return source.group or f"ingestion-{flow}"


Source = RedisStream | Sqs | Kafka


def check_apart(sources: Sequence[Source], flow: str) -> None:
    """Raises `SourceError` for two that would share out one queue's messages, of which each may take only some."""
    seen: set[tuple[str, str | None]] = set()
    for source in sources:
        place = (
            (f"sqs {source.queue_url}", None)
            if isinstance(source, Sqs)
            else (source.name, group_of(source, flow))
        )
        if place in seen:
            more = "" if place[1] is None else f" as the group {place[1]}: give each a `group` of its own"
            raise SourceError(f"two sources read {source.name}{more}")
        seen.add(place)


_KINDS: dict[str, type[Source]] = {"redis": RedisStream, "sqs": Sqs, "kafka": Kafka}


def read_source(written: Mapping[str, Any]) -> Source:
    """As written in YAML: `{redis: {stream: shop}}`, `{sqs: {queue_url: …}}`, `{kafka: {topic: …}}`. Raises `SourceError`."""
    kind = next(iter(written), None)
    if len(written) != 1 or kind not in _KINDS:
        said = ", ".join(map(str, written)) or "nothing"
        raise SourceError(
            f"a source is one of {', '.join(_KINDS)}, as in `redis: {{stream: shop}}`; there is {said}"
        )
    struct = _KINDS[kind]
    try:
        return msgspec.convert(written[kind], struct)
    except msgspec.ValidationError as error:
        takes = ", ".join(struct.__struct_fields__)
        raise SourceError(f"the source {kind} is wrong: {error}. It takes {takes}") from error
