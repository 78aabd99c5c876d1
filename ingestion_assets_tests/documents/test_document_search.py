"""A search finds what answers the question, says where it stands and why, and shows nobody what is another's."""

from typing import Any

import pytest
import sqlalchemy as sa

from ingestion_assets.documents.document_search import Asked, Mode, by_text, by_vector, search, there_is
from ingestion_assets.documents.vectors import literal
from ingestion_assets.documents.wanted_documents import Wanted
from ingestion_assets.embedding.models import text_model
from ingestion_assets.settings import Settings
from ingestion_assets.stores import postgres
from ingestion_assets_tests.documents.fronts import make_tables
from ingestion_assets_tests.documents.stored import store

MOON = "The moon moves around the earth in about twenty-seven days."
BREAD = "Bread is baked from flour, water and salt in a hot oven."
RIVER = "A river flows from its spring down to the sea."


@pytest.fixture(scope="module")
def tables(postgres_url: str) -> sa.Engine:
    make_tables(postgres_url)
    return postgres.engine(postgres_url)


@pytest.fixture
def engine(tables: sa.Engine) -> sa.Engine:
    with tables.begin() as connection:
        connection.execute(
            sa.text("TRUNCATE documents.documents, documents.contents, documents.chunks, documents.vectors")
        )
    return tables


def find(
    engine: sa.Engine, question: str, mode: Mode = "hybrid", *, user: str = "anna", fold: bool = True, limit: int = 10, **wanted: Any
) -> list[dict[str, Any]]:  # fmt: skip
    model = text_model(None, Settings())
    vector = model.encode_question(question)
    chosen = Wanted(user_id=user, **wanted)
    with engine.begin() as connection:
        searched = there_is(connection, chosen)
        asked = [Asked(model.id, literal(vector), len(vector))]
        return list(
            search(connection, chosen, searched, question, asked, mode=mode, limit=limit, fold=fold).items
        )


@pytest.mark.parametrize("mode", ["hybrid", "vector", "text"])
def test_the_passage_that_answers_comes_first_with_its_place(engine: sa.Engine, mode: Mode) -> None:
    stored = store(engine, "anna", "notes/kitchen.txt", [RIVER, BREAD])
    store(engine, "anna", "notes/sky.txt", [MOON])
    hit = find(engine, "How is bread baked?", mode)[0]
    assert hit["text"] == BREAD
    assert hit["file"]["document_id"] == stored.document_id
    assert hit["file"]["file_id"] == "notes/kitchen.txt"
    assert (hit["start"], hit["end"]) == (len(RIVER), len(RIVER) + len(BREAD))
    assert hit["page"] == 2
    assert hit["headings"] == ["Heading", "Part 1"]
    assert hit["why"]["vector_rank"] == (None if mode == "text" else 1)
    assert hit["why"]["text_rank"] == (None if mode == "vector" else 1)


def test_nobody_finds_what_is_anothers(engine: sa.Engine) -> None:
    store(engine, "anna", "a.txt", [BREAD])
    store(engine, "ben", "b.txt", [MOON])
    for mode in ("hybrid", "vector", "text"):
        assert [hit["file"]["file_id"] for hit in find(engine, "bread moon", mode)] == ["a.txt"]
    assert find(engine, "bread", user="carl") == []


def test_the_same_content_of_two_users_is_each_ones_own(engine: sa.Engine) -> None:
    store(engine, "anna", "a.txt", [BREAD])
    store(engine, "ben", "b.txt", [BREAD])
    assert [hit["file"]["file_id"] for hit in find(engine, "bread", user="anna")] == ["a.txt"]
    assert [hit["file"]["file_id"] for hit in find(engine, "bread", user="ben")] == ["b.txt"]
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM documents.vectors")) == 1


def test_the_same_content_under_two_names_is_one_hit(engine: sa.Engine) -> None:
    store(engine, "anna", "a.txt", [BREAD])
    store(engine, "anna", "copy of a.txt", [BREAD])
    (hit,) = find(engine, "bread")
    assert hit["file"]["file_id"] == "a.txt"
    assert hit["file"]["copies"] == 1


def test_what_was_removed_is_not_found(engine: sa.Engine) -> None:
    store(engine, "anna", "a.txt", [BREAD])
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE documents.documents SET removed_at = now()"))
    assert find(engine, "bread") == []


