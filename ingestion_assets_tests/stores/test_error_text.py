"""What the stores' errors quote is not told; what they are is."""

import sys
from collections.abc import Callable, Iterator
from typing import Any

import bson
import psycopg
import pydantic
import pytest
import sqlalchemy as sa
import structlog
from pymongo import InsertOne, MongoClient, ReplaceOne
from pymongo.collection import Collection

from ingestion_assets.landing.drops import LandingUnavailableError
from ingestion_assets.stores import postgres
from ingestion_assets.stores.error_text import ToldError, as_told, tell_in_log, text_of

SECRET = "not-to-be-shown"
LARGE = {"_id": 1, "key": SECRET, "x": "x" * (17 * 2**20)}


@pytest.fixture
def things(mongodb_url: str, mongodb_database: str) -> Iterator[Collection[Any]]:
    with MongoClient(mongodb_url) as client:
        yield client[mongodb_database]["things"]


def raised_by(call: Callable[[], Any]) -> Exception:
    try:
        call()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def _twice(things: Collection[Any]) -> None:
    things.bulk_write([InsertOne({"_id": SECRET, "n": n}) for n in range(3)], ordered=False)


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (lambda things: things.insert_one(LARGE), "DocumentTooLarge: the document is too large (1782"),
        (
            lambda things: things.bulk_write([ReplaceOne({"_id": 1}, LARGE, upsert=True)]),
            "MongoDB refused writes: error ",
        ),
        (_twice, "BulkWriteError: MongoDB refused writes: error 11000 for 2 of them"),
        (lambda things: things.update_one({"_id": 1}, {"$nothing": SECRET}, upsert=True), "MongoDB error "),
        (lambda _: bson.encode({SECRET: object()}), "InvalidDocument: a value that BSON cannot hold"),
    ],
)
def test_errors_of_mongodb(things: Collection[Any], write: Any, said: str) -> None:
    error = raised_by(lambda: write(things))
    assert said in text_of(error)
    assert SECRET not in text_of(error)


@pytest.mark.parametrize(
    ("statement", "parameters", "said"),
    [
        ("INSERT INTO kept VALUES (:it, 1), (:it, 2)", {"it": SECRET}, "(SQLSTATE 23505), schema public, table kept, constraint kept_pkey"),
        ("INSERT INTO kept VALUES (:it, -1)", {"it": SECRET}, "constraint kept_n_check"),
        ("SELECT CAST(CAST(:it AS text) AS int)", {"it": SECRET}, "invalid input syntax for type integer: … (SQLSTATE 22P02)"),
        ("SELECT 1 FROM nowhere WHERE :it = 'a'", {"it": SECRET}, "does not exist (SQLSTATE 42P01)"),
        ("INSERT INTO kept VALUES (repeat(:it, 9000), 1)", {"it": SECRET + "0123456789"}, "(SQLSTATE 54000)"),
    ],
)  # fmt: skip
def test_errors_of_postgresql(fresh_postgres_url: str, statement: str, parameters: Any, said: str) -> None:
    engine = postgres.engine(fresh_postgres_url)
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TABLE public.kept (it text PRIMARY KEY, n int CHECK (n > 0))"))
        connection.execute(sa.text("ALTER TABLE public.kept ALTER it SET STORAGE PLAIN"))
        error = raised_by(lambda: connection.execute(sa.text(statement), parameters))
    assert said in text_of(error)
    assert SECRET not in text_of(error)
    assert SECRET not in str(error).partition("DETAIL")[0] or "22" in text_of(error)
    assert "parameters hidden" in str(error)
    assert said in text_of(error.orig if isinstance(error, sa.exc.DBAPIError) else error)
    engine.dispose()


def test_a_connection_that_fails_says_where_to() -> None:
    error = raised_by(lambda: psycopg.connect("host=127.0.0.1 port=1 connect_timeout=2"))
    assert "127.0.0.1" in text_of(error)


class _Shape(pydantic.BaseModel):
    number: int


@pytest.mark.parametrize(
    "call",
    [
        lambda: {}[SECRET],
        lambda: int(SECRET),
        lambda: _Shape(number=SECRET),  # pyright: ignore[reportArgumentType]
        lambda: SECRET.encode().decode("utf-16"),
    ],
)
def test_any_other_exception_is_told_without_what_it_quotes(call: Callable[[], Any]) -> None:
    error = raised_by(call)
    assert text_of(error).startswith(type(error).__name__)
    assert SECRET not in text_of(error)
    told = as_told(error)
    assert isinstance(told, ToldError)
    assert (str(told), told.__traceback__) == (text_of(error), error.__traceback__)


def test_our_own_words_stay_without_what_led_to_them() -> None:
    error = LandingUnavailableError("landing storage 'x' is full")
    error.__cause__ = KeyError(SECRET)
    assert text_of(error) == "LandingUnavailableError: landing storage 'x' is full"
    assert as_told(error) is error
    assert error.__cause__ is None


def test_a_log_prints_what_may_be_told() -> None:
    try:
        int(SECRET)
    except ValueError as error:
        events = [tell_in_log(None, "error", {"exc_info": given}) for given in (True, error, sys.exc_info())]
    printed = [structlog.processors.format_exc_info(None, "error", event)["exception"] for event in events]
    assert ["ValueError: invalid literal" in text for text in printed] == [True] * 3
    assert not [text for text in printed if SECRET in text]
    assert tell_in_log(None, "info", {"event": "x"}) == {"event": "x"}
