"""Whatever is killed at whichever step of a job's files: the job completes, what is stored is what an undisturbed run stores, and no
text is embedded twice but those that were under way."""

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import pytest

from ingestion_assets_tests.documents.job_front import USER, text_files
from ingestion_assets_tests.embedding.stub_endpoint import StubEndpoint, stub_endpoint
from ingestion_assets_tests.faults.load import Client
from ingestion_assets_tests.faults.stores import rows
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import SHORT_REST, RunningStack, running_stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(
        not os.environ.get("INGESTION_LONG_TESTS"), reason="many minutes: INGESTION_LONG_TESTS=1"
    ),
]
PROGRAMS = {
    "front door": "frontdoor", "worker": "worker-batch", "daemon": "daemon", "PostgreSQL": "postgres", "Valkey": "valkey",
}  # fmt: skip
CHILD, PARSER = "worker child", "parser"
STEPS = ("downloading", "parsing", "embedding", "storing")
FILES, UNDER_WAY = 40, 20
"""Files of a job, each a text; those that a run has in hand at most, with those that it reads."""
SLOW_S = 0.3
SEEN_WITHIN_S = 15.0
DEADLINE_S = 300.0
AT_WORK = (
    "SELECT pid FROM ingestion.run_heartbeats WHERE ended_at IS NULL AND beat_at > now() - interval '10 s'"
)


@dataclass(frozen=True, slots=True)
class Jobs:
    """A stack whose workers embed at an endpoint of ours."""

    stack: RunningStack
    client: Client
    endpoint: StubEndpoint
    root: Path

    def start(self, folder: Path) -> str:
        """The id of a job over a folder."""
        made = {
            "user_id": USER,
            "source_type": "local_directory",
            "name": folder.name,
            "config": {"path": str(folder)},
        }
        connection = self.client.request("POST", "/batch/connections", json=made).json()["connection_id"]
        job = {
            "user_id": USER, "name": folder.name, "start": True, "processing_options": {"embedding_model_preference": "stub"},
            "file_selections": [{"connection_id": connection, "source_type": "local_directory", "file_ids": ["*"]}],
        }  # fmt: skip
        return self.client.request("POST", "/batch/jobs", json=job).json()["job_id"]

    def reaches(self, job: str, step: str) -> bool:
        """Whether a file of the job was seen at the step before time was over."""
        query = "SELECT 1 FROM documents.files WHERE job_id = %s AND status = %s LIMIT 1"
        until = time.monotonic() + SEEN_WITHIN_S
        with psycopg.connect(self.stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
            while time.monotonic() < until:
                if connection.execute(query, [job, step]).fetchone():
                    return True
        return False

    def kill(self, target: str) -> None:
        if target in PROGRAMS:
            os.kill(self.stack.pid_of(PROGRAMS[target]), signal.SIGKILL)
            return
        killed = list[int]()

        def found() -> bool:
            with suppress(ProcessLookupError, psutil.NoSuchProcess, IndexError):
                pid = rows(self.stack, AT_WORK)[0]["pid"]
                if target == PARSER:
                    pid = psutil.Process(pid).children(recursive=True)[0].pid
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)
            return bool(killed)

        wait_until(found, seconds=SEEN_WITHIN_S, what=target)

    def over(self, job: str) -> dict[str, object]:
        def now() -> dict[str, object]:
            with suppress(psycopg.OperationalError):
                return dict(rows(self.stack, "SELECT * FROM documents.jobs WHERE id = %(job)s", job=job)[0])
            return {"status": "unknown"}

        ends = ("completed", "failed", "cancelled")
        wait_until(lambda: now()["status"] in ends, seconds=DEADLINE_S, what=f"{job} to be over")
        return now()

    def stored(self, job: str) -> dict[str, list[str]]:
        """The texts of each document that the job stored, if they have vectors."""
        found = rows(
            self.stack,
            "SELECT document.path, array_agg(chunk.text ORDER BY chunk.number) AS texts FROM documents.documents document "
            "JOIN documents.contents content ON content.id = document.content_id "
            "JOIN documents.chunks chunk ON chunk.content_id = content.id "
            "JOIN documents.vectors vector ON vector.text_digest = chunk.text_digest AND vector.model = content.model "
            "WHERE document.job_id = %(job)s AND document.removed_at IS NULL GROUP BY 1",
            job=job,
        )
        return {one["path"]: one["texts"] for one in found}


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    root = tmp_path_factory.mktemp("root")
    with stub_endpoint() as endpoint:
        listed = json.dumps(
            [{"url": endpoint.url, "key": endpoint.key, "models": ["stub"], "batch_texts": 4}]
        )
        settings = {
            "document_roots": root,
            "embedding_endpoints": listed,
            "workers_gpu": 0,
            "workers_batch": 1,
        }
        with running_stack(tmp_path_factory.mktemp("stack") / "home", **SHORT_REST, **settings) as stack:
            client = Client(stack)
            yield Jobs(stack, client, endpoint, root)
            client.close()


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("target", [CHILD, PARSER, *PROGRAMS])
def test_a_job_is_done_as_if_nothing_had_been_killed(jobs: Jobs, target: str, step: str) -> None:
    folder = text_files(jobs.root / f"{target} {step}", FILES, paragraphs=1, salt=f" of {target} {step}")
    texts = {path.name: [path.read_text(encoding="utf-8")] for path in folder.iterdir()}

    def slowly(_: object) -> None:
        time.sleep(SLOW_S)  # how long it takes, not a wait

    jobs.endpoint.faults.extend([slowly] * FILES)
    job = jobs.start(folder)
    seen = jobs.reaches(job, step)
    jobs.kill(target)
    ended = jobs.over(job)
    jobs.endpoint.faults.clear()
    counts = [jobs.endpoint.seen[text] for (text,) in texts.values()]
    print(
        f"{target}, {step} {'seen' if seen else 'not seen'}: {sum(counts) - FILES} of {FILES} texts embedded again"
    )
    assert (ended["status"], ended["completed_files"]) == ("completed", FILES), ended
    assert jobs.stored(job) == texts
    assert min(counts) == 1
    assert sum(counts) - FILES <= UNDER_WAY
