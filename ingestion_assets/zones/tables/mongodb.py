"""A zone's collection in MongoDB: the key is the `_id`, which is what keeps a second one out, whoever comes at once."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

import bson
import msgspec
from bson.codec_options import CodecOptions
from bson.decimal128 import Decimal128
from bson.errors import InvalidDocument
from bson.raw_bson import RawBSONDocument
from pymongo import ReplaceOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

from ingestion_assets.stores import mongo
from ingestion_assets.stores.fencing import only_taken
from ingestion_assets.zones.record_types import Kind
from ingestion_assets.zones.tables.target import PLACE, Rows, Shape, Stored, TableRefusedError, check_shape

_STORED = Stored("stored")
_AT_ONCE = 5000
_LARGEST = 16 * 2**20 - 16 * 2**10
"""Bytes of a document at most, with some room for what the server adds."""
_OPTIONS: CodecOptions[Any] = CodecOptions(uuid_representation=4, tz_aware=True)
_decode = msgspec.json.Decoder().decode


def check(name: str, shape: Shape) -> None:
    """Raises `TableRefusedError` for what can be said without the database."""
    check_shape(shape)
    if "$" in name or "\0" in name or "" in name.split(".") or name.startswith("system."):
        raise TableRefusedError(
            [
                f"no collection can be called {name!r}: leave out $, dots at the ends and two together, and `system.`"
            ]
        )


def mongo_table(_engine: object, name: str, shape: Shape) -> "MongoTable":
    """A collection of the stack's database. Raises `TableRefusedError`."""
    check(name, shape)
    return MongoTable(mongo.database()[name], shape)


