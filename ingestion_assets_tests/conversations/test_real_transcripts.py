"""All real transcripts through the work modules, against the oracle."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pymongo.database import Database

from ingestion_assets_tests.conversations.oracle import expected
from ingestion_assets_tests.conversations.stored import differences, drops_of, ingest, real_lines, tables


def test_every_real_line_agrees_with_the_oracle(
    database: Database[Any], engine: sa.Engine, shared_data: Path
) -> None:
    lines = real_lines(shared_data / "conversations")
    wanted = expected(lines)
    drops = drops_of(lines)

    outcomes = ingest(database, engine, drops)

    assert differences(tables(database), wanted) == []
    assert sum(outcome.count("stored") for outcome in outcomes) == wanted.stored
    assert sum(outcome.count("duplicate") for outcome in outcomes) == wanted.skipped
    assert sum(outcome.count("rejected") for outcome in outcomes) == wanted.failed == 4
    assert [r.code for outcome in outcomes for r in outcome.rejects if r.kind == "invalid"] == [
        "not_an_object",
        "missing_type",
        "not_an_object",
        "not_an_object",
    ]

    again = ingest(database, engine, drops_of(lines))
    assert sum(outcome.count("stored") for outcome in again) == 0
    assert differences(tables(database), wanted) == []
