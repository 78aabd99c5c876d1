"""Jobs of documents under fire: folders of short texts, ingested again and again, and what must be stored of each file."""

import json
import random
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ingestion_assets_tests.faults.load import Client, Findings, Post, Send, Single, some_key
from ingestion_assets_tests.faults.stores import rows
from ingestion_assets_tests.long_tests import LONG
from ingestion_assets_tests.stacks import RunningStack

USER = "under-fire"
FOLDERS = 2 if LONG else 1
FILES = 12
JOBS_EACH = 2
"""A round has these, however many payloads it has: a run of this flow takes as long as hundreds of others."""

_STORED = f"""
    SELECT document.connection_id, document.file_id, encode(content.sha256, 'hex') AS sha256, content.chunks,
           count(chunk.number) AS stored, count(vector.text_digest) AS vectors
    FROM documents.documents document JOIN documents.contents content ON content.id = document.content_id
    LEFT JOIN documents.chunks chunk ON chunk.content_id = content.id
    LEFT JOIN documents.vectors vector ON vector.text_digest = chunk.text_digest AND vector.model = content.model
    WHERE document.user_id = '{USER}' AND document.removed_at IS NULL GROUP BY 1, 2, 3, 4
"""
_LEFT = """
    SELECT 'job ' || id || ' is ' || status || coalesce(': ' || error, '') AS said FROM documents.jobs
        WHERE status NOT IN ('completed', 'pending')
    UNION ALL SELECT 'file ' || file.path || ' is ' || file.status || coalesce(': ' || file.error, '')
        FROM documents.files file JOIN documents.jobs job ON job.id = file.job_id
        WHERE job.status <> 'pending' AND file.status NOT IN ('completed', 'skipped')
    UNION ALL SELECT 'a content that no document has: ' || id FROM documents.contents content
        WHERE NOT EXISTS (SELECT FROM documents.documents WHERE content_id = content.id)
    UNION ALL SELECT 'the counts of ' || job.id || ' are wrong' FROM documents.jobs job
        WHERE total_files <> (SELECT count(*) FROM documents.files WHERE job_id = job.id)
           OR completed_files <> (SELECT count(*) FROM documents.files WHERE job_id = job.id AND status = 'completed')
           OR skipped_files <> (SELECT count(*) FROM documents.files WHERE job_id = job.id AND status = 'skipped')
           OR progress <> (SELECT sum(progress) FROM documents.files WHERE job_id = job.id)
    UNION ALL SELECT 'the events of ' || user_id || ' have gaps' FROM documents.events
        GROUP BY user_id HAVING count(*) <> max(sequence) - min(sequence) + 1
"""


class Documents:
    """Some folders, of which some files change between rounds."""

    def __init__(self) -> None:
        self._temporary = TemporaryDirectory(prefix="documents-under-fire-")  # gone with this object
        self._root = Path(self._temporary.name)
        self._folders = [self._root / f"folder{number}" for number in range(FOLDERS)]
        self._connections: dict[str, str] = {}
        for folder in self._folders:
            folder.mkdir()
            for number in range(
                FILES
            ):  # all of them from the start: a job's files are counted when it is made, and found when it is taken
                (folder / f"file{number:02}.txt").write_text(f"{folder.name} {number}", encoding="utf-8")

    @property
    def settings(self) -> Mapping[str, object]:
        return {"document_roots": str(self._root), "documents_slice_s": 2}

    def prepare(self, client: Client) -> None:
        """A connection to each folder."""
        for folder in self._folders:
            body = {
                "user_id": USER,
                "source_type": "local_directory",
                "name": folder.name,
                "config": {"path": str(folder)},
            }
            made = client.request("POST", "/batch/connections", json=body).json()
            self._connections[folder.name] = made.get("id") or made["connection_id"]

    def payloads(self, rng: random.Random, *, count: int) -> list[Send]:
        for folder in self._folders:
            for number in rng.sample(range(FILES), rng.randint(3, FILES)):
                words = " ".join(f"word{rng.randrange(1000)}" for _ in range(rng.randint(5, 400)))
                (folder / f"file{number:02}.txt").write_text(words, encoding="utf-8")
        return [self._job(rng, folder) for folder in self._folders for _ in range(min(count, JOBS_EACH))]

    def single(self, rng: random.Random) -> Single:
        return Single(post=self._job(rng, rng.choice(self._folders)), accepted=lambda: None)

    def records_in(self, result: Mapping[str, Any]) -> int:
        return sum(result.get(outcome, 0) for outcome in ("stored", "duplicate", "rejected"))

    def audit(self, stack: RunningStack) -> Findings:
        """Every file of a folder that a job was about is stored as it is now, once, with all its vectors; every job is completed."""
        different = [one["said"] for one in rows(stack, _LEFT)]
        stored = {(one["connection_id"], one["file_id"]): one for one in rows(stack, _STORED)}
        for folder in self._folders:
            connection = self._connections[folder.name]
            for file in sorted(folder.iterdir()):
                one = stored.get((connection, file.name))
                if one is None:
                    different.append(f"{folder.name}/{file.name} is not stored")
                elif one["sha256"] != sha256(file.read_bytes()).hexdigest():
                    different.append(f"{folder.name}/{file.name} is stored as it was before")
                elif not one["chunks"] == one["stored"] == one["vectors"]:
                    different.append(f"{folder.name}/{file.name} has {dict(one)}")
        scratch = stack.home / "scratch" / "documents"
        different += [f"{left} is left" for left in scratch.iterdir()] if scratch.exists() else []
        return Findings(doubled=0, different=different)

    def _job(self, rng: random.Random, folder: Path) -> Post:
        connection = self._connections[folder.name]
        body = {
            "user_id": USER, "name": folder.name, "start": True,
            "file_selections": [{"connection_id": connection, "source_type": "local_directory", "file_ids": ["*"]}],
        }  # fmt: skip
        files = sum(1 for _ in folder.iterdir())
        return Post(
            path="/batch/jobs", key=some_key(rng), body=json.dumps(body).encode(), records=files, waits=False
        )


LOAD = Documents
