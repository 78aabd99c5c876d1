"""The entities flow's face towards the spine: daily partitions, one lane a day, files in the inbox, redriving."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from itertools import islice

from ingestion_assets.entities.active_definitions import defined_entities
from ingestion_assets.entities.lines import records
from ingestion_assets.landing.flows import Body, Command, Flow, RefusedError, Scope
from ingestion_assets.landing.tallies import tally_by

NAME = "entities"
SEGMENT_BYTES = 4 * 2**20
LOOKED_AT = 100
_OUTCOMES = {
    "inserted": "success", "updated": "success", "unchanged": "success", "superseded": "superseded", "failed": "error",
}  # fmt: skip
REST_OF_LINE = "rest_of_line"
"""The attribute of a part of a stream that is the rest of a line that is too long; the part before it has its beginning."""


def read_inbox(name: str, content: bytes) -> Sequence[tuple[Body, Mapping[str, str]]]:
    """Cut a file of messages into the parts of one stream, so that its lines may reference each other in any order."""
    prefixes = {prefix.encode() for prefix in defined_entities().by_prefix}
    first = [line.raw.partition(b"|")[0] for line in islice(records(content), LOOKED_AT)]
    if not first:
        return []
    if prefixes.isdisjoint(first):
        raise RefusedError(f"none of the first lines of {name} begins with a prefix of an entity and `|`")
    stream = f"inbox-{sha256(content).hexdigest()[:32]}"
    parts = list(_parts(content))
    made: list[tuple[Body, Mapping[str, str]]] = []
    lines = position = 0
    for index, part in enumerate(parts):
        attributes = {"stream": stream, "first_line": str(lines), "first_byte": str(position)}
        if index == len(parts) - 1:
            attributes["stream_end"] = "true"
        count = lines_in(part)
        made.append((Body(part, count), attributes))
        lines, position = lines + count, position + len(part)
    return made


def compose(rejected: Sequence[bytes], _: Mapping[str, str]) -> Body:
    """Rejected lines of one payload as a payload."""
    return Body(
        b"".join(line + b"\r\n" for line in rejected), len(rejected)
    )  # with an end each: one may end with \r


def lines_in(body: bytes) -> int:
    """The number of lines, blank ones and comments included."""
    return body.count(b"\n") + (not body.endswith(b"\n") and bool(body))


def _parts(content: bytes) -> Sequence[bytes]:
    parts: list[bytes] = []
    start = 0
    while start < len(content):
        end = len(content)
        if end - start > SEGMENT_BYTES:
            cut = content.rfind(b"\n", start, start + SEGMENT_BYTES)
            cut = cut if cut >= 0 else content.find(b"\n", start)
            end = cut + 1 if cut >= 0 else end
        parts.append(content[start:end])
        start = end
    return parts


ENTITIES = Flow(
    name=NAME,
    scope=Scope(name=NAME),
    read_inbox=read_inbox,
    compose=compose,
    tally=tally_by(
        _OUTCOMES, counts=lambda result: result.get("by_entity") or {}, stored="success", rejected="error"
    ),
    settings="ingestion_assets.entities.settings:EntitiesSettings",
    definitions="ingestion_assets.entities.definitions:current",
    definitions_version="ingestion_assets.entities.active_definitions:current_version",
    http="ingestion_assets.entities.api:http",
    work=("ingestion_assets.entities.work",),
    senders=(
        Command(
            name=NAME,
            module="ingestion_assets.entities.sending.cli",
            help="Send files of messages as one stream: a line may reference any other.",
        ),
    ),
    commands=(
        Command(name=NAME, module="ingestion_assets.entities.cli", help="Check and show entity definitions."),
    ),
)
