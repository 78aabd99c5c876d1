"""Killed at random points and repeated: the same outcomes, receipts and tables as never killed."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pymongo.database import Database

from ingestion_assets.conversations.collections import NOT_REMOVED
from ingestion_assets.conversations.statistics import created_by
from ingestion_assets_tests.conversations.oracle import expected
from ingestion_assets_tests.conversations.stored import (
    Line,
    differences,
    drops_of,
    ingest,
    real_lines,
    tables,
)

KILLS = 24 if os.environ.get("INGESTION_LONG_TESTS") == "1" else 5

CHILD = """
import pickle, sys
from pathlib import Path
from ingestion_assets.stores import mongo, postgres
from ingestion_assets_tests.conversations.stored import ingest
mongodb, name, url, drops = sys.argv[1:]
database, engine = mongo.database(mongodb, name=name), postgres.engine(url)
claim = pickle.loads(Path(drops).read_bytes())
engine.connect().close(); database.client.admin.command("ping")
print("ready", flush=True)
ingest(database, engine, claim, chunk_records=40)
"""


def test_killing_and_repeating_changes_nothing(
    database: Database[Any], engine: sa.Engine, mongodb_url: str, fresh_postgres_url: str, shared_data: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    random.seed(7)
    lines: list[Line] = real_lines(shared_data / "conversations" / "growth")
    lines += real_lines(shared_data / "conversations" / "hand-made-ids") * 2
    wanted = expected(lines)
    claim = drops_of(lines, size=60)
    file = tmp_path / "claim"
    file.write_bytes(pickle.dumps(claim))
    command = [sys.executable, "-c", CHILD, mongodb_url, database.name, fresh_postgres_url, str(file)]

    killed = 0
    for _ in range(KILLS):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(random.uniform(0, 0.5))  # the point at which it is killed, not a wait
            child.send_signal(signal.SIGKILL)
            killed += child.wait() == -signal.SIGKILL
    outcomes = ingest(database, engine, claim)
    again = ingest(database, engine, claim)

    assert killed > 0
    assert differences(tables(database), wanted) == []
    assert sum(outcome.count("stored") for outcome in outcomes) == wanted.stored
    assert [one.records for one in again] == [one.records for one in outcomes]
    assert [one.rejects for one in again] == [one.rejects for one in outcomes]
    created = created_by(engine, {one.drop.id: one.sessions for one in outcomes})
    assert sum(one.sessions_created for one in created.values()) == len(wanted.sessions)
    assert sorted(made for one in created.values() for made in one.projects_created) == sorted(
        document["_id"] for document in database.projects.find(NOT_REMOVED)
    )
