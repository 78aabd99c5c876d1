"""A quarter of an hour of jobs of all kinds over sources that people edit, while programs are killed: afterwards `verify` finds nothing
wrong, every job is over, and what is stored of each source is what lies in it."""

import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import httpx
import psycopg
import pytest

from ingestion_assets_tests.documents.drive_server import drive_server
from ingestion_assets_tests.documents.edited_sources import Archive, EditedSource, Folder, OnDrive
from ingestion_assets_tests.documents.job_front import OVER, USER
from ingestion_assets_tests.documents.test_kills_of_jobs import CHILD, PARSER, PROGRAMS, Jobs
from ingestion_assets_tests.embedding.stub_endpoint import stub_endpoint
from ingestion_assets_tests.faults.load import Client
from ingestion_assets_tests.faults.stores import rows
from ingestion_assets_tests.servers import wait_until
from ingestion_assets_tests.stacks import SHORT_REST, running_stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(7200),
    pytest.mark.skipif(not os.environ.get("INGESTION_LONG_TESTS"), reason="a quarter of an hour: INGESTION_LONG_TESTS=1"),
]  # fmt: skip
SOAK_S, A_KILL_EVERY_S, CALM_S, SLOW_S = 900.0, 20.0, 600.0, 0.5
FILES = 30
ACTIONS = ("pause", "resume", "cancel", "retry")
PRIORITIES = ("low", "normal", "high", "urgent")
STORED = """
    SELECT connection.id AS connection, document.path, content.text FROM documents.connections connection
    JOIN documents.documents document ON document.connection_id = connection.id
    JOIN documents.contents content ON content.id = document.content_id WHERE document.removed_at IS NULL
"""


class Edited:
    """A source with a connection, and what lies in it."""

    def __init__(self, jobs: Jobs, name: str, source: EditedSource) -> None:
        self.jobs, self.source = jobs, source
        self.texts: dict[str, str] = {}
        for number in range(FILES):
            self._write(f"file{number:02}.txt", f"{name} begins with {number}.")
        made = {
            "user_id": USER, "source_type": source.kind, "name": name, "config": source.config,
            "processing_options": {"embedding_model_preference": "stub"},
        }  # fmt: skip
        self.id: str = jobs.client.request("POST", "/batch/connections", json=made).json()["connection_id"]

    def _write(self, path: str, text: str) -> None:
        self.source.write(path, text)
        self.texts[path] = text

    def edit(self, rng: random.Random) -> None:
        """Some of what people do with files, but for half of them at once: that a sync asks about."""
        path = rng.choice(sorted(self.texts))
        match rng.choice(("change", "change", "add", "touch", "move", "remove")):
            case "change":
                self._write(path, f"{path} is about {rng.randrange(10**9)} now.")
            case "add":
                self._write(f"new{rng.randrange(10**9)}.txt", f"Something new: {rng.randrange(10**9)}.")
            case "touch":
                self.source.touch(path)
            case "move":
                self.source.move(path, to := f"moved{rng.randrange(10**9)}.txt")
                self.texts[to] = self.texts.pop(path)
            case _ if len(self.texts) > FILES // 2:
                self.source.remove(path)
                del self.texts[path]

    def sync(self, **params: Any) -> httpx.Response:
        # 409: it goes on; 503: what is away just now.
        return self.jobs.client.request(
            "POST", f"/batch/connections/{self.id}/sync", params={"user_id": USER, **params}, expected=(409,)
        )


@pytest.fixture(scope="module")
def soak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Jobs, list[Edited]]]:
    root = tmp_path_factory.mktemp("root")
    with stub_endpoint() as endpoint, drive_server() as drive:
        listed = json.dumps(
            [{"url": endpoint.url, "key": endpoint.key, "models": ["stub"], "batch_texts": 4}]
        )
        settings = {
            "document_roots": root, "embedding_endpoints": listed, "google_drive_url": drive.url, "document_private_hosts": "127.0.0.1",
            "workers_gpu": 0, "workers_batch": 2, "documents_slice_s": 5,
        }  # fmt: skip
        with running_stack(tmp_path_factory.mktemp("stack") / "home", **SHORT_REST, **settings) as stack:
            client = Client(stack)
            jobs = Jobs(stack, client, endpoint, root)
            sources = {
                "folder": Folder(root / "folder"),
                "archive": Archive(root / "archive.zip"),
                "drive": OnDrive(drive),
            }
            yield jobs, [Edited(jobs, name, source) for name, source in sources.items()]
            client.close()


