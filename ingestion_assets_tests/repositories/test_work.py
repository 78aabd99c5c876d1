"""What a run does: it indexes a repository, does only what changed again, and leaves the tables as if that were all there ever was."""

import socket
import string
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingestion_assets.repositories import index_jobs, live_workers, looking
from ingestion_assets.repositories.looking import Looked, look_around
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.repositories.snapshots import Models
from ingestion_assets.repositories.work import RepositoryWork
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.repositories import planted
from ingestion_assets_tests.repositories.conftest import LONG
from ingestion_assets_tests.repositories.git_repository import GitRepository
from ingestion_assets_tests.repositories.runs import DirectRuns, Run
from ingestion_assets_tests.repositories.stored import tables

FILES = {
    "app/reader.py": "def read_lines(path):\n    return open(path).read().splitlines()\n",
    "app/writer.py": "from app.reader import read_lines\n\ndef write_lines(path, lines):\n    open(path, 'w').writelines(lines)\n",
    "app/empty.py": "",
    "README.md": "# A repository\n",
}


class Indexer:
    """A repository, a front door to submit it at, and runs by hand."""

    def __init__(self, front: Front, folder: Path, name: str = "one") -> None:
        self.front = front
        self.git = GitRepository(folder / name)
        self.settings = RepositoriesSettings(roots=str(folder))
        self.runs = DirectRuns(front.engine, front.settings, self.settings)
        self.partition = ""

    def submit(self) -> dict[str, Any]:
        with self.front.client() as client:
            answer = client.post(f"/api/v1/ingestion/ingest/{self.git.folder}")
        assert answer.status_code == 200, answer.text
        self.partition = answer.json()["repository"]
        return answer.json()

    def index(self) -> Mapping[str, Any]:
        """Submit it, run, and the result."""
        self.submit()
        (outcome,) = self.runs.run(self.partition)
        assert not outcome.failed, outcome.errors
        return outcome.result

    def start(self) -> tuple[Run, RepositoryWork]:
        """Submit it, and a run that has claimed it."""
        self.submit()
        self.at_work = self.runs.start(self.partition)
        return self.at_work

    def finish(self) -> None:
        self.runs.finish(*self.at_work)

    def delete(self) -> None:
        with self.front.client() as client:
            client.delete(f"/api/v1/repositories/{self.partition}").raise_for_status()

    def history(self) -> list[dict[str, Any]]:
        with self.front.client() as client:
            return client.get("/api/v1/ingestion/jobs/history?limit=100").json()["jobs"]

    def tables(self) -> dict[str, list[str]]:
        return tables(self.front.engine)


@pytest.fixture
def folder_of_repositories(tmp_path: Path) -> Iterator[Path]:
    """A folder whose repositories may be taken."""
    with environment(INGESTION_REPOSITORIES_ROOTS=tmp_path):
        yield tmp_path


@pytest.fixture
def indexer(folder_of_repositories: Path, front: Front) -> Indexer:
    return Indexer(front, folder_of_repositories)


def test_a_repository_is_indexed(indexer: Indexer) -> None:
    commit = indexer.git.commit(FILES)
    job = indexer.submit()
    (outcome,) = indexer.runs.run(indexer.partition)
    assert outcome.result == {
        "status": "complete", "job_id": job["job_id"], "repository": indexer.partition, "commit": commit, "files_processed": 3,
        "embeddings_generated": 3, "embeddings_reused": 1, "unchanged": False, "stored": 1,
    }  # fmt: skip
    (done,) = indexer.history()
    assert (done["status"], done["files_processed"], done["embeddings_generated"]) == ("complete", 3, 3)
    assert done["duration_seconds"] >= 0
    with indexer.front.client() as client:
        receipt = client.get(job["receipt_url"]).json()
        assert (receipt["state"], receipt["result"]["status"]) == ("done", "complete")
        assert receipt["progress"]["state"]["stage"] == "publishing"
        (listed,) = client.get("/api/v1/repositories").json()["items"]
        assert (listed["commit"], listed["embedded"], listed["skipped"]) == (commit, 3, 1)
        similar = client.get(
            f"/api/v1/repositories/{indexer.partition}/similar", params={"path": "app/writer.py"}
        )
        assert similar.json()["items"][0]["path"] == "app/reader.py"
    assert list(indexer.runs.scratch.iterdir()) == []


