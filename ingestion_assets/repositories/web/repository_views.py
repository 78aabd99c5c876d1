"""The flow's answers as clients read them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Dispatched(BaseModel):
    """A repository's place in the queue."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "dispatched", "job_id": 1, "queue_position": 1, "target": "gpu-worker-1", "queue_size": 1,
                "max_queue_size": 10, "already_queued": False, "repository": "github.com/user/awesome-project",
                "receipt_url": "/api/v1/receipts/0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f",
            }
        }
    )  # fmt: skip

    status: Literal["dispatched"]
    job_id: int
    queue_position: int = Field(description="1: the next to be worked on; 0: it waits no longer.")
    target: str = Field(description="The worker; `Offline` while there is none: the repository waits.")
    queue_size: int
    max_queue_size: int
    already_queued: bool = Field(description="It waited already: this is the same job.")
    repository: str = Field(description="What lists call it.")
    receipt_url: str = Field(description="Where its receipt is.")


class WorkerStatus(BaseModel):
    """What the workers do, as one."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "status": "Training Graph on github.com/user/repo", "workers": ["gpu-worker-1"], "running": ["github.com/user/repo"],
            }
        }
    )  # fmt: skip

    status: str = Field(
        description="`Idle`; `Training Graph on …`; `Error: …`, where the newest job within five minutes failed; `Offline`, where no worker has been heard of for 15 s."
    )
    workers: list[str] = Field(description="Hosts of the live workers.")
    running: list[str] = Field(description="Repositories that are worked on.")


class Job(BaseModel):
    """What became of a repository that was submitted. A field that its outcome does not have is left out."""

    job_id: int
    repo_url: str
    status: Literal["complete", "failed", "skipped"]
    timestamp: datetime = Field(description="When it ended.")
    duration_seconds: float | None = Field(None, description="Of one that was worked on.")
    files_processed: int | None = None
    embeddings_generated: int | None = Field(None, description="One structural vector for each file.")
    embeddings_reused: int | None = Field(
        None, description="Files whose content was known, so that none of its text was embedded again."
    )
    unchanged: bool | None = Field(None, description="Nothing had changed since the snapshot before.")
    error: str | None = Field(None, description="Why it failed.")
    reason: str | None = Field(None, description="Why it was skipped.")
    age_seconds: int | None = Field(None, description="How old it was when it was skipped.")


class History(BaseModel):
    """Jobs, newest first."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "jobs": [
                    {"job_id": 3, "repo_url": "github.com/user/repo1", "status": "complete", "duration_seconds": 127.5, "files_processed": 342,
                     "embeddings_generated": 342, "embeddings_reused": 0, "unchanged": False, "timestamp": "2026-01-20T10:30:00Z"},
                    {"job_id": 2, "repo_url": "github.com/user/repo2", "status": "failed", "duration_seconds": 1.5,
                     "error": "There is no such repository, or it is private.", "timestamp": "2026-01-20T10:25:00Z"},
                    {"job_id": 1, "repo_url": "github.com/user/repo3", "status": "skipped", "reason": "Task exceeded TTL", "age_seconds": 90000,
                     "timestamp": "2026-01-20T10:20:00Z"},
                ]
            }
        }
    )  # fmt: skip

    jobs: list[Job]


_COMMIT = "8f4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d9e8f7a6b"


def _list_of(item: dict[str, Any], **more: Any) -> ConfigDict:
    """With an example of a list of one item."""
    return ConfigDict(json_schema_extra={"example": {**more, "items": [item], "next": None}})


class RepositoryView(BaseModel):
    """A repository as readers see it: one snapshot, whole."""

    repository: str
    ref: str | None
    watched: bool = Field(description="It is asked for its newest commit now and then.")
    commit: str | None = Field(description="Null where nothing was ever committed.")
    branch: str | None
    indexed_at: datetime
    text_model: str
    structure_model: str
    files: int
    embedded: int
    skipped: int
    languages: dict[str, int] = Field(description="Embedded files by language.")
    reasons: dict[str, int] = Field(description="Skipped files by reason.")
    edges: dict[str, int] = Field(description="Links between files by kind.")
    unresolved: Any = Field(description="What could not be resolved, counted.")
    held_out_auc: float | None = Field(description="How well links that were kept back are found.")


