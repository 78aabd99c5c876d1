"""Why a file could not become searchable: a stable code, the stage and page where it failed, and a sentence for its owner.

A sentence says what was wrong and what to do; it never holds a document's content, a password or a credential.
"""

from typing import Any, Literal

Code = Literal[
    "not_found",
    "access_denied",
    "needs_reauth",
    "unsafe_path",
    "too_large",
    "archive_bomb",
    "download_failed",
    "source_changed",
    "empty_file",
    "unsupported_type",
    "unsupported_compression",
    "corrupted",
    "password_required",
    "password_wrong",
    "zero_pages",
    "no_text",
    "low_quality",
    "ocr_unavailable",
    "export_too_large",
    "timeout",
    "out_of_memory",
    "parser_crashed",
    "embedding_unavailable",
    "embedding_rejected",
    "store_failed",
    "cancelled",
]
Stage = Literal["accessing", "downloading", "parsing", "chunking", "embedding", "storing"]

# What passes by itself: a source, an endpoint or a store that is away. All others fail again with the same bytes and options.
RETRYABLE: frozenset[Code] = frozenset(
    {"download_failed", "source_changed", "embedding_unavailable", "store_failed"}
)


class FileError(Exception):
    """A file failed; the job goes on."""

    def __init__(self, code: Code, stage: Stage, sentence: str, *, page: int | None = None) -> None:
        super().__init__(sentence)
        self.code: Code = code
        self.stage: Stage = stage
        self.sentence = sentence
        self.page = page

    @property
    def retryable(self) -> bool:
        """Whether trying again, with nothing changed, can help."""
        return self.code in RETRYABLE


class FileLostError(Exception):
    """The file is no longer this run's: it was cancelled, or given to another run."""


def as_columns(error: FileError | None) -> dict[str, Any]:
    """An error, or that there is none, as the columns of a file's row."""
    if error is None:
        return {"code": None, "stage": None, "page": None, "sentence": None, "retryable": None}
    return {
        "code": error.code, "stage": error.stage, "page": error.page, "sentence": error.sentence[:2000],
        "retryable": error.retryable,
    }  # fmt: skip
