"""Who makes which content: the same one is not made twice at the same time, in this run or any other.

What is held is a session's lock in PostgreSQL, so it ends with its process. Should the connection be lost, contents may be made twice:
that costs time and nothing else, as the second one is not kept.
"""

import threading

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ingestion_assets.documents.stored_contents import ContentKey

_TRY = sa.text("SELECT pg_try_advisory_lock(hashtextextended(:key, 1))")
_FREE = sa.text("SELECT pg_advisory_unlock(hashtextextended(:key, 1))")


class Making:
    """The contents that a run makes, by the number of the file they are made of."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._connection: sa.Connection | None = None
        self._made: dict[int, ContentKey] = {}

    def begin(self, number: int, key: ContentKey) -> bool:
        """Whether nobody else makes it: then this file does, until `end`."""
        with self._lock:
            if key in self._made.values():
                return self._made.get(number) == key
            if not self._ask(_TRY, key):
                return False
            self._made[number] = key
            return True

    def end(self, number: int) -> None:
        """The file is stored, or has failed."""
        with self._lock:
            key = self._made.pop(number, None)
            if key is not None:
                self._ask(_FREE, key)

    def close(self) -> None:
        with self._lock:
            self._made.clear()
            if self._connection is not None:
                self._connection.invalidate()
                self._connection.close()
                self._connection = None

    def _ask(self, query: sa.TextClause, key: ContentKey) -> bool:
        text = f"{key.user_id} {key.sha256.hex()} {key.options.hex()} {key.model}"
        try:
            if self._connection is None:
                self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            return bool(self._connection.scalar(query, {"key": text}))
        except SQLAlchemyError:
            if self._connection is not None:
                self._connection.invalidate()
                self._connection.close()
                self._connection = None
            return True