def test_an_odd_file_costs_itself_alone(indexer: Indexer) -> None:
    random = Random(1)
    names = ("".join(random.choices(string.ascii_letters + string.digits, k=200)) for _ in range(15))
    path = "/".join(names)
    imported = b"//" + b"x" * 9000 + b'\nimport { "a\0b" as c } from "./b.js"\n'
    indexer.git.commit({
        **FILES, "a.js": imported, "b.js": "export const q = 1\n", f"{path}.py": "x = 1\n", f"{path}.bin": b"\0",
        "package.json": "{}", "pnpm-workspace.yaml": b"\xff", "web/package.json": "[", "rs/Cargo.toml": "a." * 1000 + "a = 1\n",
    })  # fmt: skip
    assert indexer.index()["files_processed"] == 5
    with indexer.front.client() as client:
        skipped = client.get(
            f"/api/v1/repositories/{indexer.partition}/files", params={"reason": "bad_path"}
        ).json()["items"]
        assert {one["measure"] for one in skipped} == {str(len(path) + 4), str(len(path) + 3)}
        assert all(one["path"].startswith(path[:200] + "\\x00") for one in skipped)
    with indexer.front.engine.connect() as connection:
        facts = connection.scalar(sa.text("SELECT facts FROM repositories.snapshots"))
    assert facts["unread_manifests"] == ["pnpm-workspace.yaml", "rs/Cargo.toml", "web/package.json"]


