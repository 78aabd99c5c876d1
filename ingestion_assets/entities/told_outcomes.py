"""What was said of payloads, remembered until their receipts have it: a repetition says the same and counts nothing twice."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import msgspec
import psycopg
import sqlalchemy as sa
import zstandard
from psycopg.types.json import Jsonb

from ingestion_assets.entities.loaded import Loaded
from ingestion_assets.landing import drop_queries

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Loaded).decode


def known_loads(connection: "psycopg.Connection[Any]", ids: Sequence[UUID]) -> dict[UUID, Loaded]:
    """What was said of these payloads before."""
    rows = connection.execute(
        "SELECT drop_id, outcome FROM entities._loads WHERE drop_id = ANY(%s)", (list(ids),)
    )
    return {drop_id: _decode(zstandard.decompress(outcome)) for drop_id, outcome in rows}


def forget_told(connection: sa.Connection) -> None:
    """Forget what the receipts have by now."""
    remembered = connection.scalars(sa.text("SELECT drop_id FROM entities._loads")).all()
    told = drop_queries.done_among(connection, remembered)
    connection.execute(sa.text("DELETE FROM entities._loads WHERE drop_id = ANY(:ids)"), {"ids": list(told)})


def remember(connection: "psycopg.Connection[Any]", loaded: Sequence[Loaded]) -> None:
    """Note what is said of payloads and count it, so that a repetition says the same and counts nothing twice."""
    lasting = [one for one in loaded if not one.refused]
    with connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO entities._loads (drop_id, outcome) VALUES (%s, %s)",
            [(one.drop_id, zstandard.compress(_encode(one), 1)) for one in lasting],
        )
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0])
    for one in lasting:
        for entity, counts in one.entities.items():
            sums[entity][0] += counts.processed
            sums[entity][1] += counts.failed
            sums[entity][2] += counts.superseded
    if sums:
        connection.execute(
            """
            INSERT INTO entities._tally AS tally (entity, processed, failed, superseded)
            SELECT * FROM jsonb_to_recordset(%s) AS more (entity text, processed bigint, failed bigint, superseded bigint)
            ON CONFLICT (entity) DO UPDATE SET processed = tally.processed + excluded.processed,
                failed = tally.failed + excluded.failed, superseded = tally.superseded + excluded.superseded
            """,
            (
                Jsonb(
                    [
                        {"entity": name, "processed": n, "failed": bad, "superseded": old}
                        for name, (n, bad, old) in sums.items()
                    ]
                ),
            ),
        )
