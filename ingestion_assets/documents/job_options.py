"""What may be said of how a job's files are processed, checked when it is created; and what of that changes what is stored."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from ingestion_assets.documents.file_globs import MOST_CHARACTERS
from ingestion_assets.documents.parsing.parsed_files import ParseOptions
from ingestion_assets.documents.sources.drive_entries import FORMAT_OF, MEDIA_TYPE_OF

PIPELINE = "2"
"""Of parsing and chunking: another one makes other texts and chunks of the same bytes, so contents are made anew."""

Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""What PostgreSQL takes as text."""
SourceType = Literal["local_directory", "local_zip", "google_drive"] | str
_Strict = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class SourceOptions(BaseModel):
    """What concerns sources and formats rather than the whole job."""

    model_config = _Strict

    include: list[Text] = Field([], max_length=100, description="Globs of paths that are taken; none: all.")
    exclude: list[Text] = Field([], max_length=100, description="Globs of paths that are left out.")
    passwords: list[SecretStr] = Field(
        [], max_length=20, description="Passwords that are tried on locked files; never shown or logged."
    )
    encoding: Text | None = Field(
        None,
        max_length=40,
        description="How text files and names in archives are encoded, where it is known.",
    )
    ocr: Literal["auto", "never", "always"] = Field(
        "auto",
        description="Whether pages are read from their picture: where their text is bad, never, always.",
    )
    ocr_languages: list[Text] = Field(
        [], max_length=4, description="tesseract's names of languages; none: those that are installed."
    )
    export_formats: dict[Text, Text] = Field(
        {}, description="Of Google's own documents: as what they are fetched, by their type."
    )
    follow_shortcuts: bool = Field(True, description="Whether Google Drive's shortcuts are followed.")
    max_file_size_mb: float | None = Field(None, gt=0, description="Largest file that is read.")
    llm_pages: Literal["bad", "all"] = Field("bad", description="Pages that the model is shown.")
    max_llm_pages: int = Field(
        50, ge=1, le=10_000, description="Pages of a file that the model is shown, at most."
    )


class ProcessingOptions(BaseModel):
    """How the files of a job are processed."""

    model_config = _Strict

    use_llm_parsing: bool = Field(
        False, description="Whether pages that nothing else can read are shown to the model of the settings."
    )
    embedding_model_preference: str | None = Field(
        None,
        max_length=200,
        description="The model that makes the vectors; the packaged one where none is named.",
    )
    chunk_size: int = Field(1000, ge=50, le=20_000, description="Longest chunk, in characters.")
    chunk_overlap: int = Field(200, ge=0, description="Characters that a chunk repeats of the one before it.")
    quality_threshold: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Score below which a page is read by other means, or dropped; 0 keeps all.",
    )
    retry_failed_files: bool = Field(True, description="Whether what will pass by itself is tried again.")
    max_retries: int = Field(3, ge=0, le=10, description="How often.")
    skip_existing: bool = Field(
        True,
        description="Whether files are skipped that are stored from the same bytes with the same options.",
    )
    preserve_structure: bool = Field(
        True, description="Whether chunks keep to headings, tables, lists and code."
    )
    extract_math: bool = Field(True, description="Whether formulas become LaTeX; else they are left out.")
    parallel_processing: bool = Field(True, description="Whether files are processed side by side.")
    max_workers: int = Field(4, ge=1, le=32, description="How many of them.")
    timeout_seconds: float = Field(
        300, ge=1, le=3600, description="For one file and attempt, up to its chunks."
    )
    source_specific_options: SourceOptions = SourceOptions.model_validate({})

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> ProcessingOptions:
        if self.chunk_overlap >= self.chunk_size:
            raise ValueError(
                f"chunk_overlap ({self.chunk_overlap}) must be smaller than chunk_size ({self.chunk_size})"
            )
        return self

    @property
    def workers(self) -> int:
        """Files of the job at once, before the cap over all jobs."""
        return self.max_workers if self.parallel_processing else 1

    @property
    def attempts(self) -> int:
        """How often a file may be begun."""
        return 1 + (self.max_retries if self.retry_failed_files else 0)

    def parsing(self) -> ParseOptions:
        """What of it parsing goes by."""
        source = self.source_specific_options
        return ParseOptions(
            quality_threshold=self.quality_threshold,
            preserve_structure=self.preserve_structure,
            extract_math=self.extract_math,
            ocr=source.ocr,
            ocr_languages=tuple(source.ocr_languages),
            passwords=tuple(password.get_secret_value() for password in source.passwords),
            encoding=source.encoding,
            llm_pages=source.llm_pages,
            max_llm_pages=source.max_llm_pages,
        )

    def key(self) -> bytes:
        """Digest of what changes the text or the chunks. Passwords do not: with one a file is read, or it is not."""
        said: dict[str, Any] = msgspec.to_builtins(self.parsing())
        del said["passwords"]
        if not self.use_llm_parsing:
            del said["llm_pages"], said["max_llm_pages"]
        said |= {
            "size": self.chunk_size,
            "overlap": self.chunk_overlap,
            "llm": self.use_llm_parsing,
            "exports": self.source_specific_options.export_formats,
        }
        return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).digest()


def _can_be(options: ProcessingOptions) -> ProcessingOptions:
    source = options.source_specific_options
    if source.encoding is not None:
        try:
            "".encode(source.encoding)
        except LookupError:
            raise ValueError(f"encoding: {source.encoding!r} is no encoding of text") from None
    for name, globs in (("include", source.include), ("exclude", source.exclude)):
        if any(len(one) > MOST_CHARACTERS for one in globs):
            raise ValueError(f"{name}: a glob has {MOST_CHARACTERS:,} characters at most")
    for kind, format_ in source.export_formats.items():
        if kind not in FORMAT_OF or format_ not in MEDIA_TYPE_OF:
            raise ValueError(
                f"export_formats: {kind!r} as {format_!r} cannot be; there are {', '.join(FORMAT_OF)}, as {', '.join(MEDIA_TYPE_OF)}"
            )
    return options


AskedOptions = Annotated[ProcessingOptions, AfterValidator(_can_be)]
"""Options as a client gives them: what no file could be processed by is refused. What is stored was asked for before."""
