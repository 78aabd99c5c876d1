"""The settings of documents: `INGESTION_<NAME>`."""

from pydantic import Field, SecretStr

from ingestion_assets.settings import FlowSettings, load_flow_settings


class DocumentsSettings(FlowSettings, env_prefix="INGESTION_"):
    """How many jobs and files at once, for how long, and what a file may cost."""

    max_concurrent_jobs: int = Field(
        4, ge=1, description="Jobs of documents at a time; never more than there are workers on `batch`."
    )
    max_concurrent_processing: int = Field(
        3, ge=1, description="Files of documents that are read, parsed and cut at a time, over all jobs."
    )
    documents_slice_s: float = Field(
        30,
        gt=0,
        description="Seconds after which a job lets one go first that is more urgent or waits longer; also after 64 files.",
    )
    documents_aging_s: float = Field(
        600, gt=0, description="Seconds of waiting that make up for one step of a job's priority."
    )
    documents_max_files: int = Field(20_000, ge=1, description="Files of a job; above it 422.")
    max_file_size_mb: float = Field(100, gt=0, description="Largest file that is read, in MB.")
    documents_parser_mb: int = Field(
        3072,
        ge=256,
        description="Address space of a process that parses, in MB, of which most is never touched.",
    )
    documents_llm_url: str | None = Field(
        None,
        description="OpenAI-compatible endpoint (`https://…/v1`) that reads pages which nothing else can read, for jobs that ask for it.",
    )
    documents_llm_key: SecretStr | None = Field(None, description="API key for it.")
    documents_llm_model: str = Field("gpt-4o-mini", description="Model that is asked for there.")
    document_roots: str = Field(
        "",
        description="Folders of this machine whose files users may connect (`local_directory`, `local_zip`), separated by commas; empty: none.",
    )
    fsspec_protocols: str = Field(
        "",
        description="Filesystems of fsspec that users may connect, separated by commas: `s3`, `gs`, `https`, `sftp`; their packages (s3fs, gcsfs, aiohttp, paramiko) are installed beside.",
    )
    document_private_hosts: str = Field(
        "",
        description="Hosts in private networks, separated by commas, that connected filesystems may reach, with a port where it is not the usual one: `minio.internal:9000`.",
    )
    google_drive_url: str | None = Field(
        None,
        description="Server to use instead of Google: `http://127.0.0.1:9000`, with the API below `/drive/v3/` and tokens at `/token`.",
    )


def documents_settings() -> DocumentsSettings:
    """Those of this process, read once."""
    return load_flow_settings(DocumentsSettings)
