"""What a reader of one kind of file works with, and what it gives: pages of text that are not yet scored."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ingestion_assets.documents.file_errors import Code, FileError
from ingestion_assets.documents.parsing.parsed_files import Note, ParseOptions


@dataclass(frozen=True, kw_only=True)
class Task:
    """One file to read, and whom to tell."""

    data: bytes
    name: str
    options: ParseOptions
    without: frozenset[str] = frozenset()  # engines that are left alone
    progress: Callable[[int, int, str], None] = lambda _page, _of, _engine: None
    model: Callable[[bytes, int], str | None] | None = None  # reads a page from its PNG
    warnings: list[Note] = field(default_factory=list)

    def warn(self, code: str, sentence: str, page: int | None = None) -> None:
        self.warnings.append(Note(code, sentence, page))


@dataclass(frozen=True)
class PageText:
    """The text of a page as its reader gave it."""

    text: str
    engine: str
    confidence: float = 1.0  # of OCR: mean over its words
    scored: tuple[float, str] | None = None  # quality and language, where its reader asked for them
    headings: tuple[
        tuple[int, str], ...
    ] = ()  # level and title of the outline's entries that lead to this page


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The pages of a file, given one after another so that a limit ends the reading."""

    mime: str
    pages: Iterable[PageText] | Iterator[PageText]
    markdown: bool = False  # whether the text has structure to be found
    encoding: str | None = None
    garbles: bool = (
        False  # whether text may be readable characters that mean nothing, as of fonts without a map
    )


def failed(code: Code, sentence: str, page: int | None = None) -> FileError:
    return FileError(code, "parsing", sentence, page=page)