class RepositoryPage(BaseModel):
    """Repositories by name."""

    model_config = _list_of(
        {
            "repository": "github.com/user/repo", "ref": None, "watched": False, "commit": _COMMIT, "branch": "main",
            "indexed_at": "2026-01-20T10:30:00Z", "text_model": "all-MiniLM-L6-v2/1", "structure_model": "structural-1/1", "files": 361,
            "embedded": 342, "skipped": 19, "languages": {"go": 342}, "reasons": {"binary": 4, "unsupported_language": 15},
            "edges": {"call": 120, "import": 410, "reference": 633}, "unresolved": {}, "held_out_auc": 0.87,
        }
    )  # fmt: skip

    items: list[RepositoryView]
    next: str | None


class FileView(BaseModel):
    """A path of the tree."""

    path: str
    state: Literal["embedded", "skipped"]
    reason: str | None = Field(description="Why it is skipped: a stable code.")
    measure: str | None = Field(description="The number that the reason is about.")
    language: str | None
    size: int | None
    blob: str = Field(description="The id of its content.")


class FilePage(BaseModel):
    """Files by path."""

    model_config = _list_of(
        {
            "path": "assets/logo.png", "state": "skipped", "reason": "binary", "measure": "5120", "language": None, "size": 5120,
            "blob": "3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
        }
    )  # fmt: skip

    items: list[FileView]
    next: str | None


class SimilarWhy(BaseModel):
    """What two files have in common."""

    edges: list[str] = Field(
        description="Links between them, such as `import to`: it is imported by the file asked for."
    )
    both_use: list[str] = Field(description="Files that both use.")
    names: list[str] = Field(description="Names that both define or use.")


class SimilarFile(BaseModel):
    """A file that is like another."""

    repository: str
    path: str
    language: str | None
    commit: str | None
    lines: list[int] | None = Field(description="First and last line of what it defines.")
    score: float = Field(description="Cosine of the stable parts of their structural vectors.")
    why: SimilarWhy


class SimilarFiles(BaseModel):
    """The most alike first."""

    model_config = _list_of(
        {
            "repository": "github.com/user/repo", "path": "src/writer.py", "language": "python", "commit": _COMMIT, "lines": [1, 80],
            "score": 0.83, "why": {"edges": ["import to"], "both_use": ["src/paths.py"], "names": ["Line", "read_lines"]},
        }
    )  # fmt: skip

    items: list[SimilarFile]
    next: None = None


class SearchWhy(BaseModel):
    """Why something was found."""

    names: list[str] = Field(description="Symbols whose names have words of the question.")
    text: float | None = Field(description="Cosine of its text and the question.")


class Found(BaseModel):
    """A piece of code that was found."""

    repository: str
    path: str
    language: str | None
    commit: str | None
    lines: list[int]
    score: float = Field(description="By its ranks among texts and names (reciprocal rank fusion).")
    why: SearchWhy


class SearchResult(BaseModel):
    """The best first."""

    model_config = _list_of(
        {
            "repository": "github.com/user/repo", "path": "src/reader.py", "language": "python", "commit": _COMMIT, "lines": [12, 30],
            "score": 0.0328, "why": {"names": ["read_lines"], "text": 0.61},
        },
        by=["text", "names"],
    )  # fmt: skip

    by: list[Literal["text", "names"]] = Field(
        description="What was searched; `names` alone where no worker made a vector of the question."
    )
    items: list[Found]
    next: None = None


class WatchView(BaseModel):
    """Whether a repository is watched."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"repository": "github.com/user/repo", "watched": True}}
    )

    repository: str
    watched: bool


class WebhookAnswer(BaseModel):
    """What came of a webhook's call."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "ignored", "reason": "it is no push"}})

    status: Literal["dispatched", "noted", "ignored"]
    reason: str | None = Field(None, description="Why it was ignored, or only noted.")
    job_id: int | None = None
