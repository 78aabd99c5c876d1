"""The jobs' answers as clients read them."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from ingestion_assets.documents.job_control import Priority, Status


class FileErrorView(BaseModel):
    """Why a file failed."""

    code: str = Field(description="Stable.")
    stage: str
    page: int | None
    message: str
    retryable: bool | None = Field(description="Whether trying again, with nothing changed, can help.")


class FileView(BaseModel):
    """A file of a job."""

    file_id: str
    status: str
    progress: int
    current_step: str
    attempts: int
    pages: int | None
    chunks: int | None
    started_at: datetime | None
    completed_at: datetime | None
    processing_time_ms: float | None
    warnings: list[dict[str, Any]]
    error: FileErrorView | None
    file_metadata: dict[str, Any] = Field(description="`name`, `path`, `size`, `mime_type`, `source_type`.")


class SourceView(BaseModel):
    """What a job takes from one connection."""

    source_type: str
    connection_id: str
    total_files: int
    completed_files: int
    failed_files: int
    skipped_files: int
    progress_percentage: float
    files: list[FileView]


class JobView(BaseModel):
    """A job."""

    job_id: str
    user_id: str
    name: str
    description: str | None
    status: Status
    priority: Priority
    created_at: datetime
    queued_at: datetime | None
    started_at: datetime | None
    completed_at: datetime | None
    total_files: int
    completed_files: int
    failed_files: int
    skipped_files: int
    progress_percentage: float = Field(description="100 when, and only when, every file is over.")
    estimated_duration_ms: int | None
    origin: str = Field(description="`request` or `sync`.")
    error: str | None = Field(description="Why the job itself ended or waits, where that is no file's fault.")


class JobDetails(JobView):
    """A job with all that is known of it."""

    source_progress: list[SourceView]
    processing_options: dict[str, Any] = Field(description="All options, without passwords.")
    embedding_model: str
    pausing: bool = Field(description="It is paused, and files that were in hand are being finished.")
    receipt_id: str | None
    waiting_for: dict[str, Any] | None = Field(
        description="What a job waits for: `reason` (`slot`, `worker`, `backoff`, `ledger`), `detail`, `since`."
    )


class JobPage(BaseModel):
    """A page of jobs, newest first."""

    jobs: list[JobView]
    total_jobs: int
    has_more: bool


class Controlled(BaseModel):
    """What an action did."""

    success: bool
    message: str
    status: Status


class Statistics(BaseModel):
    """Counts over a user's jobs and their files."""

    total_jobs: int
    active_jobs: int
    completed_jobs: int
    failed_jobs: int
    cancelled_jobs: int
    total_files_processed: int = Field(description="Files that are over.")
    average_processing_time_ms: float = Field(description="Of completed files.")
    success_rate: float = Field(description="Completed and skipped files of all that are over, in per cent.")
    by_source_type: dict[str, int]
    by_priority: dict[str, int]
    by_status: dict[str, int]
