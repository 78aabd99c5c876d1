"""Documents and hits as clients read them."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class FoundIn(BaseModel):
    """The file of a hit."""

    document_id: str
    connection_id: str
    source_type: str
    file_id: str
    name: str
    path: str
    mime: str
    language: str | None
    copies: int = Field(description="More documents of the user with the same content.")


class Why(BaseModel):
    """Why a passage is a hit: its places in the lists that are fused, from 1; null where it is not in one."""

    vector_rank: int | None
    text_rank: int | None
    cosine: float | None = Field(description="Of the angle between its vector and the question's.")


class Hit(BaseModel):
    """A passage."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "text": "A loan is renewed at the desk.", "score": 0.032787,
                "file": {
                    "document_id": "0197b0c0-6d2e-7c6e-9d6e-0a1b2c3d4e5f", "connection_id": "conn_1", "source_type": "local_directory",
                    "file_id": "rules/loans.pdf", "name": "loans.pdf", "path": "rules/loans.pdf", "mime": "application/pdf",
                    "language": "en", "copies": 0,
                },
                "page": 3, "page_last": 3, "headings": ["2 Loans", "2.1 Renewal"], "start": 5120, "end": 5150, "chunk_id": "17:6",
                "chunk_ids": ["17:6"], "why": {"vector_rank": 1, "text_rank": 1, "cosine": 0.7132},
            }
        }
    )  # fmt: skip

    text: str
    score: float
    file: FoundIn
    page: int = Field(description="Where it begins; 1 in files without pages.")
    page_last: int
    headings: list[str] = Field(description="The headings that it stands under, outermost first.")
    start: int = Field(description="Its first character in the document's text.")
    end: int
    chunk_id: str = Field(description="The chunk that was found best.")
    chunk_ids: list[str] = Field(description="All of its chunks, where some that overlap were folded.")
    why: Why


class SearchResult(BaseModel):
    """The hits, best first, and by what they were found."""

    by: list[Literal["vector", "text"]]
    items: list[Hit]
    next: None = None


class DocumentItem(BaseModel):
    """A document in a list."""

    document_id: str
    connection_id: str
    source_type: str
    file_id: str
    name: str
    path: str
    job_id: str = Field(description="The job that stored it last.")
    size: int | None
    mime: str
    language: str | None = Field(description="ISO 639-1; null where it has none that is known.")
    encoding: str | None
    quality: float = Field(description="Of its text, from 0 to 1.")
    pages: int
    characters: int
    chunks: int
    model: str = Field(description="Name and revision of what made its vectors.")
    sha256: str
    stored_at: datetime


class DocumentPage(BaseModel):
    """A page of documents by path."""

    items: list[DocumentItem]
    next: str | None


class ChunkOfDocument(BaseModel):
    """Where a chunk stands in the text."""

    chunk_id: str
    start: int
    end: int
    tokens: int
    page: int
    page_last: int
    headings: list[str]


class DocumentDetails(DocumentItem):
    """A document with all that is stored of it."""

    text: str
    warnings: list[Any]
    engines: dict[str, int] = Field(description="Pages by what read them.")
    chunk_list: list[ChunkOfDocument]