@pytest.mark.parametrize(
    "wanted",
    [
        {"connection_id": "conn_2"}, {"job_id": "job_2"}, {"file_id": "b.txt"}, {"mime": "text/html"}, {"language": "de"},
        {"mime": "text/html", "language": "de"},
    ],
)  # fmt: skip
def test_filters_leave_what_they_name(engine: sa.Engine, wanted: dict[str, str]) -> None:
    store(engine, "anna", "a.txt", [BREAD])
    store(
        engine, "anna", "b.txt", [f"{BREAD} Always."], connection_id="conn_2", job_id="job_2", mime="text/html", language="de",
    )  # fmt: skip
    for mode in ("hybrid", "vector", "text"):
        assert [hit["file"]["file_id"] for hit in find(engine, "bread", mode, **wanted)] == ["b.txt"]
    assert find(engine, "bread", **dict.fromkeys(wanted, "none")) == []


def test_chunks_that_overlap_are_one_passage(engine: sa.Engine) -> None:
    first, second = f"{BREAD} {RIVER}", f"{RIVER} Bread is sold in the morning."
    store(engine, "anna", "b.txt", [first, second], overlap=len(RIVER))
    (hit,) = find(engine, "bread")
    assert hit["text"] == f"{BREAD} {RIVER} Bread is sold in the morning."
    assert len(hit["chunk_ids"]) == 2
    assert len(find(engine, "bread", fold=False)) == 2


def test_words_are_taken_in_the_language_of_the_documents(engine: sa.Engine) -> None:
    store(engine, "anna", "a.txt", ["Die Häuser stehen am Fluss."], config="german", language="de")
    store(engine, "anna", "b.txt", [BREAD])
    assert [hit["file"]["file_id"] for hit in find(engine, "ein Haus", "text")] == ["a.txt"]
    assert [hit["file"]["file_id"] for hit in find(engine, "ovens", "text")] == ["b.txt"]


def test_of_many_chunks_those_with_the_rarest_words_are_ranked_and_one_users_many_are_not_anothers(
    engine: sa.Engine,
) -> None:
    often = [f"Bread of the {'day' if number % 2 else 'week'} {number}." for number in range(200)]
    store(engine, "anna", "a.txt", [*often, "Rye bread keeps long."])
    store(engine, "ben", "b.txt", ["Bread and butter."])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("ANALYZE documents.chunks"))

        def found(user: str, question: str, **ranked: int) -> int:
            chosen = Wanted(user_id=user)
            return len(
                by_text(connection, chosen, there_is(connection, chosen), question, limit=500, **ranked)
            )

        question = "rye bread of the day"
        assert found("anna", question) == 201, "they are few"
        assert found("anna", question, ranked=5) == 101, "the commonest word is left out"
        assert found("anna", "bread", ranked=5) == 201
        assert found("anna", "xylophone bread", ranked=5) == 201, "a word that nobody has is not enough"
        assert found("ben", question, ranked=5) == 1


@pytest.mark.parametrize(
    "question", ["the", "' | & ! :* \\ <->", "!!!", "a'b\"c", "%s :name {width}", "漢字"]
)
def test_a_question_is_no_query_language(engine: sa.Engine, question: str) -> None:
    store(engine, "anna", "a.txt", [BREAD])
    find(engine, question)
    find(engine, question, "text")


def test_vectors_of_other_models_are_not_compared(engine: sa.Engine) -> None:
    store(engine, "anna", "a.txt", [BREAD])
    with engine.begin() as connection:
        for table in ("contents", "vectors"):
            connection.execute(sa.text(f"UPDATE documents.{table} SET model = 'another@1'"))
    assert find(engine, "bread", "vector") == []
    assert find(engine, "bread")[0]["why"] == {"vector_rank": None, "text_rank": 1, "cosine": None}


def test_the_index_finds_what_comparing_all_finds(engine: sa.Engine) -> None:
    store(engine, "anna", "a.txt", [BREAD, MOON, RIVER])
    store(engine, "ben", "b.txt", [f"{BREAD} {number}" for number in range(60)])
    model = text_model(None, Settings())
    vector = model.encode_question("Who bakes bread?")
    asked, chosen = Asked(model.id, literal(vector), len(vector)), Wanted(user_id="anna")
    with engine.begin() as connection:
        searched = there_is(connection, chosen)
        one_by_one = by_vector(connection, chosen, searched, asked, limit=3)
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        by_index = by_vector(connection, chosen, searched, asked, limit=3, exact_up_to=0)
    assert [hit.numbers for hit in one_by_one] == [hit.numbers for hit in by_index]
    assert len(by_index) == 3
