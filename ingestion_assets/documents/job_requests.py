"""What a client asks for as a job, and its expansion: files named, matched by globs or all, frozen when the job is created."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from ingestion_assets.documents.job_control import Priority
from ingestion_assets.documents.job_options import AskedOptions, ProcessingOptions, Text

USER_ID = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,127}$"
JOB_ID = r"^job_[0-9a-f]{32}$"
_Strict = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class FileSelection(BaseModel):
    """Files of one connection."""

    model_config = _Strict

    connection_id: Text = Field(min_length=1, max_length=200)
    source_type: Text = Field(min_length=1, max_length=50)
    file_ids: list[Text] = Field(
        min_length=1,
        max_length=20_000,
        description=(
            "As its listing names them: paths, members, ids of Drive. What is no file's id and has `*` or `?`, or ends in `/`, is a glob, "
            "and `*` takes all; a request has 100 globs at most. What can never be fetched is refused as what is not there is."
        ),
    )


class JobRequest(BaseModel):
    """A job that is to be created."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True,
        json_schema_extra={"example": {
            "user_id": "user123", "name": "Research Papers Batch", "priority": "normal",
            "file_selections": [{"connection_id": "conn_1", "source_type": "local_directory", "file_ids": ["*.pdf"]}],
            "processing_options": {"chunk_size": 1000, "chunk_overlap": 200},
        }},
    )  # fmt: skip

    user_id: str = Field(pattern=USER_ID, description="Whose job it is.")
    name: Text = Field(min_length=1, max_length=300)
    description: Text | None = Field(None, max_length=5000)
    priority: Priority = Field(
        "normal", description="Which of several waiting jobs goes first; then the older one."
    )
    file_selections: list[FileSelection] = Field(min_length=1, max_length=100)
    processing_options: ProcessingOptions = ProcessingOptions.model_validate({})
    start: bool = Field(False, description="Whether it is started at once.")

    def selections(self) -> Sequence[dict[str, Any]]:
        """What is kept of the selections."""
        return [selection.model_dump() for selection in self.file_selections]

    def stored_options(self) -> dict[str, Any]:
        """All options, without the passwords."""
        return self.processing_options.model_dump(
            mode="json", exclude={"source_specific_options": {"passwords"}}
        )


class AskedJob(JobRequest):
    """A job as a client asks for it; what is made of options that are stored was asked for before."""

    processing_options: AskedOptions = ProcessingOptions.model_validate({})