class MongoTable:
    """A collection. Nested values are documents (their fractions doubles), decimals `Decimal128`, dates the midnight in UTC that they begin with, timestamps have
    milliseconds."""

    def __init__(self, collection: Collection[Any], shape: Shape) -> None:
        self._collection = collection
        self.shape = shape
        self._names = [column.name for column in shape.columns]
        self._kinds: list[Kind] = [column.kind for column in shape.columns]
        self._key = [self._names.index(name) for name in shape.key if name in self._names]
        self._version = self._names.index(shape.version) if shape.version in self._names else None

    def prepare(self) -> None:
        """A collection needs no making and follows whatever its documents are. Raises `TableRefusedError`."""
        check_shape(self.shape)

    def store(self, parts: Iterable[Rows]) -> list[Stored]:
        """Store rows, some at a time; what became of each."""
        told: list[Stored] = []
        for part in parts:
            for start in range(0, len(part.values), _AT_ONCE):
                end = start + _AT_ONCE
                told += self._store(
                    part.values[start:end], part.receipts[start:end], part.positions[start:end]
                )
        return told

    def _store(
        self, values: Sequence[tuple[Any, ...]], receipts: Sequence[UUID], positions: Sequence[int]
    ) -> list[Stored]:
        told: list[Stored | None] = [None] * len(values)
        documents: dict[int, dict[str, Any]] = {}
        best: dict[Any, int] = {}
        for at, row in enumerate(values):
            made = self._document(row, receipts[at], positions[at])
            if isinstance(made, Stored):
                told[at] = made
                continue
            documents[at] = made
            identity = _hashable(made["_id"])
            other = best.get(identity)
            if other is None or self._wins(made, documents[other]):
                best[identity] = at
        updated = self._write([documents[at] for at in best.values()])
        held = self._held([documents[at]["_id"] for at in best.values()])
        for at, document in documents.items():
            identity = _hashable(document["_id"])
            there = held[identity]
            if all(there[name] == document[name] for name in PLACE):
                told[at] = Stored("updated") if identity in updated and self._version is not None else _STORED
            elif self._version is not None and self._differ(document, there):
                told[at] = Stored("superseded", by=there["_receipt"])
            else:
                told[at] = Stored("duplicate", by=there["_receipt"])
        return [one or _STORED for one in told]

    def _write(self, documents: Sequence[dict[str, Any]]) -> set[Any]:
        """Insert those whose keys are new, and replace what they win against; gives the ids of the latter."""
        if not documents:
            return set()
        try:
            self._collection.insert_many([_raw(one) for one in documents], ordered=False)
            return set()
        except BulkWriteError as error:
            if not only_taken(error):
                raise
            taken = [documents[one["index"]] for one in error.details["writeErrors"]]
        replaced: set[Any] = set()
        for start in range(0, len(taken), _AT_ONCE):
            replaced |= self._replace(taken[start : start + _AT_ONCE])
        return replaced

    def _replace(self, documents: Sequence[dict[str, Any]]) -> set[Any]:
        writes = [ReplaceOne({"_id": one["_id"], "$or": self._loses_to(one)}, one) for one in documents]
        if self._collection.bulk_write(writes, ordered=False).modified_count == 0:
            return set()
        held = self._held([one["_id"] for one in documents])
        return {
            identity
            for one in documents
            if all(held[identity := _hashable(one["_id"])][name] == one[name] for name in PLACE)
        }

    def _loses_to(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        """What is stored when the document is to replace it."""
        receipt, position = (document[name] for name in PLACE)
        later: list[dict[str, Any]] = [
            {"_receipt": {"$gt": receipt}},
            {"_receipt": receipt, "_position": {"$gt": position}},
        ]
        if self._version is None:
            return later
        name = self._names[self._version]
        return [{name: {"$lt": document[name]}}, *({name: document[name], **one} for one in later)]

    def _wins(self, new: dict[str, Any], old: dict[str, Any]) -> bool:
        if self._version is not None:
            name = self._names[self._version]
            mine, theirs = _comparable(new[name]), _comparable(old[name])
            if mine != theirs:
                return mine > theirs
        return (new["_receipt"], new["_position"]) < (old["_receipt"], old["_position"])

    def _differ(self, one: dict[str, Any], other: dict[str, Any]) -> bool:
        """Whether their versions do."""
        name = self._names[self._version or 0]
        return _comparable(one[name]) != _comparable(other[name])

    def _held(self, ids: Sequence[Any]) -> dict[Any, dict[str, Any]]:
        wanted = dict.fromkeys((*PLACE, *([self.shape.version] if self.shape.version else [])), 1)
        return {
            _hashable(one["_id"]): one for one in self._collection.find({"_id": {"$in": list(ids)}}, wanted)
        }

    def _document(self, row: tuple[Any, ...], receipt: UUID, position: int) -> "dict[str, Any] | Stored":
        made: dict[str, Any] = {}
        for name, kind, value in zip(self._names, self._kinds, row, strict=True):
            if value is not None:
                held = _held_as(kind, value)
                if isinstance(held, Stored):
                    return Stored("rejected", code=held.code, reason=f"{name} {held.reason}")
                made[name] = held
        key = [_exact(row[place], made[self._names[place]]) for place in self._key]
        identity = (
            key[0]
            if len(key) == 1
            else dict(zip(self.shape.key, key, strict=True)) or f"{receipt}:{position}"
        )
        document = {"_id": identity, **made, "_receipt": receipt, "_position": position}
        try:
            size = len(bson.encode(document, codec_options=_OPTIONS))
        except (InvalidDocument, OverflowError, UnicodeEncodeError):
            return Stored(
                "rejected", code="refused_by_database", reason="BSON cannot hold a value of the record"
            )
        if size > _LARGEST:
            return Stored(
                "rejected", code="too_large", reason=f"the record is too large for a document: {size:,} bytes"
            )
        return document


def _held_as(kind: Kind, value: Any) -> Any:
    """The value as BSON has it, or what is wrong with it."""
    if kind == "integer" and not -(2**63) <= value < 2**63:
        return Stored("rejected", code="out_of_range", reason="is a number beyond 64 bits")
    if (kind == "number" and not isfinite(value)) or (kind == "decimal" and not value.is_finite()):
        return Stored("rejected", code="invalid_value", reason="is no finite number")
    if kind == "decimal":
        return _decimal(value)
    if kind == "date":
        return datetime.combine(value, time(), UTC)
    if kind == "timestamp":
        instant = value if value.tzinfo else value.replace(tzinfo=UTC)
        return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
    return _decode(value) if kind == "json" else value


def _exact(value: Any, held: Any) -> Any:
    """The value as part of a key: an instant that is no whole millisecond, which BSON's are, as a text."""
    if not isinstance(value, datetime) or not value.microsecond % 1000:
        return held
    try:
        return (held + timedelta(microseconds=value.microsecond % 1000)).astimezone(UTC).isoformat()
    except OverflowError:  # at an end of all time, which BSON does not have either
        return held


def _decimal(value: Decimal) -> Any:
    try:
        return Decimal128(value)
    except ArithmeticError:
        return Stored(
            "rejected", code="out_of_range", reason="has more digits than a Decimal128, which has 34"
        )


def _comparable(value: Any) -> Any:
    return value.to_decimal() if isinstance(value, Decimal128) else value


def _hashable(identity: Any) -> Any:
    return tuple(map(_comparable, identity.values())) if isinstance(identity, dict) else _comparable(identity)


def _raw(document: dict[str, Any]) -> RawBSONDocument:
    return RawBSONDocument(bson.encode(document, codec_options=_OPTIONS))
