"""A client of the documents flow for benchmarks: connections, jobs and search of a stack that runs."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from measuring import ROOT

sys.path.insert(0, str(ROOT))

from ingestion_assets_tests.stacks import RunningStack

LOOK_S = 0.1  # what is looked for takes seconds, and looking costs the front door
ENDED = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Documents:
    """One user's documents."""

    http: httpx.Client
    user: str

    def connect(self, path: Path) -> str:
        kind = "local_zip" if path.suffix == ".zip" else "local_directory"
        body = {"user_id": self.user, "source_type": kind, "name": path.name, "config": {"path": str(path)}}
        return self._said("POST", "/connections", json=body)["connection_id"]

    def job(self, connection: str, kind: str = "local_directory", **options: Any) -> str:
        """A job over all files of a connection, not started."""
        selection = {"connection_id": connection, "source_type": kind, "file_ids": ["*"]}
        body = {
            "user_id": self.user,
            "name": "benchmark",
            "file_selections": [selection],
            "processing_options": options,
        }
        return self._said("POST", "/jobs", json=body)["job_id"]

    def run(self, job: str) -> tuple[dict[str, Any], float]:
        """Start a job; gives it as it is at its end, and the seconds from the start to then."""
        began = time.perf_counter()
        self._said("POST", f"/jobs/{job}/control", json={"user_id": self.user, "action": "start"})
        while True:
            found = self._said("POST", "/jobs/list", json={"user_id": self.user, "limit": 100})["jobs"]
            now = next(one for one in found if one["job_id"] == job)
            if now["status"] in ENDED:
                seconds = time.perf_counter() - began
                return self._said("GET", f"/jobs/{job}", params={"user_id": self.user}), seconds
            time.sleep(LOOK_S)

    def search(self, question: str, **more: Any) -> Mapping[str, Any]:
        return self._said("POST", "/search", json={"user_id": self.user, "query": question, **more})

    def _said(self, method: str, path: str, **request: Any) -> Any:
        answer = self.http.request(method, f"/batch{path}", **request)
        assert answer.is_success, (path, answer.status_code, answer.text[:500])
        return answer.json()


def documents_of(stack: RunningStack, user: str) -> Documents:
    headers = {"X-API-Key": stack.admin_token}
    return Documents(httpx.Client(base_url=stack.url, headers=headers, timeout=120), user)


def files_of(job: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The files of a job as it is at its end."""
    return [file for source in job["source_progress"] for file in source["files"]]
