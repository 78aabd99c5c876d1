"""Which documents a reader means: a user's own, and of these what filters leave."""

from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Whose documents, and which of them."""

    user_id: str
    connection_id: str | None = None
    job_id: str | None = None
    file_id: str | None = None
    document_id: str | None = None
    mime: str | None = None
    language: str | None = None


_FILTERS = {
    "connection_id": "document.connection_id = :connection_id",
    "job_id": "document.job_id = :job_id",
    "file_id": "document.file_id = :file_id",
    "document_id": "document.id = CAST(:document_id AS uuid)",
    "mime": "content.mime = :mime",
    "language": "content.language = :language",
}


def values_of(wanted: Wanted) -> dict[str, str]:
    """The parameters of a statement that `over` gives."""
    given = {name: getattr(wanted, name) for name in ("user_id", *_FILTERS)}
    return {name: value for name, value in given.items() if value is not None}


@cache
def _statement(before: str, names: frozenset[str], after: str) -> sa.TextClause:
    """A statement over the chunks of the documents that these filters leave."""
    filters = "".join(f" AND {condition}" for name, condition in _FILTERS.items() if name in names)
    documents = f"document.user_id = :user_id AND document.removed_at IS NULL{filters}"
    return sa.text(f"{before} {documents} {after}")


def over(before: str, wanted: Wanted, after: str = "") -> sa.TextClause:
    """A statement with the condition on `document` and `content` between its parts, which are constants of the code."""
    return _statement(before, frozenset(values_of(wanted)), after)
