"""A connection over HTTP, and what its syncs do."""

import uuid
from typing import Any

import httpx
import sqlalchemy as sa

from ingestion_assets_tests.documents.edited_sources import EditedSource
from ingestion_assets_tests.documents.job_front import OVER
from ingestion_assets_tests.frontdoor.conftest import Front
from ingestion_assets_tests.servers import wait_until

NONE = dict.fromkeys(("new", "changed", "touched", "renamed", "moved", "restored", "removed", "unchanged"), 0)


class Synced:
    """A user's connection, and what its syncs did."""

    def __init__(self, front: Front, source: EditedSource, **options: Any) -> None:
        self.front = front
        self.user = f"user-{uuid.uuid4().hex}"
        self.client = front.client()
        made = self.client.post(
            "/batch/connections",
            json={
                "user_id": self.user,
                "source_type": source.kind,
                "name": "edited",
                "config": source.config,
                "processing_options": options,
            },
        )
        assert made.status_code == 201, made.text
        self.where = f"/batch/connections/{made.json()['connection_id']}"
        self.embedded = 0

    def answer(self, **params: Any) -> httpx.Response:
        return self.client.post(f"{self.where}/sync", params={"user_id": self.user, **params})

    def sync(self, **params: Any) -> dict[str, int]:
        """A sync and its jobs to their end: files by what became of them."""
        answer = self.answer(**params)
        assert answer.status_code == 200, answer.text
        for job in answer.json()["job_ids"]:
            wait_until(lambda job=job: self.job(job)["status"] in OVER, seconds=200, what="the job of a sync")
            found = self.job(job)
            assert found["status"] == "completed", [
                file["error"] for source in found["source_progress"] for file in source["files"]
            ]
        rows = self.rows(
            "SELECT coalesce(sum(file.embedded), 0) FROM documents.files file JOIN documents.jobs job ON job.id = job_id WHERE user_id = :user"
        )
        before, self.embedded = self.embedded, int(rows[0][0])
        return {**answer.json()["files"], "embedded": self.embedded - before}

    def job(self, job: str) -> dict[str, Any]:
        return self.client.get(f"/batch/jobs/{job}", params={"user_id": self.user}).json()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.front.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), {"user": self.user})]

    def documents(self) -> list[tuple[Any, ...]]:
        """What a search may find: path, name, the bytes' hash, the text."""
        return self.rows("""
            SELECT document.path, document.name, content.sha256, content.text FROM documents.documents document
            JOIN documents.contents content ON content.id = document.content_id
            WHERE document.user_id = :user AND removed_at IS NULL ORDER BY 1
        """)

    def paths(self) -> list[str]:
        return [row[0] for row in self.documents()]

    def read(self) -> dict[str, Any]:
        return self.client.get(self.where, params={"user_id": self.user}).json()

    def change(self, **named: Any) -> dict[str, Any]:
        answer = self.client.patch(self.where, json={"user_id": self.user, **named})
        assert answer.status_code == 200, answer.text
        return answer.json()


def text_of(subject: str) -> str:
    return f"A short text about {subject}, which nobody else writes of in this place."
