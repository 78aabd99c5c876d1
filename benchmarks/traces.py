"""Where the time of a request goes, from the timestamps that ledger and event log keep of it anyway."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
import psycopg
from clients import Answer
from measuring import median

_DROP = """
    SELECT drop.received_at, dispatch.requested_at, drop.claimed_at, drop.finished_at, drop.run_id,
           beat.started_at
    FROM ingestion.drops drop
    LEFT JOIN ingestion.dispatches dispatch ON dispatch.run_id = drop.run_id
    LEFT JOIN ingestion.run_heartbeats beat ON beat.run_id = drop.run_id
    WHERE drop.id = %s
"""
_EVENTS = """
    SELECT dagster_event_type, asset_key::json ->> 1, extract(epoch FROM timestamp AT TIME ZONE 'UTC')::float8
    FROM public.event_logs WHERE run_id = %s AND dagster_event_type IS NOT NULL ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of a request's time, in seconds."""

    name: str
    seconds: float


def parts(connection: psycopg.Connection, answer: Answer, drop_id: UUID) -> list[Part]:
    """The stretches of one request, from its first byte to its answer, in order."""
    row = connection.execute(_DROP, (drop_id,)).fetchone()
    assert row is not None, "no such drop"
    received, requested, claimed, finished, run_id, beat = row
    events = connection.execute(_EVENTS, (run_id,)).fetchall()
    at = {kind: moment for kind, asset, moment in events if asset is None}
    done = {asset: moment for kind, asset, moment in events if kind == "ASSET_MATERIALIZATION"}
    marks: list[tuple[str, float]] = [("read the request", received.timestamp())]
    if requested is not None:
        marks.append(("sync to disk, ledger row, decide to wake", requested.timestamp()))
    marks.append(
        ("GraphQL: make and launch the run", at.get("PIPELINE_STARTING", beat.timestamp() if beat else 0.0))
    )
    if beat is not None:
        marks.append(("broker, worker takes the run", beat.timestamp()))
    marks.append(("worker prepares the run", at["PIPELINE_START"]))
    marks.append(("claim", claimed.timestamp()))
    for name in sorted(done, key=lambda name: done[name]):
        if name == "ingestion_log":
            marks.append((f"stage {name}, up to the receipt", finished.timestamp()))
            continue
        marks.append((f"stage {name}", done[name]))
    marks.append(("receipt to answer", answer.ended))
    result, last = [], answer.begun
    for name, moment in marks:
        result.append(Part(name, moment - last))
        last = moment
    assert done
    return result


def breakdown(postgres_url: str, answers: Sequence[tuple[Answer, UUID]]) -> list[Part]:
    """The median of each stretch over several requests."""
    with psycopg.connect(postgres_url) as connection:
        each = [parts(connection, answer, drop_id) for answer, drop_id in answers]
    names = [part.name for part in each[0]]
    by_name = {name: [part.seconds for one in each for part in one if part.name == name] for name in names}
    return [Part(name, median(values)) for name, values in by_name.items()]


def receipt_of(answer: Answer) -> UUID:
    """The drop that an answer with the receipt in its body speaks of."""
    return UUID(msgspec.json.decode(answer.body)["id"])
