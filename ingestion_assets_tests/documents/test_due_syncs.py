"""Syncs that come by themselves: asked for by the sensor, done by a run that says what it did."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import sqlalchemy as sa

from ingestion_assets.documents.definitions import documents_sync, documents_syncs_due
from ingestion_assets_tests.documents.fronts import USER, documents_front, make_tables
from ingestion_assets_tests.documents.job_front import OVER, text_files
from ingestion_assets_tests.documents.waiting_sessions import held_up
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.servers import wait_until


@pytest.fixture
def front(postgres_url: str, tmp_path: Path) -> Iterator[Front]:
    make_tables(postgres_url)
    home = tmp_path / "home"
    with (
        environment(INGESTION_POSTGRES_URL=postgres_url, INGESTION_HOME=home),
        documents_front(postgres_url, home, document_roots=tmp_path) as running,
    ):
        yield running


def connected(front: Front, folder: Path) -> str:
    body = {
        "user_id": USER,
        "source_type": "local_directory",
        "name": "Due",
        "config": {"path": str(folder)},
        "sync_every_s": 3600,
    }
    answer = front.client().post("/batch/connections", json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()["connection_id"]


def make_due(front: Front, connection_id: str) -> None:
    with front.engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE documents.connections SET sync_at = clock_timestamp() WHERE id = :id"),
            {"id": connection_id},
        )


def asked_for() -> list[dg.RunRequest]:
    told: Any = documents_syncs_due()
    return [] if isinstance(told, dg.SkipReason) else list(told.run_requests)


def done(request: dg.RunRequest) -> dict[str, Any]:
    """What the run that was asked for says it did."""
    with dg.DagsterInstance.ephemeral() as instance:
        result = documents_sync.execute_in_process(run_config=request.run_config, instance=instance)
        assert result.success
        (event,) = (one for one in result.all_events if one.is_successful_output)
        return {name: value.value for name, value in event.step_output_data.metadata.items()}


def test_a_due_connection_is_synced_once_by_a_run_that_says_what_it_did(front: Front, tmp_path: Path) -> None:
    folder = text_files(tmp_path / "due", 3)
    id_ = connected(front, folder)
    assert not asked_for(), "it was made just now"
    make_due(front, id_)
    (request,) = asked_for()
    assert [one.run_key for one in asked_for()] == [request.run_key], (
        "a tick that is repeated asks for the same run"
    )
    said = done(request)
    assert (said["connection"], said["new"], said["removed"]) == (id_, 3, 0)
    client = front.client()

    def job() -> dict[str, Any]:
        return client.get(f"/batch/jobs/{said['jobs']}", params={"user_id": USER}).json()

    wait_until(lambda: job()["status"] in OVER, seconds=120, what="the sync's job to be over")
    assert (job()["status"], job()["origin"], job()["completed_files"]) == ("completed", "sync", 3)
    assert not asked_for()
    assert done(request) == {}, "another run had it"
    next(folder.iterdir()).unlink()
    make_due(front, id_)
    said = done(*asked_for())
    assert (said["new"], said["removed"], said["unchanged"], said["jobs"]) == (0, 1, 2, "")


REFUSED = """
    CREATE FUNCTION documents.refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''the run ends here''; END';
    CREATE TRIGGER refuse BEFORE UPDATE OF drop_id ON documents.jobs
        FOR EACH ROW WHEN (NEW.drop_id IS DISTINCT FROM OLD.drop_id) EXECUTE FUNCTION documents.refuse()
"""


def test_a_job_is_worked_on_though_the_run_of_its_sync_ended_when_it_had_landed(
    front: Front, tmp_path: Path
) -> None:
    id_ = connected(front, text_files(tmp_path / "landed", 2))
    make_due(front, id_)
    (request,) = asked_for()
    with front.engine.begin() as connection:
        connection.execute(sa.text(REFUSED))
    with dg.DagsterInstance.ephemeral() as instance:
        result = documents_sync.execute_in_process(
            run_config=request.run_config, instance=instance, raise_on_error=False
        )
    assert not result.success

    def jobs() -> list[dict[str, Any]]:
        listed = front.client().post("/batch/jobs/list", json={"user_id": USER, "limit": 10})
        return listed.raise_for_status().json()["jobs"]

    wait_until(lambda: jobs()[0]["status"] == "completed", seconds=120, what="the job to be worked on")
    with front.engine.begin() as connection:
        connection.execute(sa.text("DROP FUNCTION documents.refuse CASCADE"))
    make_due(front, id_)
    said = done(*asked_for())
    assert (said["new"], said["jobs"]) == (0, ""), "what was stored is known"


def test_a_connection_that_is_changed_meanwhile_is_told_of_and_synced_again(
    front: Front, tmp_path: Path
) -> None:
    id_ = connected(front, text_files(tmp_path / "old", 1))
    make_due(front, id_)
    (request,) = asked_for()
    new = tmp_path / "new"
    new.mkdir()
    (new / "new.txt").write_text("The text of the new place.")
    config = {"path": str(new)}
    with held_up(
        front.engine,
        "LOCK TABLE documents.files IN SHARE MODE",
        lambda: done(request),
        at="INTO documents.files",
    ) as waiting:
        answer = front.client().patch(f"/batch/connections/{id_}", json={"user_id": USER, "config": config})
        assert answer.status_code == 200
    assert waiting.results() == [{}]
    make_due(front, id_)
    assert done(*asked_for())["new"] == 1


def test_a_source_that_is_away_fails_the_run_with_its_sentence_and_waits_for_its_next_time(
    front: Front, tmp_path: Path
) -> None:
    folder = text_files(tmp_path / "away", 1)
    id_ = connected(front, folder)
    make_due(front, id_)
    folder.rename(tmp_path / "elsewhere")
    (request,) = asked_for()
    with dg.DagsterInstance.ephemeral() as instance:
        result = documents_sync.execute_in_process(
            run_config=request.run_config, instance=instance, raise_on_error=False
        )
    assert not result.success
    (failure,) = result.get_step_failure_events()
    assert f"The connection {id_} was not synced: " in str(failure.event_specific_data)
    shown = front.client().get(f"/batch/connections/{id_}", params={"user_id": USER}).json()
    assert shown["status"] != "active"
    assert shown["error"]
    assert not asked_for()
