"""What is stored of a repository: readers see one snapshot whole, and nothing stays of what no snapshot has."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from ingestion_assets.landing.claims import ClaimLostError
from ingestion_assets.repositories import contents, published, snapshots
from ingestion_assets.repositories.contents import Content
from ingestion_assets.repositories.faults import faults_of
from ingestion_assets.repositories.paths import shown, stored
from ingestion_assets.repositories.snapshots import GoneError, Models
from ingestion_assets_tests.repositories import made_up
from ingestion_assets_tests.repositories.made_up import blob, vector
from ingestion_assets_tests.servers import wait_until

ONE, TWO = "github.com/example/one", "github.com/example/two"


def count(engine: sa.Engine, table: str) -> int:
    with engine.connect() as connection:
        return connection.scalar(sa.text(f"SELECT count(*) FROM repositories.{table}")) or 0


def paths(engine: sa.Engine, partition: str) -> list[str]:
    with engine.connect() as connection:
        found = published.files(connection, partition, state=None, reason=None, after="", limit=100)
        return [one["path"] for one in found or []]


def test_readers_see_the_snapshot_before_until_the_next_is_published(engine: sa.Engine) -> None:
    made_up.index(engine, ONE, {"a.py": "a", "b.py": "b"}, {"a.py": vector(1), "b.py": vector(2)})
    with engine.begin() as connection:
        made_up.begin(connection, ONE, {"c.py": "c"})
    assert paths(engine, ONE) == ["a.py", "b.py"]
    made_up.index(engine, ONE, {"c.py": "c", "x.bin": None}, {"c.py": vector(3)})
    assert paths(engine, ONE) == ["c.py", "x.bin"]
    assert (count(engine, "snapshots"), count(engine, "files")) == (1, 2)


def test_what_no_snapshot_has_any_more_is_gone_and_what_another_has_stays(engine: sa.Engine) -> None:
    made_up.index(engine, ONE, {"a.py": "shared", "b.py": "mine"}, {"a.py": vector(1), "b.py": vector(2)})
    made_up.index(engine, TWO, {"a.py": "shared"}, {"a.py": vector(1)})
    made_up.index(engine, ONE, {"c.py": "new"}, {"c.py": vector(3)})
    for table in ("chunks", "parsed"):
        with engine.connect() as connection:
            left = set(connection.scalars(sa.text(f"SELECT blob FROM repositories.{table}")))
        assert left == {blob("shared"), blob("new")}, table
    with engine.begin() as connection:
        assert snapshots.delete_repository(connection, TWO)
        assert not snapshots.delete_repository(connection, TWO)
    assert (count(engine, "chunks"), count(engine, "repositories")) == (1, 1)


def test_vectors_of_another_model_come_beside_the_old_and_take_their_place(engine: sa.Engine) -> None:
    made_up.index(engine, ONE, {"a.py": "a"}, {"a.py": vector(1)})
    newer = Models("text/2/", "structure/2")
    with engine.begin() as connection:
        _, snapshot = made_up.begin(connection, ONE, {"a.py": "a"}, models=newer)
        made_up.keep(connection, snapshot, {Content(blob("a"), "python"): "a"}, models=newer)
    assert count(engine, "chunks") == 2
    made_up.index(engine, ONE, {"a.py": "a"}, {"a.py": vector(1)}, models=newer)
    with engine.connect() as connection:
        assert connection.scalars(sa.text("SELECT model FROM repositories.chunks")).all() == ["text/2/"]


def test_a_run_that_lost_its_lane_publishes_nothing(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        stale = made_up.held_claim(connection, ONE)
        repository, snapshot = made_up.begin(connection, ONE, {"a.py": "a"})
        made_up.held_claim(connection, ONE)
    with pytest.raises(ClaimLostError, match=ONE), engine.begin() as connection:
        snapshots.publish(connection, stale, repository, snapshot, {})
    with engine.begin() as connection:
        claim = made_up.held_claim(connection, ONE)
        made_up.begin(connection, ONE, {"b.py": "b"})  # another run began anew
        with pytest.raises(GoneError):
            snapshots.publish(connection, claim, repository, snapshot, {})
    assert paths(engine, ONE) == []


def test_an_empty_repository_has_no_files_left(engine: sa.Engine) -> None:
    made_up.index(engine, ONE, {"a.py": "a"}, {"a.py": vector(1)})
    with engine.begin() as connection:
        claim = made_up.held_claim(connection, ONE)
        repository, snapshot = made_up.begin(connection, ONE, {})
        snapshots.publish(connection, claim, repository, snapshot, {"files": 0})
    assert [count(engine, table) for table in ("files", "chunks", "parsed")] == [0, 0, 0]


def test_faults_are_found(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        _, snapshot = made_up.begin(connection, ONE, {"a.py": "a", "b.py": "b", "x.bin": None})
        edges = [("a.py", "x.bin", "import", 1.0, ["x"]), ("a.py", "gone.py", "import", 1.0, [])]
        snapshots.write_graph(connection, snapshot, symbols=[("b.py", "b", "function", 1, 2)], edges=edges)
        snapshots.write_vectors(connection, snapshot, ["a.py"], vector(1)[None] * 3, None)
        assert faults_of(connection, snapshot, files=4) == {
            "accounting": ["4 files were listed, 3 are stored"],
            "one_vector_each": ["b.py"],
            "no_empty_vector": ["a.py"],
            "only_files_of_the_snapshot": ["gone.py", "x.bin"],
        }


def test_similar_files_come_with_what_they_have_in_common(engine: sa.Engine) -> None:
    files = {"a.py": "a", "b.py": "b", "c.py": "c", "far.py": "far"}
    vectors = {"a.py": vector(1, 2, 3), "b.py": vector(1, 2), "c.py": vector(1), "far.py": vector(9)}
    symbols = [("a.py", "read_lines", "function", 1, 9), ("b.py", "read_all", "function", 1, 7)]
    edges = [
        ("a.py", "b.py", "import", 1.0, ["read_all"]),
        ("a.py", "c.py", "reference", 1.0, ["Reader"]),
        ("b.py", "c.py", "reference", 1.0, ["Reader"]),
    ]
    snapshot = made_up.index(engine, ONE, files, vectors, symbols=symbols, edges=edges)
    made_up.index(engine, TWO, {"twin.py": "twin"}, {"twin.py": vector(1, 2, 3)})
    with engine.connect() as connection:
        within = published.similar(connection, snapshot, "a.py", everywhere=False, limit=2)
        everywhere = published.similar(connection, snapshot, "a.py", everywhere=True, limit=1)
    assert [hit["path"] for hit in within] == ["b.py", "c.py"]
    assert within[0]["why"] == {
        "edges": ["import to"], "both_use": ["c.py"], "names": ["Reader", "read_all"],
    }  # fmt: skip
    assert within[0]["lines"] == [1, 7]
    assert within[0]["score"] == pytest.approx((2 / 3) ** 0.5, abs=1e-3)
    assert [(hit["repository"], hit["path"]) for hit in everywhere] == [(TWO, "twin.py")]


def test_search_finds_by_names_and_by_text(engine: sa.Engine) -> None:
    files = {"a.py": "a" * 7, "b.py": "b" * 8}
    symbols = [("a.py", "ReadLines", "function", 4, 9), ("b.py", "write", "function", 1, 7)]
    made_up.index(engine, ONE, files, {path: vector(1) for path in files}, symbols=symbols)
    with engine.connect() as connection:
        named = published.by_name(connection, ["read", "lines"], partition=None, limit=9)
        near = snapshots.as_halfvec(vector(7))
        texts = published.by_text(connection, near, space="text/1", partition=ONE, limit=9)
        assert published.by_text(connection, near, space="other", partition=None, limit=9) == []
        assert published.by_name(connection, ["read"], partition=TWO, limit=9) == []
    assert [(one["path"], one["name"]) for one in named] == [("a.py", "ReadLines")]
    found = published.fused(named, texts, limit=9)
    assert [hit["path"] for hit in found] == ["a.py", "b.py"]
    assert found[0]["why"] == {"names": ["ReadLines"], "text": 1.0}
    assert found[0]["score"] == pytest.approx(2 / 61)


ODD = [
    b"new\nline.py",
    b"\x1b[31mred.py",
    b"latin-\xe9.py",
    b"back\\slash.py",
    "ünïcode.py".encode(),
    b"tab\t.py",
    "a\u202eb.py".encode(),
]


@pytest.mark.parametrize("path", ODD)
def test_an_odd_path_is_shown_escaped_and_found_by_what_is_shown(engine: sa.Engine, path: bytes) -> None:
    snapshot = made_up.index(engine, ONE, {stored(path): "a"}, {stored(path): vector(1)})
    with engine.connect() as connection:
        (file,) = published.files(connection, ONE, state=None, reason=None, after="", limit=9) or []
        assert file["path"] == shown(path)
        assert file["path"].isprintable()
        found = published.file_of(connection, snapshot, file["path"])
        assert found is not None
        assert found.path == stored(path)


def test_of_a_deleted_repository_nothing_is_written_any_more(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        claim = made_up.held_claim(connection, ONE)
        repository, snapshot = made_up.begin(connection, ONE, {"a.py": "a"})
    with engine.begin() as connection:
        assert snapshots.delete_repository(connection, ONE)
    content = {Content(blob("a"), "python"): "a"}
    rows = [(one, 0, 1, 3, text, vector(1)) for one, text in content.items()]
    limits = {"commit": None, "tree": None, "branch": None, "models": made_up.MODELS, "files": []}
    for write in (
        lambda connection: contents.keep_chunks(connection, rows, snapshot=snapshot, model="text/1/"),
        lambda connection: contents.keep_parsed(
            connection, dict.fromkeys(content, b"{}"), snapshot=snapshot, version="1"
        ),
        lambda connection: snapshots.write_graph(connection, snapshot, symbols=[], edges=[]),
        lambda connection: snapshots.write_vectors(connection, snapshot, ["a.py"], vector(1)[None], None),
        lambda connection: snapshots.begin_snapshot(connection, repository, **limits),
        lambda connection: snapshots.note_commit(connection, claim, snapshot, commit=None, branch=None),
    ):
        with pytest.raises(GoneError), engine.begin() as connection:
            write(connection)
    assert [count(engine, table) for table in ("chunks", "parsed", "snapshots")] == [0, 0, 0]


def test_who_deletes_waits_for_who_keeps_and_then_deletes_that_too(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        _, snapshot = made_up.begin(connection, ONE, {"a.py": "a"})

    def delete() -> bool:
        with engine.begin() as connection:
            return snapshots.delete_repository(connection, ONE)

    with ThreadPoolExecutor(1) as other:
        with engine.begin() as connection:
            made_up.keep(connection, snapshot, {Content(blob("a"), "python"): "a"})
            deleted = other.submit(delete)
            waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted"
            wait_until(lambda: _scalar(engine, waits), seconds=20, what="the DELETE waits")
        assert deleted.result(20)
    assert [count(engine, table) for table in ("chunks", "parsed", "snapshots")] == [0, 0, 0]


def _scalar(engine: sa.Engine, query: str) -> object:
    with engine.connect() as connection:
        return connection.scalar(sa.text(query))