def test_deleted_while_it_is_embedded_nothing_stays(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    run, work = indexer.start()
    assert work.graphed() is not None
    indexer.delete()
    (outcome,) = indexer.runs.finish(run, work)
    assert outcome.unfinished
    tables = indexer.tables()
    assert [len(tables[name]) for name in ("snapshots", "files", "parsed", "chunks")] == [0, 0, 0, 0]


def test_indexed_again_without_a_change_nothing_is_done(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    indexer.index()
    before = indexer.tables()
    again = indexer.index()
    assert (again["unchanged"], again["files_processed"], again["embeddings_reused"]) == (True, 3, 3)
    assert indexer.tables() == before
    indexer.git.commit(FILES, keep_history=False, message="the same tree")  # force-pushed
    indexer.git.rename_branch("trunk")
    rewritten = indexer.index()
    assert (rewritten["unchanged"], rewritten["commit"]) == (True, indexer.git.tip())


def test_of_a_changed_file_its_chunks_are_embedded_and_of_others_none(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    indexer.index()
    moved = {name.replace("reader", "lines"): text for name, text in FILES.items()}
    indexer.git.commit(moved)
    _, work = indexer.start()
    assert work.embedded() is not None
    assert (work.embedded().text.chunks, work.embedded().text.reused) == (0, 2)
    indexer.finish()
    indexer.git.commit({**moved, "app/writer.py": "def other():\n    pass\n"})
    _, work = indexer.start()
    assert (work.embedded().text.chunks, work.embedded().text.reused) == (1, 1)
    indexer.finish()
    indexer.git.commit({"README.md": "# Nothing else\n"})
    indexer.index()
    tables = indexer.tables()
    assert [len(tables[name]) for name in ("files", "chunks", "parsed", "symbols", "edges")] == [
        1,
        0,
        0,
        0,
        0,
    ]


CONTENTS = st.sampled_from([*FILES.values(), "from app import reader\n", "x = 1\n" * 50, "TOO_DEEP"])
TREES = st.dictionaries(
    st.sampled_from([*FILES, "app/lines.py", "web/app.js", "main.go"]), CONTENTS, min_size=1, max_size=6
)


@given(first=TREES, second=TREES)
@settings(max_examples=60 if LONG else 4, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_two_versions_leave_what_the_second_alone_leaves(
    indexer: Indexer, first: dict[str, str], second: dict[str, str]
) -> None:
    for version in (first, second):
        indexer.git.commit(version, keep_history=False)
        indexer.index()
    both = indexer.tables()
    indexer.delete()
    indexer.index()
    assert indexer.tables() == both


@pytest.mark.parametrize("stage", ["sourced", "graphed", "embedded"])
def test_a_run_that_is_killed_after_a_stage_costs_nothing_but_time(indexer: Indexer, stage: str) -> None:
    indexer.git.commit(FILES)
    indexer.index()
    undisturbed = indexer.tables()
    indexer.delete()
    job = indexer.submit()["job_id"]
    for _ in range(2):
        run, work = indexer.runs.start(indexer.partition)
        getattr(work, stage)()
        indexer.runs.lose(run)  # its scratch folder stays, as after a kill
    indexer.runs.run(indexer.partition)
    assert indexer.tables() == undisturbed
    outcomes = [one for one in indexer.history() if one["job_id"] == job]
    assert [one["status"] for one in outcomes] == ["complete"]


def test_a_clone_that_fails_is_the_outcome_and_may_be_redriven(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    indexer.submit()
    away = indexer.git.folder.rename(indexer.git.folder.with_name("away"))
    (outcome,) = indexer.runs.run(indexer.partition)
    assert outcome.failed
    (failed,) = indexer.history()
    assert (failed["status"], failed["error"]) == ("failed", outcome.errors[0]["reason"])
    with indexer.front.client() as client:
        assert client.get("/api/v1/ingestion/worker/status").json()["status"] == "Offline"
        with indexer.front.engine.begin() as connection:
            connection.execute(
                sa.text("INSERT INTO repositories.workers (id, name) VALUES (gen_random_uuid(), 'host')")
            )
        status = client.get("/api/v1/ingestion/worker/status").json()
        assert status["status"] == f"Error: {failed['error']}"
        away.rename(indexer.git.folder)
        (reject,) = client.get("/api/v1/rejects", params={"flow": "repositories"}).json()["items"]
        client.post(f"/api/v1/rejects/{reject['id']}/redrive").raise_for_status()
        run, work = indexer.runs.start(indexer.partition)
        status = client.get("/api/v1/ingestion/worker/status").json()
        assert (status["status"], status["workers"]) == (f"Training Graph on {indexer.partition}", ["host"])
        indexer.runs.finish(run, work)
        assert client.get("/api/v1/ingestion/worker/status").json()["status"] == "Idle"
    assert [one["status"] for one in indexer.history()] == ["complete", "failed"]


def test_a_submission_that_waited_too_long_is_skipped_when_it_is_claimed(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    indexer.submit()
    indexer.runs.chosen = indexer.runs.chosen.model_copy(update={"ttl_s": 0.001})
    (outcome,) = indexer.runs.run(indexer.partition)
    assert (outcome.result["status"], outcome.result["reason"]) == ("skipped", "Task exceeded TTL")
    (skipped,) = indexer.history()
    assert (skipped["status"], skipped["reason"]) == ("skipped", "Task exceeded TTL")
    assert indexer.tables()["files"] == []


def test_a_cancelled_run_stops_and_leaves_nothing(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    receipt = indexer.submit()["receipt_url"]
    run, work = indexer.runs.start(indexer.partition)
    assert work.sourced() is not None
    with indexer.front.client() as client:
        client.post(f"{receipt}/cancel").raise_for_status()
        work.indexing._asked_at = float("-inf")
        (outcome,) = indexer.runs.finish(run, work)
        assert outcome.unfinished
        assert client.get(receipt).json()["state"] == "failed"
        assert client.get("/api/v1/repositories").json()["items"] == []
    with indexer.front.engine.begin() as connection:
        index_jobs.sweep(connection, ttl_s=9e9)
    assert [one["error"] for one in indexer.history()] == ["it was cancelled on request"]
    with indexer.front.engine.begin() as connection:
        live_workers.beat(indexer.front.engine, id=uuid.uuid4(), name="host")
        assert live_workers.worker_status(connection)["status"] == "Idle"


def test_a_run_that_finds_nothing_any_more_does_nothing(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    receipt = indexer.submit()["receipt_url"]
    with indexer.front.client() as client:
        client.post(f"{receipt}/cancel").raise_for_status()
    assert indexer.runs.run(indexer.partition) == []
    assert indexer.tables()["snapshots"] == []


def test_what_was_redriven_waits_no_longer_once_its_repository_is_deleted(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    indexer.submit()
    away = indexer.git.folder.rename(indexer.git.folder.with_name("away"))
    (outcome,) = indexer.runs.run(indexer.partition)
    assert outcome.failed
    away.rename(indexer.git.folder)
    with indexer.front.client() as client:
        (reject,) = client.get("/api/v1/rejects", params={"flow": "repositories"}).json()["items"]
        client.post(f"/api/v1/rejects/{reject['id']}/redrive").raise_for_status()
        assert client.delete(f"/api/v1/repositories/{indexer.partition}").status_code == 204
        assert indexer.runs.run(indexer.partition) == []
        assert client.get("/api/v1/repositories").json()["items"] == []


def test_submitted_while_a_run_is_at_work_it_waits_once_more(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    first = indexer.submit()["job_id"]
    run, work = indexer.runs.start(indexer.partition)
    second = indexer.submit()
    assert (second["job_id"] > first, second["queue_position"], second["already_queued"]) == (True, 1, False)
    indexer.runs.finish(run, work)
    (outcome,) = indexer.runs.run(indexer.partition)
    assert (outcome.result["job_id"], outcome.result["unchanged"]) == (second["job_id"], True)


def test_a_rebuild_makes_the_same_again(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    indexer.index()
    before = indexer.tables()
    (outcome,) = indexer.runs.rebuild(indexer.partition)
    assert outcome.result["unchanged"] is False
    assert indexer.tables() == before
    assert len(indexer.history()) == 1


def test_another_model_embeds_all_anew_beside_the_old_until_readers_switch(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    indexer.index()
    before = indexer.tables()
    _, work = indexer.start()
    old = work.indexing.models
    work.indexing.models = Models(text=f"{old.text}/other", structure=f"{old.structure}/other")
    assert work.graphed() is not None
    assert set(before["chunks"]) == set(indexer.tables()["chunks"])
    assert (work.embedded().text.chunks, work.embedded().text.reused) == (2, 0)
    indexer.finish()
    with indexer.front.engine.connect() as connection:
        models = list(connection.scalars(sa.text("SELECT DISTINCT model FROM repositories.chunks")))
    assert models == [f"{old.text}/other"]
    assert [len(rows) for rows in indexer.tables().values()] == [len(rows) for rows in before.values()]


def test_other_limits_look_again_and_embed_nothing(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    indexer.index()
    indexer.runs.chosen = indexer.runs.chosen.model_copy(update={"max_files": 7})
    again = indexer.index()
    assert (again["unchanged"], again["embeddings_reused"]) == (False, 3)


def test_without_a_change_it_takes_hardly_longer_than_an_empty_one(indexer: Indexer, tmp_path: Path) -> None:
    empty = Indexer(indexer.front, tmp_path, "empty")
    indexer.git.commit(planted.files())
    times: dict[str, list[float]] = {"empty": [], "unchanged": []}
    for number in range(4):
        for name, one in (("empty", empty), ("unchanged", indexer)):
            began = time.monotonic()
            result = one.index()
            if number:
                assert result["unchanged"]
                times[name].append(time.monotonic() - began)
    assert min(times["unchanged"]) <= 1.5 * min(times["empty"]), times


def test_an_empty_repository_is_complete_with_no_files(indexer: Indexer) -> None:
    result = indexer.index()
    assert (result["status"], result["files_processed"], result["commit"]) == ("complete", 0, None)


def test_a_look_around_finds_a_new_commit_and_asks_less_often_who_does_not_answer(indexer: Indexer) -> None:
    indexer.git.commit(FILES)
    indexer.index()
    with indexer.front.client() as client:
        client.patch(f"/api/v1/repositories/{indexer.partition}", json={"watched": True}).raise_for_status()

    def look() -> Looked:
        with indexer.front.engine.begin() as connection:
            connection.execute(sa.text("UPDATE repositories.repositories SET look_at = now()"))
        return look_around(indexer.front.engine, indexer.front.settings, indexer.settings, most=9)

    def next_in_s() -> float:
        with indexer.front.engine.connect() as connection:
            query = "SELECT extract(epoch FROM look_at - now())::float8 FROM repositories.repositories"
            return connection.execute(sa.text(query)).scalar_one()

    assert (look().asked, look().changed, look().failed) == (1, 0, {})
    assert next_in_s() == pytest.approx(indexer.settings.watch_every_s, rel=0.2)
    away = indexer.git.folder.rename(indexer.git.folder.with_name("away"))
    for times in (2, 4):
        assert set(look().failed) == {indexer.partition}
        assert next_in_s() == pytest.approx(times * indexer.settings.watch_every_s, rel=0.2)
    away.rename(indexer.git.folder)
    indexer.git.commit({"app.py": "x = 1\n"})
    assert (look().changed, list(indexer.runs.scratch.iterdir())) == (1, [])
    # It was submitted, and came to nothing: the same commit is tried ever more rarely.
    for times in (2, 4):
        assert look().changed == (1 if times > 2 else 0)  # nothing, while it still is to be submitted
        with indexer.front.engine.begin() as connection:
            connection.execute(sa.text("UPDATE repositories.repositories SET wanted_at = NULL"))
    assert next_in_s() == pytest.approx(2 * indexer.settings.watch_every_s, rel=0.2)
    assert look().changed == 1
    assert next_in_s() == pytest.approx(4 * indexer.settings.watch_every_s, rel=0.2)


def test_a_silent_server_is_asked_for_seconds_and_those_that_time_is_too_short_for_stay_due(
    indexer: Indexer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(looking, "EACH_S", 0.5)
        monkeypatch.setattr(looking, "LONGEST_S", 0.8)
        with indexer.front.engine.begin() as connection:
            for number in range(3):
                connection.execute(
                    sa.text("INSERT INTO repositories.repositories (partition, repository, watched) VALUES (:name, :name, true)"),
                    {"name": f"{host}/example/r{number}"},
                )  # fmt: skip
        chosen = indexer.settings.model_copy(update={"private_hosts": host})
        looked = look_around(indexer.front.engine, indexer.front.settings, chosen, most=9)
    assert (looked.asked, list(looked.failed.values())) == (1, ["It has not answered within 0.5 s."])
    with indexer.front.engine.connect() as connection:
        query = "SELECT looks_failed, look_at <= now() FROM repositories.repositories ORDER BY looks_failed"
        assert [tuple(row) for row in connection.execute(sa.text(query))] == [
            (0, True),
            (0, True),
            (1, False),
        ]