def test_jobs_edits_and_kills_leave_what_lies_in_the_sources(soak: tuple[Jobs, list[Edited]]) -> None:
    jobs, sources = soak
    rng = random.Random(seed := int(os.environ.get("INGESTION_SOAK_SEED", "1")))
    did = Counter[str]()
    began = killed_at = time.monotonic()
    while time.monotonic() - began < float(os.environ.get("INGESTION_SOAK_S", SOAK_S)):
        if time.monotonic() - killed_at > A_KILL_EVERY_S:
            did[_kill(jobs, rng)] += 1
            killed_at = time.monotonic()
        jobs.endpoint.faults.extend([_slowly] * 5)  # so that there is something to pause, cancel and kill
        source = rng.choice(sources)
        for _ in range(rng.randint(0, 4)):
            source.edit(rng)
        match rng.choice(("sync", "job", "control", "control")):
            case "sync":
                did[f"sync {source.sync().status_code}"] += 1
            case "job":
                did[f"job {_start(jobs, source, rng).status_code}"] += 1
            case _:
                did[_control(jobs, rng)] += 1
        time.sleep(rng.uniform(0.2, 2.0))  # people take their time
    print(f"seed {seed}:", dict(sorted(did.items())))
    _end(jobs)
    for source in sources:
        wait_until(
            lambda source=source: source.sync(confirm=True).status_code == 200, seconds=60, what="a last sync"
        )
    _end(jobs)
    verify = (sys.executable, "-m", "ingestion_assets.cli", "documents", "verify", "--json")
    said = subprocess.run(verify, env=jobs.stack.environment, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stdout + said.stderr
    stored = rows(jobs.stack, STORED)
    for source in sources:
        assert {one["path"]: one["text"] for one in stored if one["connection"] == source.id} == source.texts
    print("documents:", len(stored), "texts embedded:", sum(jobs.endpoint.seen.values()))


def _slowly(_: object) -> None:
    time.sleep(SLOW_S)


def _kill(jobs: Jobs, rng: random.Random) -> str:
    target = rng.choice([CHILD, PARSER, *PROGRAMS])
    with suppress(AssertionError, psycopg.OperationalError, ProcessLookupError):
        jobs.kill(target)
        return f"killed {target}"
    return f"no {target} to kill"


def _start(jobs: Jobs, source: Edited, rng: random.Random) -> httpx.Response:
    job = {
        "user_id": USER, "name": "soak", "start": True, "priority": rng.choice(PRIORITIES),
        "processing_options": {"embedding_model_preference": "stub"},
        "file_selections": [{"connection_id": source.id, "source_type": source.source.kind, "file_ids": ["*"]}],
    }  # fmt: skip
    return jobs.client.request("POST", "/batch/jobs", json=job)


def _control(jobs: Jobs, rng: random.Random) -> str:
    listed = jobs.client.request("POST", "/batch/jobs/list", json={"user_id": USER, "limit": 20}).json()[
        "jobs"
    ]
    if not listed:
        return "nothing to control"
    job, action = rng.choice(listed)["job_id"], rng.choice(ACTIONS)
    answer = jobs.client.request(
        "POST", f"/batch/jobs/{job}/control", json={"user_id": USER, "action": action}, expected=(409,)
    )
    return f"{action} {answer.status_code}"


def _end(jobs: Jobs) -> None:
    """Everybody lets go: what is paused is resumed, and all jobs end."""

    def states() -> list[str]:
        with suppress(psycopg.OperationalError):
            found = rows(jobs.stack, "SELECT id, status FROM documents.jobs")
            for one in found:
                if one["status"] in {"paused", "pending"}:
                    action = "resume" if one["status"] == "paused" else "start"
                    jobs.client.request(
                        "POST", f"/batch/jobs/{one['id']}/control", json={"user_id": USER, "action": action}, expected=(409,)
                    )  # fmt: skip
            return [one["status"] for one in found]
        return ["unknown"]

    wait_until(lambda: set(states()) <= OVER, seconds=CALM_S, what="all jobs to be over")
