"""Stores the messages of landed batches: each once, whatever is repeated, cut differently or killed on the way.

MongoDB's unique `_id` decides who stores a message; its row in `conversation_facts`, written after it, is what
later batches are compared with, so that the hot path asks MongoDB nothing. A crash between the two leaves a document
that knows its drop and position: the repetition finds it as its own.
"""

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import structlog
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.database import Database
from pymongo.errors import BulkWriteError

from ingestion_assets.conversations import facts_table
from ingestion_assets.conversations.batches import (
    BatchOutcome,
    Item,
    note_invalid,
    note_repeated,
    note_stored,
    note_warnings,
)
from ingestion_assets.conversations.collections import MESSAGES
from ingestion_assets.conversations.facts_table import Fact, Key, Origin
from ingestion_assets.conversations.json_values import canonical
from ingestion_assets.conversations.pieces import CHUNK_RECORDS, Piece, chunked, pieces_of
from ingestion_assets.conversations.records import (
    Invalid,
    Record,
    original,
    parse,
    same_content,
    stamped,
)
from ingestion_assets.landing.drops import LandedDrop
from ingestion_assets.stores.fencing import next_fence, only_taken, overtake, unless_newer

CHUNKS_AHEAD = 2  # written or waiting to be, while the next one is parsed

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Chunk:
    inserts: list[Item] = field(default_factory=list)
    replaces: list[Item] = field(default_factory=list)
    repeated: list[Item] = field(default_factory=list)


def store_messages(
    *,
    database: Database[Any],
    engine: sa.Engine,
    drops: Sequence[LandedDrop],
    sanitize: bool = False,
    rebuild: bool = False,
    chunk_records: int = CHUNK_RECORDS,
) -> list[BatchOutcome]:
    """Store every new message of `drops`, in order, and say of each record what became of it.

    Chunks are parsed while the server works on the ones before; at most three are in memory. `rebuild` derives again
    every document that these drops brought, replaces it, and repairs its facts. Raises what the stores raise; to
    repeat the call with the same drops is always right.
    """
    outcomes: list[BatchOutcome] = []
    run = _Storing(database=database, engine=engine, sanitize=sanitize, rebuild=rebuild)
    with ThreadPoolExecutor(1, thread_name_prefix="mongodb") as server:
        waiting: deque[tuple[_Chunk, Future[set[str]]]] = deque()
        for pieces in chunked(pieces_of(drops, outcomes.append), chunk_records):
            chunk = run.prepare(pieces)
            waiting.append((chunk, server.submit(run.write, chunk)))
            if len(waiting) > CHUNKS_AHEAD:
                run.settle(*waiting.popleft())
        while waiting:
            run.settle(*waiting.popleft())
    for outcome in outcomes:
        outcome.rejects.sort(key=lambda reject: reject.position)
        outcome.warnings.sort(key=lambda warning: (warning["index"], warning["code"]))
    return outcomes


