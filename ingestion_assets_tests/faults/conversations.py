"""Conversations under fire: batches of made-up transcripts, overlapping and repeated, and the tables they must come to."""

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pymongo import MongoClient

from ingestion_assets.sending.synthetic import transcripts
from ingestion_assets_tests.conversations.oracle import expected
from ingestion_assets_tests.conversations.stored import differences, tables
from ingestion_assets_tests.faults.load import Client, Findings, Post, some_key, waits
from ingestion_assets_tests.faults.stores import rows
from ingestion_assets_tests.stacks import RunningStack

SESSIONS = 4
LINES = 20
"""Lines in one batch; a quarter of them come again in the next."""


class Conversations:
    """Batches over several new sessions a round. Lines that come again are the same, so the order does not matter."""

    def __init__(self) -> None:
        self._lines: list[tuple[dict[str, Any], str]] = []

    def prepare(self, client: Client) -> None:
        """Nothing is needed."""

    def payloads(self, rng: random.Random, *, count: int) -> list[Post]:
        """Batches, of which one in five comes twice."""
        made: list[Post] = []
        step = LINES * 3 // 4
        wanted = transcripts(sessions=SESSIONS, lines=count * step * 2 // 3, seed=rng.getrandbits(32))
        for transcript in wanted:
            for start in range(0, len(transcript.lines), step):
                lines = transcript.lines[start : start + LINES]
                self._lines += [(line, transcript.session_id) for line in lines]
                body = json.dumps({"sessionId": transcript.session_id, "messages": lines}).encode()
                made.append(
                    Post(path="/api/v1/ingest/batch", key=some_key(rng), body=body, records=len(lines), waits=waits(rng))
                )  # fmt: skip
        return made + [replace(one, key=some_key(rng)) for one in rng.sample(made, len(made) // 5)]

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
            found = tables(client["ingestion"])
        return Findings(doubled=told["stored"] - wanted.stored, different=differences(found, wanted))
