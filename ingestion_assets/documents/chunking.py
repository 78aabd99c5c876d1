"""A file's text cut into chunks: spans of the text that cover it, none beyond the size in characters or the window in tokens."""

from collections.abc import Callable, Sequence

import msgspec

from ingestion_assets.documents.parsing.shapes import ParsedFile


class DocumentChunk(msgspec.Struct, frozen=True):
    """`text` is what is embedded and found: the span `start:end` of the file's text, after `header` where a table goes on."""

    number: int  # from 0
    start: int
    end: int
    text: str  # the span itself: parsed.text[start:end]
    page_first: int
    page_last: int
    headings: tuple[str, ...] = ()
    header: str = ""  # of a table that began in an earlier chunk; embedded and shown before `text`

    @property
    def embedded(self) -> str:
        """What the model reads."""
        return f"{self.header}\n{self.text}" if self.header else self.text


def chunks(
    parsed: ParsedFile,
    *,
    size: int,
    overlap: int,
    max_tokens: int,
    count_tokens: Callable[[Sequence[str]], Sequence[int]],
    preserve_structure: bool,
) -> list[DocumentChunk]:
    """The chunks of a file in their order."""
    raise NotImplementedError(parsed, size, overlap, max_tokens, count_tokens, preserve_structure)