class _Storing:
    """One call of `store_messages`: its stores, and the messages it has seen."""

    def __init__(self, *, database: Database[Any], engine: sa.Engine, sanitize: bool, rebuild: bool) -> None:
        self._messages = database[MESSAGES]
        self._engine = engine
        self._sanitize = sanitize
        self._rebuild = rebuild
        self._fence: int | None = None  # of what a rebuild writes
        self._seen: dict[Key, Origin] = {}

    def prepare(self, pieces: list[Piece]) -> _Chunk:
        """Parse, and decide what is to be written. Invalid records end here."""
        if self._rebuild:
            with self._engine.connect() as connection:
                self._fence = next_fence(connection)
        items = [item for item in (self._parsed(*piece) for piece in pieces) if item]
        asked = list({item.key: None for item in items if item.key not in self._seen})
        known: dict[Key, Origin] = {}
        if asked:
            with self._engine.connect() as connection:
                known = facts_table.known(connection, asked)
        chunk = _Chunk()
        for item in items:
            first = self._seen.get(item.key)
            stored = None if first else known.get(item.key)
            if first is None and stored is None:
                self._seen[item.key] = item.origin
                chunk.inserts.append(item)
            elif stored and _same_place(stored, item.origin):
                self._seen[item.key] = item.origin
                note_stored(item)
                if self._rebuild:
                    chunk.replaces.append(item if stored.owner is None else _owned(item, stored.owner))
            else:
                if stored:
                    self._seen[item.key] = stored
                chunk.repeated.append(item)
        return chunk

    def write(self, chunk: _Chunk) -> set[str]:
        """Insert the documents; returns the ids that MongoDB already had."""
        taken: set[str] = set()
        if chunk.inserts:
            try:
                self._messages.insert_many(
                    [RawBSONDocument(item.document) for item in chunk.inserts], ordered=False
                )
            except BulkWriteError as error:
                errors = error.details["writeErrors"]
                if not only_taken(error):
                    raise
                taken = {chunk.inserts[one["index"]].record.id for one in errors}
        if chunk.replaces:
            self._replace(chunk.replaces)
        return taken

    def _replace(self, items: Sequence[Item]) -> None:
        """Write documents anew, but not over those of a later rebuild."""
        try:
            self._messages.bulk_write(
                [
                    ReplaceOne(
                        unless_newer(item.record.id, item.fence), RawBSONDocument(item.document), upsert=True
                    )
                    for item in items
                ],
                ordered=False,
            )
        except BulkWriteError as error:
            if not only_taken(error):
                raise
            beaten = [items[one["index"]].record.id for one in error.details["writeErrors"]]
            # Should the ledger have been restored from before their numbers, the next rebuild wins.
            with self._engine.begin() as connection:
                overtake(connection, self._messages, beaten)
            log.warning(
                "rebuilt_by_another", messages=len(beaten), what_to_do="rebuild once more if none was at work"
            )

    def settle(self, chunk: _Chunk, written: "Future[set[str]]") -> None:
        """Wait for the write; tell own documents of an earlier attempt from those of others; write the facts."""
        taken = written.result()
        stored = self._messages.find({"_id": {"$in": sorted(taken)}}) if taken else ()
        others = {document["_id"]: document for document in stored}
        rows: list[Fact] = []
        repeated: list[tuple[Item, Origin]] = []
        again: list[Item] = []
        for item in chunk.inserts:
            document = others.get(item.record.id)
            if document is None:
                if item.record.id in taken:
                    raise LookupError(
                        f"message {item.record.id} was there and is gone; the batch must be repeated"
                    )
                note_stored(item)
                rows.append(_fact(item.record, item.origin, item.batch.drop))
                continue
            origin = Origin(UUID(document["dropId"]), document["position"], bytes(document["contentHash"]))
            self._seen[item.key] = origin
            if _same_place(origin, item.origin):
                note_stored(item)
                again.append(item)
                rows.append(_fact(item.record, item.origin, item.batch.drop))
            else:
                repeated.append((item, origin))
                rows.extend(_fact_of_other(document, origin, item))
        repeated += [(item, self._seen[item.key]) for item in chunk.repeated]
        same = self._same_after_all(repeated)
        for item, first in repeated:
            note_repeated(
                item, first, same=first.content_hash == item.origin.content_hash or item.origin in same
            )
        if self._rebuild and again:
            self.write(_Chunk(replaces=again))
        replaced = [_fact(item.record, item.origin, item.batch.drop) for item in chunk.replaces]
        self._add_facts(rows, replaced)

    def _same_after_all(self, repeated: Sequence[tuple[Item, Origin]]) -> set[Origin]:
        """Of the lines whose hash is another than the stored one's, those that say the same by today's rules.

        An earlier version may have hashed the stored line; the line itself is there to be asked.
        """
        unlike = [item for item, first in repeated if first.content_hash != item.origin.content_hash]
        if not unlike:
            return set()
        by_id: dict[str, list[Item]] = {}
        for item in unlike:
            by_id.setdefault(item.record.id, []).append(item)
        return {
            item.origin
            for document in self._messages.find({"_id": {"$in": list(by_id)}})
            for item in by_id[document["_id"]]
            if same_content(document, item.record)
        }

    @facts_table.retry_on_deadlock
    def _add_facts(self, rows: Sequence[Fact], replaced: Sequence[Fact]) -> None:
        with self._engine.begin() as connection:
            facts_table.add(connection, rows)
            facts_table.add(connection, replaced, replace=True)

    def _parsed(self, batch: BatchOutcome, position: int, raw: bytes, session: str | None) -> Item | None:
        record = parse(raw, default_session=session, sanitize=self._sanitize)
        if isinstance(record, Record):
            document = stamped(record, drop_id=batch.drop.id, position=position, fence=self._fence)
            if isinstance(document, bytes):
                if record.warnings:
                    note_warnings(batch, position, record)
                batch.shapes.add(record.shape)
                origin = Origin(batch.drop.id, position, record.content_hash)
                return Item(batch, position, raw, record, origin, document, self._fence or 0)
            record = document
        note_invalid(batch, position, raw, record)
        return None


def _owned(item: Item, owner: str) -> Item:
    """A summary as it lies with the session that it was given to: to rebuild it does not send it back to waiting."""
    document = {**item.record.document, "sessionId": owner}
    document.pop("waiting_for", None)
    record = replace(item.record, document=document)
    stored = stamped(record, drop_id=item.origin.drop_id, position=item.origin.position, fence=item.fence)
    return item if isinstance(stored, Invalid) else replace(item, document=stored)


def _same_place(one: Origin, other: Origin) -> bool:
    return one.drop_id == other.drop_id and one.position == other.position


def _fact(record: Record, origin: Origin, drop: LandedDrop) -> Fact:
    return Fact(
        key=(record.session_id, record.uuid), origin=origin, received_at=drop.received_at, type=record.type,
        timestamp=record.timestamp, facts=record.facts,
    )  # fmt: skip


def _fact_of_other(document: dict[str, Any], origin: Origin, item: Item) -> list[Fact]:
    """The fact of a document that another drop stored and has not written yet, or never will."""
    record = parse(canonical(original(document)), default_session=document["sessionId"])
    if not isinstance(record, Record):
        return []
    return [
        Fact(
            key=item.key, origin=origin, received_at=item.batch.drop.received_at, type=record.type,
            timestamp=record.timestamp, facts=record.facts,
        )
    ]  # fmt: skip
