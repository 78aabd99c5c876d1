"""Repositories under fire: a few that change between rounds, submitted again and again, and what must be stored of each."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ingestion_assets_tests.faults.load import Acknowledged, Client, Findings, Post, Send, Single, some_key
from ingestion_assets_tests.faults.stores import rows
from ingestion_assets_tests.repositories import planted
from ingestion_assets_tests.repositories.conftest import LONG
from ingestion_assets_tests.repositories.git_repository import GitRepository
from ingestion_assets_tests.stacks import RunningStack

REPOSITORIES, SUBMISSIONS_EACH = (3, 3) if LONG else (1, 2)
"""A round has these, however many payloads it has: a run of this flow takes as long as hundreds of others."""

_STORED = """
    SELECT repository.partition, snapshot.commit, coalesce(array_agg(file.path ORDER BY file.path COLLATE "C")
           FILTER (WHERE file.state = 'embedded' AND file.stable IS NOT NULL), '{}') AS paths
    FROM repositories.repositories repository JOIN repositories.snapshots snapshot ON snapshot.id = repository.snapshot_id
    LEFT JOIN repositories.files file ON file.snapshot_id = snapshot.id GROUP BY 1, 2
"""
_LEFT = """
    SELECT 'snapshot ' || id || ' was never published' AS said FROM repositories.snapshots WHERE published_at IS NULL
    UNION ALL SELECT 'job ' || id || ' is ' || state FROM repositories.jobs WHERE ended_at IS NULL
    UNION ALL SELECT 'job ' || id || ' failed: ' || error FROM repositories.jobs WHERE state = 'failed'
    UNION ALL SELECT 'vectors of content that no file has: ' || encode(blob, 'hex') FROM repositories.chunks chunk
        WHERE NOT EXISTS (SELECT FROM repositories.files file WHERE file.blob = chunk.blob)
    UNION ALL SELECT 'a file without the vectors of its text: ' || file.path FROM repositories.files file
        WHERE file.state = 'embedded' AND file.size > 0
          AND NOT EXISTS (SELECT FROM repositories.chunks chunk WHERE chunk.blob = file.blob)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Submit:
    """A repository that is submitted."""

    folder: Path

    def __call__(self, client: Client) -> list[Acknowledged]:
        answer = client.request("POST", f"/api/v1/ingestion/ingest/{self.folder}")
        return [Acknowledged(receipt=answer.headers["X-Receipt-Id"], records=1)]


class Repositories:
    """A few repositories; each has another version in each round."""

    def __init__(self) -> None:
        self._temporary = TemporaryDirectory(prefix="repositories-under-fire-")  # gone with this object
        self._folder = Path(self._temporary.name)
        self._repositories = [GitRepository(self._folder / f"repository{n}") for n in range(REPOSITORIES)]
        self._files: dict[str, Mapping[str, str]] = {}
        self._tips: dict[str, str] = {}

    @property
    def settings(self) -> Mapping[str, object]:
        return {"repositories_roots": str(self._folder), "repositories_max_queue": 1000}

    def prepare(self, client: Client) -> None:
        """Nothing is needed."""

    def payloads(self, rng: random.Random, *, count: int) -> list[Send]:
        for repository in self._repositories:
            chosen = dict(rng.sample(sorted(planted.files().items()), rng.randint(4, 20)))
            name = repository.folder.name
            self._tips[name], self._files[name] = repository.commit(chosen), chosen
        made = [Submit(folder=one.folder) for one in self._repositories] * min(count, SUBMISSIONS_EACH)
        return [*made]

    def single(self, rng: random.Random) -> Single:
        chosen = rng.choice(self._repositories)
        if chosen.folder.name not in self._tips:
            self.payloads(rng, count=0)
        post = Post(
            path=f"/api/v1/ingestion/ingest/{chosen.folder}",
            key=some_key(rng),
            body=b"",
            records=1,
            waits=False,
        )
        return Single(post=post, accepted=lambda: None)

    def records_in(self, result: Mapping[str, Any]) -> int:
        return sum(result.get(outcome, 0) for outcome in ("stored", "duplicate", "rejected"))

    def audit(self, stack: RunningStack) -> Findings:
        """Of each repository that was submitted the newest version is stored, whole; nothing is left of what was cut off."""
        stored = {Path(one["partition"]).name: one for one in rows(stack, _STORED)}
        different = [one["said"] for one in rows(stack, _LEFT)]
        for name, one in stored.items():
            if one["commit"] != self._tips[name]:
                different.append(f"{name}: {one['commit']} is stored, {self._tips[name]} is the newest")
            elif one["paths"] != sorted(path for path in self._files[name] if path != "README.md"):
                different.append(f"{name}: not all of its files are stored")
        scratch = stack.home / "scratch" / "repositories"
        different += [f"{left} is left" for left in scratch.iterdir()] if scratch.exists() else []
        return Findings(doubled=0, different=different)


LOAD = Repositories
