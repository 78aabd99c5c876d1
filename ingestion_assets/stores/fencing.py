"""Writes to MongoDB that lose against newer ones, however late they arrive.

A worker may be killed while a write of its is on the way; it arrives after those of the runs that followed. So whatever is
computed from other data carries a number of a sequence in PostgreSQL, drawn when the writer alone may write (it holds the lock
or the lease) and before it reads what it computes from, and replaces only what has no greater one. MongoDB decides, on one
document. What is only ever inserted under a unique `_id`, or kept by the greater receipt, needs none.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from pymongo import ReplaceOne, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError

_DUPLICATE_KEY = 11000

_NEXT = sa.text("SELECT nextval('ingestion.fence')")
_RAISE = sa.text("""
    SELECT setval('ingestion.fence', greatest(:seen, (SELECT last_value FROM ingestion.fence))), nextval('ingestion.fence')
""")


def next_fence(connection: sa.Connection) -> int:
    """A number greater than every one drawn before."""
    return connection.execute(_NEXT).scalar_one()


def only_taken(error: BulkWriteError) -> bool:
    """Whether nothing else happened than that some ids were there."""
    errors = error.details["writeErrors"]
    return not error.details.get("writeConcernErrors") and all(
        one["code"] == _DUPLICATE_KEY for one in errors
    )


def unless_newer(identity: str, fence: int) -> dict[str, Any]:
    """The filter for a document with this `_id` that nothing newer has written. What has no number is older."""
    return {"_id": identity, "fence": {"$not": {"$gt": fence}}}


def replace_unless_newer(
    collection: Collection[Any], documents: Sequence[Mapping[str, Any]], *, fence: int
) -> set[str]:
    """Write whole documents, new ones too; gives the ids of those for which something newer is there.

    Raises `BulkWriteError` for anything else that MongoDB does not take.
    """
    if not documents:
        return set()
    writes = [
        ReplaceOne(unless_newer(one["_id"], fence), {**one, "fence": fence}, upsert=True) for one in documents
    ]
    try:
        collection.bulk_write(writes, ordered=False)
    except BulkWriteError as error:
        if not only_taken(error):
            raise
        return {documents[one["index"]]["_id"] for one in error.details["writeErrors"]}
    return set()


def write_fenced(
    connection: sa.Connection,
    collection: Collection[Any],
    documents: Sequence[Mapping[str, Any]],
    *,
    fence: int,
) -> None:
    """`replace_unless_newer` for one who holds a lock in `connection`'s transaction, beside which nothing newer can be.

    If something is, then either the lock is lost, which `connection` then says, or the ledger was restored from before it
    had drawn those numbers: it is brought beyond them, and the documents are written.
    """
    beaten = replace_unless_newer(collection, documents, fence=fence)
    while beaten:
        fence = overtake(connection, collection, beaten)
        again = [one for one in documents if one["_id"] in beaten]
        beaten = replace_unless_newer(collection, again, fence=fence)


def update_fenced(
    connection: sa.Connection,
    collection: Collection[Any],
    updates: Mapping[str, Mapping[str, Any]],
    *,
    fence: int,
) -> None:
    """As `write_fenced`, for updates (`$set` among them) of documents that are there; those that are not are left out."""
    left = dict(updates)
    while left:
        result = collection.bulk_write(
            [
                UpdateOne(unless_newer(one, fence), {**update, "$set": {**update["$set"], "fence": fence}})
                for one, update in left.items()
            ],
            ordered=False,
        )
        if result.matched_count == len(left):
            return
        newer = collection.find({"_id": {"$in": list(left)}, "fence": {"$gt": fence}}, {"_id": 1})
        left = {one["_id"]: left[one["_id"]] for one in newer}
        if left:
            fence = overtake(connection, collection, left)


def overtake(connection: sa.Connection, collection: Collection[Any], ids: Iterable[str]) -> int:
    """Bring the sequence beyond what these documents carry; gives the next number."""
    found = collection.find({"_id": {"$in": list(ids)}}, {"fence": 1})
    seen = max((one.get("fence", 0) for one in found), default=0)
    return connection.execute(_RAISE, {"seen": max(1, seen)}).one()[1]
