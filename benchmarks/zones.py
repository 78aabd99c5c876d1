"""A drop zone through the whole stack, beside bare COPY of the same rows into a table with the same key, in turns in one run.

    python benchmarks/zones.py [--quick]

How long 1,000 records take from the request to its answer; and 100,000, in payloads of 10,000 sent one after the other, from the first
request to the last receipt.
"""

import os
import sys
import time
from pathlib import Path

import httpx
import psycopg
from measuring import ROOT, Targets, arguments, bench_stack, median, table, temporary_home
from psycopg import sql
from zones_engine import PAYLOAD, Struct, bodies

sys.path.insert(0, str(ROOT))

from ingestion_assets.zones.framing import frame
from ingestion_assets.zones.record_types import record_type
from ingestion_assets.zones.tables.postgres_copy import OPTIONS, as_csv
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import RunningStack

MODEL = '''"""Measured."""
from datetime import datetime
import msgspec

class Record(msgspec.Struct):
    id: str
    number: int
    name: str
    at: datetime
    paid: bool
    weight: float
'''
DEFINITIONS = '''"""Measured."""
from pathlib import Path
import dagster as dg

@dg.definitions
def defs():
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
'''
ZONE = """type: ingestion_assets.DropZone
attributes:
  name: measured
  records: {model: measured.models.Record}
  key: id
  table: {postgres: measured.records}
"""
TOGETHER_S, SHARE = 1.0, 1.7


def project(folder: Path) -> Path:
    """A project with one zone."""
    place = folder / "measured"
    (place / "defs" / "zone").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(
        '[tool.dg]\ndirectory_type = "project"\n[tool.dg.project]\nroot_module = "measured"\n'
    )
    (place / "__init__.py").write_text("")
    (place / "models.py").write_text(MODEL)
    (place / "definitions.py").write_text(DEFINITIONS)
    (place / "defs" / "zone" / "defs.yaml").write_text(ZONE)
    return folder


def empty(stack: RunningStack) -> None:
    """No row is left."""
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as database:
        database.execute("TRUNCATE measured.records")
        database.execute("CHECKPOINT")


def sent(client: httpx.Client, payloads: list[bytes], *, prefer: str = "respond-async") -> float:
    """Seconds from the first request to the last outcome."""
    began = time.monotonic()
    urls = [
        answer.headers["Location"]
        for body in payloads
        for answer in [
            client.post("/api/v1/drops/measured", content=body, headers={"Prefer": prefer}).raise_for_status()
        ]
    ]
    for url in urls:
        while (state := client.get(url, headers={"Prefer": "wait=30"}).json())["state"] not in {
            "done",
            "failed",
        }:
            pass
        if state["state"] != "done" or state["result"]["stored"] != PAYLOAD:
            raise RuntimeError(f"not stored: {state['result'] or state['errors']}")
    return time.monotonic() - began


def copied(stack: RunningStack, texts: list[bytes]) -> float:
    """Seconds of one COPY a payload, committed, of text that was made beforehand, into a table with the same key."""
    names = sql.SQL(", ").join(map(sql.Identifier, Struct.__struct_fields__))
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as database:
        database.execute("DROP TABLE IF EXISTS measured.floor")
        database.execute("CREATE TABLE measured.floor (LIKE measured.records INCLUDING ALL)")
        database.execute("ALTER TABLE measured.floor DROP COLUMN _receipt, DROP COLUMN _position")
        database.execute("CHECKPOINT")
        statement = sql.SQL("COPY measured.floor ({}) FROM STDIN {}").format(names, OPTIONS)
        began = time.monotonic()
        for text in texts:
            with database.transaction(), database.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(text)
        return time.monotonic() - began


def main() -> int:
    """Print a table and the verdict on each target."""
    options = arguments(__doc__)
    rounds, records = (2, 50_000) if options.quick else (5, 100_000)
    targets = Targets()
    payloads = bodies(records)
    types = record_type(Struct)
    texts = [as_csv(types.read(frame(one, media_type="application/json")).values) for one in payloads]
    with temporary_home() as folder:
        sys.path.insert(0, str(project(folder)))
        os.environ["PYTHONPATH"] = str(folder)
        with bench_stack(modules="measured.definitions", project=folder) as stack:
            headers = {"X-API-Key": stack.admin_token, "Content-Type": "application/json"}
            with httpx.Client(base_url=stack.url, headers=headers, timeout=120) as client:
                wait_until(
                    lambda: client.get("/api/v1/zones/measured").status_code == 200,
                    seconds=60,
                    what="the zone to be in force",
                )
                ours, floor, answers = measured(stack, client, payloads, texts, rounds)
    table(
        "A drop zone",
        ("", "seconds", "times COPY"),
        [
            (
                f"{records:,} records, first request to last receipt",
                f"{median(ours):.2f}",
                f"{median(ours) / median(floor):.2f}",
            ),
            ("bare COPY of their rows", f"{median(floor):.2f}", "1"),
            ("1,000 records, request to answer, p50", f"{median(answers):.2f}", ""),
        ],
    )
    targets.at_most(
        f"{records:,} records, times bare COPY",
        median([a / b for a, b in zip(ours, floor, strict=True)]),
        SHARE,
    )
    targets.at_most("1,000 records to their answer, p50, s", median(answers), TOGETHER_S)
    return targets.verdict()


def measured(
    stack: RunningStack, client: httpx.Client, payloads: list[bytes], texts: list[bytes], rounds: int
) -> tuple[list[float], list[float], list[float]]:
    """Seconds of ours, of bare COPY, and of single requests of 1,000 records."""
    ours: list[float] = []
    floor: list[float] = []
    answers: list[float] = []
    small = [b"[" + b"},".join(body[1:-1].split(b"},")[:1000]) + b"}]" for body in payloads]
    sent(client, payloads)  # warm
    for number in range(rounds):
        empty(stack)
        ours.append(sent(client, payloads))
        empty(stack)
        floor.append(copied(stack, texts))
        empty(stack)
        for body in small[:: max(1, len(small) // 4)]:
            began = time.monotonic()
            answer = client.post(
                "/api/v1/drops/measured",
                content=body,
                headers={"Idempotency-Key": f"{number}-{len(answers)}"},
            )
            answers.append(time.monotonic() - began)
            if answer.status_code != 200 or answer.json()["received"] != 1000:
                raise RuntimeError(answer.text)
    return ours, floor, answers


if __name__ == "__main__":
    raise SystemExit(main())
