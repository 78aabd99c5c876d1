"""What may be said of an exception in a receipt, a reject, a log or Dagster's events: never what a payload holds.

The texts of database drivers quote what was being written: whole documents, rows, parameters. So those are told by their codes
and names; of any other foreign exception whatever stands in quotes is left out. What this package raises is written to be read
by everyone and stays as it is.
"""

import re
import sys
from collections import Counter
from collections.abc import Mapping, MutableMapping
from typing import Any

import psycopg
from bson.errors import BSONError
from pymongo.errors import BulkWriteError, DocumentTooLarge, OperationFailure
from sqlalchemy.exc import DBAPIError, StatementError

from ingestion_assets.stores.storable_text import storable

LONGEST = 2000
_OURS = ("ingestion_assets", "dagster")
_QUOTED = re.compile(
    r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`[^`]*`|input_value=.*?(?=, input_type)""", re.DOTALL
)
_BYTES = re.compile(r"\d+(?= bytes)")
# SQLSTATE classes whose message may quote a value: cardinality, data exception, integrity, check option, PL/pgSQL.
_QUOTING = frozenset(["21", "22", "23", "44", "P0"])
_NAMES = ("schema_name", "table_name", "column_name", "datatype_name", "constraint_name")


def text_of(error: BaseException) -> str:
    """One line on an exception: its class, and what of its text holds nothing of a payload."""
    said = _said(error)
    name = type(error).__name__
    return storable(f"{name}: {said}" if said else name, longest=LONGEST)


class ToldError(Exception):
    """Stands for an exception whose own text is not told: `str` is its `text_of`, the traceback its own."""


def as_told(error: BaseException) -> BaseException:
    """The exception to raise in place of one that frameworks would print, and without those that led to it."""
    if _is_ours(error) or not isinstance(error, Exception):
        error.__cause__ = None
        error.__suppress_context__ = True
        return error
    told = ToldError(text_of(error)).with_traceback(error.__traceback__)
    told.__suppress_context__ = True
    return told


def tell_in_log(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog, before the one that prints exceptions: prints what may be told."""
    given = event.get("exc_info")
    error = given if isinstance(given, BaseException) else given[1] if isinstance(given, tuple) else None
    if error is None and given:
        error = sys.exc_info()[1]
    if error is not None:
        told = as_told(error)
        event["exc_info"] = (type(told), told, told.__traceback__)
    return event


def _is_ours(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _OURS


def _said(error: BaseException) -> str:
    if _is_ours(error):
        return str(error)
    if isinstance(error, BulkWriteError):
        return _of_bulk_write(error.details)
    if isinstance(error, OperationFailure):
        return _of_mongodb(error.code, error.details)
    if isinstance(error, DocumentTooLarge):
        size = _BYTES.search(str(error))
        return f"the document is too large ({size[0]} bytes)" if size else "the document is too large"
    if isinstance(error, BSONError):
        return "a value that BSON cannot hold"
    if isinstance(error, DBAPIError) and isinstance(error.orig, psycopg.Error):
        return _of_postgres(error.orig)
    if isinstance(error, StatementError):
        return _masked(str(error.orig or ""))
    if isinstance(error, psycopg.Error):
        return _of_postgres(error)
    return _masked(str(error))


def _masked(text: str) -> str:
    return " ".join(_QUOTED.sub("…", text).split())


def _of_bulk_write(details: Mapping[str, Any]) -> str:
    errors = details.get("writeErrors", [])
    codes = Counter(error.get("code") for error in errors)
    told = ", ".join(f"error {code} for {number} of them" for code, number in sorted(codes.items(), key=str))
    concerns = len(details.get("writeConcernErrors", []))
    return f"MongoDB refused writes: {told}" if told else f"{concerns} writes were not confirmed in time"


def _of_mongodb(code: int | None, details: Mapping[str, Any] | None) -> str:
    name = (details or {}).get("codeName")
    return f"MongoDB error {code} ({name})" if name else f"MongoDB error {code}"


def _of_postgres(error: psycopg.Error) -> str:
    state = error.sqlstate
    if state is None:  # no word of the server: the connection, or this side's own
        said = str(error).partition("\n")[0]
        return said if isinstance(error, psycopg.OperationalError) else _masked(said)
    named = [
        f"{attribute.removesuffix('_name')} {value}"
        for attribute in _NAMES
        if (value := getattr(error.diag, attribute, None))
    ]
    message = error.diag.message_primary or ("" if state[:2] in _QUOTING else str(error).partition("\n")[0])
    if state[:2] in _QUOTING:
        message = _masked(message)
    return ", ".join([f"{message or 'refused by PostgreSQL'} (SQLSTATE {state})", *named])
