"""Searching names: by what words in them begin with; and nobody's searches hold up what others ask."""

import asyncio
import time

import pytest
import sqlalchemy as sa

from ingestion_assets.frontdoor.long_reads import read_long
from ingestion_assets.frontdoor.problems import Problem
from ingestion_assets.repositories import published
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.repositories import made_up
from ingestion_assets_tests.repositories.made_up import vector

ONE = "github.com/example/one"
NAMES = (
    "readLineNumber", "read_line", "HTTPServer", "utf8Decode", "größeÄndern", "$scope", "Straße", "wholeLine",
    "inline",
)  # fmt: skip


@pytest.fixture
def indexed(front: Front) -> Front:
    symbols = [("a.py", name, "function", number, number) for number, name in enumerate(NAMES, 1)]
    made_up.index(front.engine, ONE, {"a.py": "a"}, {"a.py": vector(1)}, symbols=symbols)
    return front


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["line"], {"readLineNumber", "read_line", "wholeLine"}),
        (["linenum"], {"readLineNumber"}),
        (["read_line"], {"read_line"}),
        (["server"], {"HTTPServer"}),
        (["decode"], {"utf8Decode"}),
        (["ändern"], {"größeÄndern"}),
        (["größe"], {"größeÄndern"}),
        (["scope"], {"$scope"}),
        (["inline"], {"inline"}),
        (["ine"], set()),
        ([], set()),
        ([f"none{number}" for number in range(200)] + ["line"], set()),  # the longest words count
    ],
)
def test_a_name_is_found_by_what_its_words_begin_with(
    indexed: Front, words: list[str], names: set[str]
) -> None:
    with indexed.engine.connect() as connection:
        found = published.by_name(connection, words, partition=None, limit=99)
    assert {one["name"] for one in found} == names


def test_letters_of_all_languages_are_letters_of_a_word(indexed: Front) -> None:
    with indexed.client(indexed.key("read")) as client:
        said = client.get("/api/v1/repositories/search", params={"q": "wo wird die Größe geändert"}).json()
    assert said["items"][0]["why"]["names"] == ["größeÄndern"]


def test_a_search_looks_names_up_in_an_index_and_at_so_many_alone(indexed: Front) -> None:
    many = """
        INSERT INTO repositories.symbols
        SELECT snapshot_id, 'a.py', CASE WHEN g % 1000 = 0 THEN 'rare' ELSE 'common' END || '_name_' || g, 'function', 1, 2
        FROM repositories.repositories, generate_series(1, 40000) g
    """
    with indexed.engine.begin() as connection:
        connection.execute(sa.text(many))
        connection.execute(sa.text("ANALYZE repositories.symbols"))
    scans = "SELECT seq_scan FROM pg_stat_xact_user_tables WHERE schemaname = 'repositories' AND relname = 'symbols'"
    with indexed.engine.connect() as connection:
        rare = published.by_name(connection, ["rare"], partition=None, limit=99)
        assert len(rare) == 40
        both = published.by_name(connection, ["common", "rare"], partition=None, limit=20_000)
        assert sum(one["name"].startswith("rare") for one in both) == 40
        assert connection.execute(sa.text(scans)).scalar_one() == 0
        everywhere = published.by_name(connection, ["common", "read_line"], partition=None, limit=1)
        assert everywhere[0]["name"] == "read_line"


def test_searches_of_a_key_hold_up_neither_other_keys_nor_the_rest(front: Front) -> None:
    door = front.app.door

    async def search(who: str, seconds: float) -> None:
        def work(connection: sa.Connection) -> None:
            connection.execute(sa.select(sa.func.pg_sleep(seconds)))

        await read_long(door, who, work, instead="Ask for less.")

    async def all_at_once() -> None:
        of_one = [asyncio.create_task(search("one", 1.0)) for _ in range(4)]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        await search("other", 0.0)
        with front.client(None) as client:
            status = await asyncio.to_thread(client.get, "/api/v1/ingestion/worker/status")
        assert status.status_code == 200
        assert time.monotonic() - began < 0.8
        await asyncio.gather(*of_one)

    asyncio.run(all_at_once())


def test_a_read_that_takes_too_long_is_given_up_and_says_what_to_ask_instead(front: Front) -> None:
    def work(connection: sa.Connection) -> None:
        connection.execute(sa.select(sa.func.pg_sleep(10)))

    with pytest.raises(Problem, match=r"given up after 0\.2 s.* Ask for less\.") as raised:
        asyncio.run(read_long(front.app.door, "one", work, instead="Ask for less.", statement_s=0.2))
    assert raised.value.status == 503
