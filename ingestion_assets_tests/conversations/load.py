"""Conversations under fire: batches of made-up transcripts, overlapping and repeated, and the tables they must come to."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pymongo import MongoClient

from ingestion_assets.samples.transcripts import transcripts
from ingestion_assets_tests.conversations.oracle import expected
from ingestion_assets_tests.conversations.stored import differences, tables
from ingestion_assets_tests.faults.load import (
    Client,
    Findings,
    Post,
    Send,
    Single,
    Versions,
    some_key,
    some_post,
)
from ingestion_assets_tests.faults.stores import rows
from ingestion_assets_tests.stacks import RunningStack

BATCH = "/api/v1/ingest/batch"
SESSIONS = 4
LINES = 20
"""Lines in one batch; a quarter of them come again in the next."""
VERSIONS = 3


class Conversations:
    """Batches over several new sessions a round, whose lines come again the same, in any order; configurations and todo lists that
    change again and again, of which the last one sent is kept."""

    settings: Mapping[str, object] = {}

    def __init__(self) -> None:
        self._lines: list[tuple[dict[str, Any], str]] = []
        self._latest: dict[str, int] = {}
        """The last version of each user's configuration and session's todo list."""

    def prepare(self, client: Client) -> None:
        """Nothing is needed."""

    def payloads(self, rng: random.Random, *, count: int) -> list[Send]:
        """Batches, of which one in five comes twice."""
        made: list[Post] = []
        step = LINES * 3 // 4
        wanted = transcripts(sessions=SESSIONS, lines=count * step * 2 // 3, seed=rng.getrandbits(32))
        for transcript in wanted:
            for start in range(0, len(transcript.lines), step):
                lines = transcript.lines[start : start + LINES]
                self._lines += [(line, transcript.session_id) for line in lines]
                body = json.dumps({"sessionId": transcript.session_id, "messages": lines}).encode()
                made.append(some_post(rng, BATCH, body, records=len(lines)))
        again = [replace(one, key=some_key(rng)) for one in rng.sample(made, len(made) // 5)]
        return [*made, *again, *(self._versions(rng) for _ in range(max(1, count // 6)))]

    def single(self, rng: random.Random) -> Single:
        transcript, *_ = transcripts(sessions=1, lines=LINES, seed=rng.getrandbits(32))
        body = json.dumps({"sessionId": transcript.session_id, "messages": transcript.lines}).encode()
        post = some_post(rng, BATCH, body, records=len(transcript.lines))
        return Single(
            post=post,
            accepted=lambda: self._lines.extend((line, transcript.session_id) for line in transcript.lines),
        )

    def _versions(self, rng: random.Random) -> Versions:
        """A configuration and a todo list in one payload."""
        name = some_key(rng)
        self._latest[name] = VERSIONS
        bodies = [
            {
                "config": {"userId": name, "config": {"version": version}},
                "todos": [{"sessionId": name, "filename": "list", "todos": [{"content": str(version)}]}],
            }
            for version in range(1, VERSIONS + 1)
        ]
        return Versions(
            messages=[some_post(rng, BATCH, json.dumps(body).encode(), records=0) for body in bodies]
        )

    def records_in(self, result: Mapping[str, Any]) -> int:
        return result["stats"]["messages_received"]

    def audit(self, stack: RunningStack) -> Findings:
        """Messages, sessions and projects against the oracle."""
        wanted = expected(self._lines)
        assert wanted.failed == 0, "the generator makes valid lines only"
        [told] = rows(
            stack,
            "SELECT coalesce(sum((result -> 'stats' ->> 'messages_processed')::int), 0) AS stored"
            " FROM ingestion.drops WHERE flow = 'conversations' AND NOT attributes ? 'alias_of'",
        )
        with MongoClient[dict[str, Any]](stack.environment["INGESTION_MONGODB_URL"], tz_aware=True) as client:
            database = client["ingestion"]
            found = tables(database)
            kept = {
                "configuration": {one["_id"]: one["config"]["version"] for one in database.configs.find()},
                "todo list": {
                    one["sessionId"]: int(one["todos"][0]["content"]) for one in database.todos.find()
                },
            }
        different = [
            f"the {what} of {name} is version {versions.get(name)} instead of {version}"
            for what, versions in kept.items()
            for name, version in self._latest.items()
            if versions.get(name) != version
        ]
        return Findings(
            doubled=told["stored"] - wanted.stored, different=different + differences(found, wanted)
        )


LOAD = Conversations
