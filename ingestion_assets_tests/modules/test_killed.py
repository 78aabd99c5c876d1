"""Killed at random points and repeated: the same tables and outcomes as never killed."""

import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import sqlalchemy as sa

from ingestion_assets.modules.inventory import history_of
from ingestion_assets.modules.sync import Applied, Incoming, RemovalGuard, apply_sync
from ingestion_assets_tests.modules.replay import incoming, make_site, module, replay, stored, tables

KILLS = 30 if os.environ.get("INGESTION_LONG_TESTS") == "1" else 6

CHILD = """
import pickle, sys
from pathlib import Path
from ingestion_assets.stores import postgres
from ingestion_assets_tests.modules.test_killed import apply_all
url, syncs = sys.argv[1:]
engine, claim = postgres.engine(url), pickle.loads(Path(syncs).read_bytes())
engine.connect().close()
print("ready", flush=True)
apply_all(engine, claim)
"""


def apply_all(engine: sa.Engine, syncs: list[Incoming]) -> list[Applied]:
    """What a run does with its claim: each sync in a transaction of its own."""
    applied = []
    for one in syncs:
        with engine.begin() as connection:
            applied.append(apply_sync(connection, one, guard=RemovalGuard()))
    return applied


def a_year_of_a_site(site_id: int, *, seed: int) -> list[Incoming]:
    """Syncs with changes, removals, returns, partial and stale ones."""
    chosen = random.Random(seed)
    syncs = []
    for minute in range(40):
        names = chosen.sample(range(300), k=chosen.randint(200, 290))
        modules = [
            module(f"m{n}", f"1.{chosen.randint(0, 3)}.0", status=chosen.random() < 0.9) for n in names
        ]
        partial = minute % 5 == 4
        at = minute if minute % 7 else max(0, minute - 3)
        syncs.append(
            incoming(
                site_id,
                modules[:50] if partial else modules,
                minute=at,
                sync_type="partial" if partial else "full",
                confirmed=True,
            )
        )
    return syncs


def test_killing_and_repeating_changes_nothing(
    engine: sa.Engine, fresh_postgres_url: str, tmp_path: Path
) -> None:
    random.seed(5)
    site_id, other = make_site(engine), make_site(engine)
    syncs = a_year_of_a_site(site_id, seed=1)
    file = tmp_path / "syncs"
    file.write_bytes(pickle.dumps(syncs))
    killed = 0
    for _ in range(KILLS):
        command = [sys.executable, "-c", CHILD, fresh_postgres_url, str(file)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(random.uniform(0.0, 0.6))  # the point at which it is killed, not a wait
            child.send_signal(signal.SIGKILL)
            killed += child.wait() == -signal.SIGKILL
    outcomes = apply_all(engine, syncs)
    assert killed > 0
    assert stored(engine, site_id) == replay(syncs)[-1].modules
    assert apply_all(engine, syncs) == outcomes
    never_killed = apply_all(engine, a_year_of_a_site(other, seed=1))
    assert [(one.state, one.sequence, one.counts) for one in never_killed] == [
        (one.state, one.sequence, one.counts) for one in outcomes
    ]
    assert _without_site(tables(engine, site_id)["states"]) == _without_site(tables(engine, other)["states"])
    with engine.connect() as connection:
        for name in ("m0", "m150", "m299"):
            mine, theirs = (
                [step["to_version"] for step in history_of(connection, one, name)] for one in (site_id, other)
            )
            assert mine == theirs


def _without_site(rows: list[tuple]) -> list[tuple]:
    return [row[1:] for row in rows]
