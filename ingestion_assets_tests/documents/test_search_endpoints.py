"""Search, stored documents and the page over HTTP: a user's own alone, and what a client may rely on."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from ingestion_assets.embedding.answering import Answerer
from ingestion_assets.server import create_app
from ingestion_assets.stores import postgres
from ingestion_assets_tests.documents.fronts import make_tables
from ingestion_assets_tests.documents.stored import Stored, store
from ingestion_assets_tests.frontdoor.conftest import Front, served, settings_for
from ingestion_assets_tests.frontdoor.instant_runs import InstantRuns

BREAD = "Bread is baked from flour, water and salt in a hot oven."
MOON = "The moon moves around the earth in about twenty-seven days."
OTHER = "A river flows from its spring down to the sea."


@pytest.fixture(scope="module")
def front(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    make_tables(postgres_url)
    settings = settings_for(home=tmp_path_factory.mktemp("home"), postgres_url=postgres_url)
    own = postgres.engine(postgres_url)
    runs = InstantRuns(engine=own)
    app = create_app(settings, launch=runs)
    with served(app) as url:
        yield Front(url=url, engine=own, runs=runs, settings=settings, app=app)


@pytest.fixture(scope="module")
def library(front: Front) -> dict[str, Stored]:
    return {
        "bread": store(front.engine, "anna", "kitchen/bread.txt", [BREAD]),
        "moon": store(front.engine, "anna", "sky/moon.txt", [MOON]),
        "other": store(front.engine, "ben", "river.txt", [OTHER]),
    }


@pytest.fixture
def client(front: Front) -> Iterator[httpx.Client]:
    with front.client(front.key("documents:anna")) as client:
        yield client


@pytest.fixture
def worker(front: Front) -> Iterator[None]:
    """A worker that makes vectors."""
    answerer, over = Answerer(front.engine, front.settings, main=True), threading.Event()
    answerer.beat()

    def work() -> None:
        while not over.wait(0.01):
            answerer.answer_open(question=True)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()
    with front.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM embedding.answerers"))


def search(client: httpx.Client, query: str, user: str = "anna", **more: Any) -> Any:
    answer = client.post("/batch/search", json={"user_id": user, "query": query, **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.usefixtures("library", "worker")
def test_a_question_is_answered_by_vectors_and_words(client: httpx.Client) -> None:
    found = search(client, "What is bread made of?")
    assert found["by"] == ["vector", "text"]
    first = found["items"][0]
    assert first["text"] == BREAD
    assert first["file"]["path"] == "kitchen/bread.txt"
    assert first["why"]["vector_rank"] == 1
    assert first["why"]["cosine"] > 0.4
    assert search(client, "what turns around our planet?", mode="vector")["items"][0]["text"] == MOON


@pytest.mark.usefixtures("library")
def test_without_a_worker_a_hybrid_search_goes_by_words_and_says_so(client: httpx.Client) -> None:
    found = search(client, "What is bread made of?")
    assert found["by"] == ["text"]
    assert [hit["text"] for hit in found["items"]] == [BREAD]
    refused = client.post("/batch/search", json={"user_id": "anna", "query": "bread", "mode": "vector"})
    assert refused.status_code == 503
    assert refused.headers["Retry-After"]


@pytest.mark.usefixtures("library", "worker")
def test_a_user_without_documents_finds_nothing(front: Front) -> None:
    with front.client() as admin:
        for mode in ("hybrid", "vector", "text"):
            assert search(admin, "bread", user="carl", mode=mode)["items"] == []


def test_a_key_of_one_user_opens_nothing_of_another(client: httpx.Client, library: dict[str, Stored]) -> None:
    other = library["other"].document_id
    for answer in (
        client.post("/batch/search", json={"user_id": "ben", "query": "river"}),
        client.get("/batch/documents", params={"user_id": "ben"}),
        client.get(f"/batch/documents/{other}", params={"user_id": "ben"}),
        client.delete(f"/batch/documents/{other}", params={"user_id": "ben"}),
    ):
        assert answer.status_code == 403, answer.text
    assert client.get(f"/batch/documents/{other}", params={"user_id": "anna"}).status_code == 404
    assert client.delete(f"/batch/documents/{other}", params={"user_id": "anna"}).status_code == 404
    assert (
        httpx.post(
            str(client.base_url.join("/batch/search")), json={"user_id": "ben", "query": "x"}
        ).status_code
        == 401
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"query": ""}, {"query": "  "}, {"query": "a\0b"}, {"limit": 0}, {"limit": 51}, {"mode": "other"}, {"user_id": "../x"},
        {"filters": {"colour": "red"}}, {"filters": {"document_id": "1"}}, {"more": 1},
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_search_is_said(client: httpx.Client, wrong: dict[str, Any]) -> None:
    answer = client.post("/batch/search", json={"user_id": "anna", "query": "bread", **wrong})
    assert answer.status_code == 422
    assert answer.json()["errors"]


def test_documents_are_listed_in_pages_and_read(client: httpx.Client, library: dict[str, Stored]) -> None:
    first = client.get("/batch/documents", params={"user_id": "anna", "limit": 1}).json()
    assert [one["path"] for one in first["items"]] == ["kitchen/bread.txt"]
    second = client.get(
        "/api/v1/batch/documents", params={"user_id": "anna", "limit": 1, "cursor": first["next"]}
    )
    assert [one["path"] for one in second.json()["items"]] == ["sky/moon.txt"]
    assert second.json()["next"] is None
    one = client.get(f"/batch/documents/{library['bread'].document_id}", params={"user_id": "anna"}).json()
    assert one["text"] == BREAD
    (chunk,) = one["chunk_list"]
    assert one["text"][chunk["start"] : chunk["end"]] == BREAD


def test_a_deleted_document_takes_along_what_nobody_else_has(front: Front) -> None:
    def count(table: str) -> int:
        with front.engine.connect() as connection:
            return connection.scalar(sa.text(f"SELECT count(*) FROM documents.{table}")) or 0

    before = {table: count(table) for table in ("documents", "contents", "chunks", "vectors")}
    own, shared = "Only dora has this sentence.", "Dora and eric both have this sentence."
    first = store(front.engine, "dora", "a.txt", [own, shared])
    copy = store(front.engine, "dora", "b.txt", [own, shared])
    erics = store(front.engine, "eric", "a.txt", [shared])
    with front.client() as admin:

        def delete(document: Stored, user: str) -> int:
            return admin.delete(
                f"/batch/documents/{document.document_id}", params={"user_id": user}
            ).status_code

        assert delete(first, "dora") == 204
        assert delete(first, "dora") == 404
        assert count("vectors") == before["vectors"] + 2
        assert {hit["file"]["path"] for hit in search(admin, "dora sentence", user="dora")["items"]} == {
            "b.txt"
        }
        assert delete(copy, "dora") == 204
        assert count("vectors") == before["vectors"] + 1
        assert search(admin, "dora sentence", user="dora")["items"] == []
        assert search(admin, "dora sentence", user="eric")["items"]
        assert delete(erics, "eric") == 204
    assert {table: count(table) for table in before} == before


def test_the_page_runs_nothing_but_its_own_script_and_asks_nobody_else(front: Front) -> None:
    answer = httpx.get(f"{front.url}/documents")
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"https?://|\bsrc=|innerHTML|localStorage|sessionStorage|cookie", answer.text)


def test_the_page_is_part_of_the_package() -> None:
    project = Path(__file__).parents[2] / "pyproject.toml"
    assert '"**/*.html"' in project.read_text(encoding="utf-8")
