"""A front door with real runs of the flow in threads, and what tests of jobs do with it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import httpx
import sqlalchemy as sa

from ingestion_assets.documents import source_connections
from ingestion_assets.documents.settings import documents_settings
from ingestion_assets.server import create_app
from ingestion_assets.stores import postgres
from ingestion_assets_tests.documents.job_runs import JobRuns
from ingestion_assets_tests.environment import environment
from ingestion_assets_tests.frontdoor.conftest import ADMIN_TOKEN, served, settings_for
from ingestion_assets_tests.servers import wait_until

USER = "user123"
OVER = {"completed", "failed", "cancelled"}
PATIENCE_S = 300.0


class JobsFront:
    """A front door, its runs, and its client."""

    def __init__(self, url: str, engine: sa.Engine, runs: JobRuns, root: Path) -> None:
        self.url, self.engine, self.runs, self.root = url, engine, runs, root
        self.client = httpx.Client(base_url=url, headers={"X-API-Key": ADMIN_TOKEN}, timeout=PATIENCE_S)

    @property
    def socket_url(self) -> str:
        return f"{self.url.replace('http', 'ws')}/batch/ws/{USER}"

    def connect(self, folder: Path, *, user: str = USER) -> str:
        """A connection to a folder below the root."""
        with self.engine.begin() as connection:
            return source_connections.create(
                connection, self.runs.settings, user_id=user, source_type="local_directory", name=folder.name,
                config={"path": str(folder)},
            ).id  # fmt: skip

    def create(
        self,
        connection_id: str,
        *,
        files: Sequence[str] = ("*",),
        user: str = USER,
        priority: str = "normal",
        **options: Any,
    ) -> str:
        body = {
            "user_id": user, "name": "Test", "priority": priority, "processing_options": options,
            "file_selections": [{"connection_id": connection_id, "source_type": "local_directory", "file_ids": list(files)}],
        }  # fmt: skip
        answer = self.client.post("/batch/jobs", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["status"] == "pending"
        return answer.json()["job_id"]

    def control(self, job: str, action: str, *, user: str = USER, **more: Any) -> httpx.Response:
        return self.client.post(
            f"/batch/jobs/{job}/control", json={"user_id": user, "action": action, **more}
        )

    def read(self, job: str) -> dict[str, Any]:
        while True:
            answer = self.client.get(f"/batch/jobs/{job}", params={"user_id": USER})
            if answer.status_code != 503:  # what a ledger is told that a loaded machine holds up
                return answer.raise_for_status().json()

    def files(self, job: str) -> dict[str, dict[str, Any]]:
        return {
            file["file_id"]: file for source in self.read(job)["source_progress"] for file in source["files"]
        }

    def until(self, job: str, fits: Callable[[dict[str, Any]], bool], *, what: str) -> dict[str, Any]:
        wait_until(lambda: fits(self.read(job)), seconds=PATIENCE_S, what=what)
        return self.read(job)

    def over(self, job: str) -> dict[str, Any]:
        return self.until(job, lambda now: now["status"] in OVER, what=f"{job} to be over")

    def run(self, connection_id: str, **more: Any) -> dict[str, Any]:
        """A job from its creation to its end."""
        job = self.create(connection_id, **more)
        assert self.control(job, "start").status_code == 200
        return self.over(job)

    def rows(self, query: str, **values: Any) -> list[tuple[Any, ...]]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sa.text(query), values)]


def text_files(folder: Path, number: int, *, paragraphs: int = 3, salt: str = "") -> Path:
    """A folder of short texts that all differ."""
    folder.mkdir(parents=True, exist_ok=True)
    for one in range(number):
        parts = [
            f"Paragraph {part} of file {one}{salt} is about matter {one * 7 + part}."
            for part in range(paragraphs)
        ]
        (folder / f"file{one:03}.txt").write_text("\n\n".join(parts), encoding="utf-8")
    return folder


@contextmanager
def jobs_front(
    url: str, root: Path, home: Path, *, stack: Mapping[str, Any] | None = None, **settings: Any
) -> Iterator[JobsFront]:
    """`settings`: of the flow, `stack`: of the front door; local roots are `root`."""
    for flow in ("documents", "repositories"):
        with as_file(files(f"ingestion_assets.{flow}") / "migrations") as revisions:
            postgres.migrate_flow(flow, revisions, url=url)
    given = {"document_roots": root, **settings}
    with (
        environment(**{f"INGESTION_{name.upper()}": value for name, value in given.items()}),
        _served(url, root, home, stack or {}) as front,
    ):
        yield front


@contextmanager
def _served(url: str, root: Path, home: Path, stack: Mapping[str, Any]) -> Iterator[JobsFront]:
    own = settings_for(home=home, postgres_url=url, lane_rest_s=0, workers_batch=4, **stack)
    engine = postgres.engine(url)
    runs = JobRuns(engine=engine, settings=own, chosen=documents_settings())
    with served(create_app(own, launch=runs)) as address:
        yield JobsFront(address, engine, runs, root)
    runs.end()


def recount(front: JobsFront, job: str) -> Mapping[str, int]:
    """The counts of a job's files."""
    return dict(
        front.rows(
            "SELECT status, count(*) FROM documents.files WHERE job_id = :job GROUP BY status", job=job
        )
    )
