"""The floors that throughput and latency are measured against: the bare driver with the documents as they are stored."""

import time
from collections.abc import Sequence
from uuid import UUID

from bson.raw_bson import RawBSONDocument
from pymongo import MongoClient

from ingestion_assets.conversations import collections
from ingestion_assets.conversations.pieces import CHUNK_RECORDS
from ingestion_assets.conversations.records import Record, parse, stamped
from ingestion_assets.conversations.schema import decode_body
from ingestion_assets.stores import mongo

FLOOR = "floor"


def documents(bodies: Sequence[bytes]) -> list[bytes]:
    """The documents that the product stores for these payloads, each message once."""
    stored: dict[str, bytes] = {}
    for body in bodies:
        for position, raw in enumerate(decode_body(body).messages):
            record = parse(bytes(raw), default_session=None)
            if isinstance(record, Record) and record.id not in stored:
                document = stamped(record, drop_id=UUID(int=position), position=position)
                if isinstance(document, bytes):
                    stored[record.id] = document
    return list(stored.values())


def insert_bare(url: str, stored: Sequence[bytes], *, chunk: int = CHUNK_RECORDS) -> float:
    """Seconds that bare `insert_many` takes: same server, indexes, write concern and chunks; a database of its own."""
    with MongoClient(url) as client:
        client.drop_database(FLOOR)
    database = mongo.database(url, name=FLOOR)
    collections.ensure_indexes(database)
    messages = database[collections.MESSAGES]
    spent = 0.0
    for start in range(0, len(stored), chunk):
        raw = [RawBSONDocument(document) for document in stored[start : start + chunk]]
        began = time.perf_counter()
        messages.insert_many(raw, ordered=False)
        spent += time.perf_counter() - began
    return spent
