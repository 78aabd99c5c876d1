"""Killed at random points and repeated: the same tables, outcomes and statistics as never killed."""

import itertools
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from ingestion_assets_tests.entities.conftest import landed, load_drops, rows
from ingestion_assets_tests.entities.definitions import TPCH
from ingestion_assets_tests.entities.tpch import generate, shuffled_entities

KILLS = 24 if os.environ.get("INGESTION_LONG_TESTS") == "1" else 4

CHILD = """
import pickle, sys
from pathlib import Path
import numpy, polars, psycopg
from ingestion_assets_tests.entities.conftest import load_drops
from ingestion_assets_tests.entities.definitions import TPCH
url, file = sys.argv[1:]
drops = pickle.loads(Path(file).read_bytes())
with psycopg.connect(url, autocommit=True) as database:
    print("ready", flush=True)
    for drop in drops:
        load_drops(database, TPCH, drop)
"""


def stored(database: "psycopg.Connection[Any]") -> dict[str, list[tuple[Any, ...]]]:
    return {entity.entity: rows(database, TPCH, entity.entity) for entity in TPCH.entities}


def test_killing_and_repeating_changes_nothing(
    database: "psycopg.Connection[Any]", fresh_postgres_url: str, tmp_path: Path
) -> None:
    random.seed(7)
    body = shuffled_entities(generate(tmp_path / "tpch", scale="0.001"), seed=1) + b"O|7|x\nQ|1\n"
    cuts = [0, *sorted(body.find(b"\n", random.randrange(len(body) - 100)) + 1 for _ in range(5)), len(body)]
    parts = [
        landed(body[start:end], stream="s", **({"stream_end": "true"} if end == len(body) else {}))
        for start, end in itertools.pairwise(cuts)
    ]
    file = tmp_path / "parts"
    file.write_bytes(pickle.dumps(parts))
    killed = 0
    for _ in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, fresh_postgres_url, str(file)], stdout=subprocess.PIPE, text=True
        ) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(random.uniform(0, 0.6))  # the point at which it is killed, not a wait
            child.send_signal(signal.SIGKILL)
            killed += child.wait() == -signal.SIGKILL
    assert killed > 0
    outcomes = [load_drops(database, TPCH, part)[0] for part in parts]
    again = [load_drops(database, TPCH, part)[0] for part in parts]
    assert again == outcomes

    total = [one.total() for one in outcomes]
    lines = body.count(b"\n")
    assert sum(one.inserted for one in total) == lines - 2
    assert sum(one.failed for one in total) == 2
    assert sum(one.waiting for one in total) == sum(one.resolved for one in total)
    tally = database.execute("SELECT sum(processed), sum(failed) FROM entities._tally").fetchone()
    assert tally == (lines, 2)
    tables = stored(database)
    assert sum(map(len, tables.values())) == lines - 2
    load_drops(database, TPCH, landed(body))  # all at once, as one payload
    assert stored(database) == tables
