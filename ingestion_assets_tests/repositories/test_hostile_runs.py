"""Hostile and odd repositories through the whole of a run, one after the other: each has its outcome, and harms not the next."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.settings import read_flow_settings
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.repositories.runs import DirectRuns
from ingestion_assets_tests.repositories.test_hostile import EXPECTED, LONGEST_S

MOST_FILES = 500
"""Of `many-files`: what takes long there is the text, and is the same for each."""


@pytest.fixture
def taken(hostile: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("INGESTION_REPOSITORIES_ROOTS", str(hostile))
    monkeypatch.setenv("INGESTION_REPOSITORIES_MAX_FILES", str(MOST_FILES))
    read_flow_settings.cache_clear()
    yield hostile
    monkeypatch.undo()
    read_flow_settings.cache_clear()


def test_each_has_its_outcome(taken: Path, front: Front) -> None:
    runs = DirectRuns(
        front.engine, front.settings, RepositoriesSettings(roots=str(taken), max_files=MOST_FILES)
    )
    with front.client() as client:
        for name, expected in EXPECTED.items():
            job = client.post(f"/api/v1/ingestion/ingest/{taken / name}.git").raise_for_status().json()
            began = time.monotonic()
            (outcome,) = runs.run(job["repository"])
            assert time.monotonic() - began < LONGEST_S, name
            (ended,) = client.get("/api/v1/ingestion/jobs/history?limit=1").json()["jobs"]
            assert ended["job_id"] == job["job_id"], name
            if isinstance(expected, str):
                assert (ended["status"], outcome.errors[0]["code"]) == ("failed", expected), name
                assert len(ended["error"]) > 20, name
                continue
            assert ended["status"] == "complete", (name, ended)
            listed = client.get(
                f"/api/v1/repositories/{job['repository']}/files", params={"limit": 100}
            ).json()["items"]
            assert all(one["path"].isprintable() for one in listed), name
            assert ended["files_processed"] == ended["embeddings_generated"], name
            assert list(runs.scratch.iterdir()) == [], name
