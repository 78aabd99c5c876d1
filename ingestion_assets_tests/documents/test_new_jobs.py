"""New jobs: what lands for one is all that makes its rows, passwords among it; how long it takes is told anew as it goes on."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from ingestion_assets.documents import batch_jobs, estimates, new_jobs, source_connections, source_sync
from ingestion_assets.documents.flow import FileEntry, JobPayload
from ingestion_assets.documents.job_requests import JobRequest
from ingestion_assets.settings import Settings
from ingestion_assets.stores.sealing import sealer
from ingestion_assets_tests.environment import environment

USER, SECRET = "user123", "open sesame"
FILES = [
    FileEntry("conn", "local_directory", f"{number}.txt", f"{number}.txt", f"{number}.txt", 100)
    for number in range(4)
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def request(**source: Any) -> JobRequest:
    return JobRequest.model_validate(
        {
            "user_id": USER, "name": "New", "processing_options": {"source_specific_options": source},
            "file_selections": [{"connection_id": "conn", "source_type": "local_directory", "file_ids": ["*"]}],
        }
    )  # fmt: skip


def test_a_rebuild_after_the_rows_were_lost_has_the_passwords(engine: sa.Engine, settings: Settings) -> None:
    asked = request(passwords=[SECRET])
    landed = new_jobs.payload_of(asked, settings, model_id="model@1", files=FILES, origin="request")
    with engine.begin() as connection:
        new_jobs.insert(connection, asked, landed, principal="me")
        connection.execute(sa.text("DELETE FROM documents.jobs"))
    body = msgspec.json.encode(landed)
    assert SECRET.encode() not in body
    with engine.begin() as connection:
        assert batch_jobs.begin(
            connection, msgspec.json.decode(body, type=JobPayload), principal="me", holder="run"
        )
        sealed = connection.scalar(sa.text("SELECT sealed_passwords FROM documents.jobs"))
    assert msgspec.json.decode(sealer(settings).open(sealed, of=landed.job_id)) == [SECRET]


def test_how_long_a_job_takes_is_told_anew_by_what_its_files_took(
    engine: sa.Engine, settings: Settings
) -> None:
    payload = new_jobs.payload_of(request(), settings, model_id="model@1", files=FILES, origin="request")
    with engine.begin() as connection:
        new_jobs.insert(connection, request(), payload, principal="me")
        values = {"job_id": payload.job_id}
        connection.execute(
            sa.text(
                "UPDATE documents.jobs SET status = 'running', started_at = clock_timestamp() - interval '10 s'"
            )
        )
        connection.execute(
            sa.text("""UPDATE documents.files SET status = 'completed', progress = 100, ended_at = clock_timestamp(), took = '{"parsing": 40000}'
                       WHERE job_id = :job_id AND number <= 2"""),
            values,
        )
        estimates.renew(connection, payload.job_id, workers=2)
        told = connection.scalar(sa.text("SELECT estimated_ms FROM documents.jobs"))
    assert told == pytest.approx(10_000 + 2 * 40_000 / 2, abs=2_000)


def test_passwords_of_syncs_are_kept_sealed_and_are_those_of_their_jobs(
    engine: sa.Engine, settings: Settings, tmp_path: Path
) -> None:
    options = request(passwords=[SECRET], encoding="cp437").processing_options
    with environment(INGESTION_DOCUMENT_ROOTS=tmp_path), engine.begin() as connection:
        one = source_connections.create(
            connection, settings, user_id=USER, source_type="local_directory", name="Locked", config={"path": str(tmp_path)},
            sync_options=options.model_dump(exclude_unset=True),
        )  # fmt: skip
        one = source_connections.change(connection, settings, one.id, {"name": "Still locked"}, user_id=USER)
        assert one is not None
        stored = str(connection.execute(sa.text("SELECT * FROM documents.connections")).one())
    assert SECRET not in stored
    assert "***" not in stored
    source = source_sync.job_request(one, settings).processing_options.source_specific_options
    assert ([one.get_secret_value() for one in source.passwords], source.encoding) == ([SECRET], "cp437")
    with engine.begin() as connection:
        bare = source_connections.change(connection, settings, one.id, {"sync_options": {}}, user_id=USER)
    assert bare is not None
    assert source_sync.job_request(bare, settings).processing_options.source_specific_options.passwords == []
