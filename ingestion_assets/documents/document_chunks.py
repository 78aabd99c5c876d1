"""A file's text cut into chunks: spans of the text that cover it, none beyond the size in characters or the window in tokens.

Text is cut where it breaks anyway: between sections, then paragraphs, lines, sentences, words. Neighbours overlap by whole parts of
the same rank, so a chunk of whole paragraphs repeats none of them in half. Time is linear: a word's tokens are counted once a file.
"""

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ingestion_assets.documents.parsing.parsed_files import Block, ParsedFile
from ingestion_assets.documents.token_counting import FULL_WIDTH, CountTokens, TokenCounter

SECTION_LEVEL = 2  # chunks do not cross headings of this level and above
_BREAKS = tuple(map(re.compile, (r"\n[ \t]*\n\s*", r"\n\s*", rf"(?<=[.!?…])\s+|(?<={FULL_WIDTH})", r"\s+")))
# Where the tokens of a text may be more than those of its words: words that are cut, and characters that a tokenizer takes out.
_UNSURE = re.compile(
    "\\S{65}|[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u0300-\u036f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]"
)

Span = tuple[int, int]


class DocumentChunk(msgspec.Struct, frozen=True):
    """A span of a file's text, to be embedded and found."""

    number: int  # from 0
    start: int
    end: int
    text: str  # the span itself: parsed.text[start:end]
    page_first: int
    page_last: int
    headings: tuple[str, ...] = ()
    header: str = ""  # of a table that began in an earlier chunk

    @property
    def embedded(self) -> str:
        """What the model reads, and what both limits hold for."""
        return f"{self.header}\n{self.text}" if self.header else self.text


def chunks(
    parsed: ParsedFile,
    *,
    size: int,
    overlap: int,
    max_tokens: int,
    count_tokens: CountTokens,
    preserve_structure: bool,
) -> list[DocumentChunk]:
    """The chunks of a file, in their order.

    `size` and `overlap` are in characters, `max_tokens` is the model's window. What is not blank lies in a chunk.
    """
    text = parsed.text
    splitter = _Splitter(text, size, overlap, max_tokens, TokenCounter(text, count_tokens, max_tokens))
    blocks = parsed.blocks if preserve_structure else ()
    pages = [page for page in parsed.pages if page.end > page.start]
    starts = [page.start for page in pages]
    found: list[DocumentChunk] = []
    for section, path in _sections(len(text), blocks):
        for start, end, header in splitter.section(section):
            first, last = (
                pages[max(0, bisect_right(starts, place) - 1)].number if pages else 1
                for place in (start, end - 1)
            )
            found.append(
                DocumentChunk(len(found), start, end, text[start:end], first, last, path.at(start), header)
            )
    return found


@dataclass(frozen=True)
class _Section:
    start: int
    end: int
    blocks: Sequence[Block]


@dataclass(frozen=True)
class _Path:
    """The headings above each place of a section."""

    places: Sequence[int]
    paths: Sequence[tuple[str, ...]]

    def at(self, place: int) -> tuple[str, ...]:
        return self.paths[bisect_right(self.places, place)]


def _sections(length: int, blocks: Sequence[Block]) -> Iterator[tuple[_Section, _Path]]:
    """The text between headings of the upper levels, and the headings that hold in it."""
    stack: list[tuple[int, str]] = []
    start, inner, places, paths = 0, list[Block](), list[int](), [tuple[str, ...]()]
    for block in blocks:
        if block.kind == "heading":
            if block.level <= SECTION_LEVEL and block.start > start:
                yield _Section(start, block.start, inner), _Path(places, paths)
                start, inner, places, paths = block.start, [], [], [paths[-1]]
            while stack and stack[-1][0] >= block.level:
                stack.pop()
            stack.append((block.level, block.title))
            places.append(block.start)
            paths.append(tuple(title for _, title in stack))
        else:
            inner.append(block)
    yield _Section(start, length, inner), _Path(places, paths)


class _Splitter:
    """Cuts spans of one text by one pair of limits."""

    def __init__(self, text: str, size: int, overlap: int, max_tokens: int, counter: TokenCounter) -> None:
        self._text, self._size, self._overlap = text, size, overlap
        self._counter, self._tokens = counter, counter.most
        del max_tokens

    def section(self, section: _Section) -> Iterator[tuple[int, int, str]]:
        """Spans, and the header to repeat before each."""
        for start, end, header in self._cut_section(section):
            first, last = self._trimmed(start, end)
            if first < last:
                yield from self._checked(first, last, header)

    def _cut_section(self, section: _Section) -> Iterator[tuple[int, int, str]]:
        window = _Window(self, self._overlap)
        for start, end, block in self._units(section):
            if self._fits(start, end):
                yield from window.add(start, end)
                continue
            yield from window.rest()
            if block is not None and block.kind == "table":
                yield from self._rows(block)
            else:
                yield from self._running(
                    start, end, rank=1 if block is not None and block.kind == "code" else 0
                )
        yield from window.rest()

    def _units(self, section: _Section) -> Iterator[tuple[int, int, Block | None]]:
        """The section's blocks whole, and the paragraphs between them."""
        place = section.start
        for block in section.blocks:
            yield from ((start, end, None) for start, end in self._parts(place, block.start, 0))
            yield block.start, block.end, block
            place = block.end
        yield from ((start, end, None) for start, end in self._parts(place, section.end, 0))

    def _parts(self, start: int, end: int, rank: int) -> Iterator[Span]:
        """What is between the breaks of a rank."""
        for found in _BREAKS[rank].finditer(self._text, start, end):
            if found.start() > start:
                yield start, found.start()
            start = found.end()
        if end > start:
            yield start, end

    def _running(self, start: int, end: int, rank: int) -> Iterator[tuple[int, int, str]]:
        """Text beyond a limit, by its parts; parts beyond it, by theirs."""
        if rank == len(_BREAKS):
            yield from self._letters(start, end)
            return
        window = _Window(self, self._overlap)
        for first, last in self._parts(start, end, rank):
            if self._fits(first, last):
                yield from window.add(first, last)
            else:
                yield from window.rest()
                yield from self._running(first, last, rank + 1)
        yield from window.rest()

    def _letters(self, start: int, end: int) -> Iterator[tuple[int, int, str]]:
        """A word beyond a limit, by letters; a letter is taken to be a token."""
        length = max(1, min(self._size, self._tokens))
        step = max(1, length - self._overlap) if self._overlap < length else length
        while True:
            yield start, min(end, start + length), ""
            if start + length >= end:
                return
            start += step

    def _rows(self, table: Block) -> Iterator[tuple[int, int, str]]:
        """A table by its rows, with its header before each piece but the first; without it where the header takes half of a limit."""
        header = table.header
        if len(header) + 1 > self._size // 2 or self._counter.tokens(header) > self._tokens // 2:
            header = ""
        window = _Window(self, 0, header)
        for start, end in self._parts(table.start, table.end, 1):
            if self._fits(start, end, header):
                yield from window.add(start, end)
            else:
                yield from window.rest()
                yield from self._running(start, end, rank=2)
        yield from window.rest()

    def room(self, start: int, end: int, tokens: int, header: str) -> bool:
        """Whether a span of so many tokens stays within both limits."""
        more = len(header) + 1 if header else 0
        return end - start + more <= self._size and tokens <= self._tokens

    def tokens(self, start: int, end: int) -> int:
        return self._counter.tokens(self._text[start:end])

    def header_tokens(self, header: str) -> int:
        return self._counter.tokens(f"{header}\n") if header else 0

    def _fits(self, start: int, end: int, header: str = "") -> bool:
        more = len(header) + 1 if header else 0
        return (
            end - start + more <= self._size
            and self.tokens(start, end) + self.header_tokens(header) <= self._tokens
        )

    def _trimmed(self, start: int, end: int) -> Span:
        whole = self._text[start:end]
        return start + len(whole) - len(whole.lstrip()), start + len(whole.rstrip())

    def _checked(
        self, start: int, end: int, header: str, *, halved: bool = False
    ) -> Iterator[tuple[int, int, str]]:
        """The span, in halves where it has more tokens than its words had."""
        text = self._text[start:end]
        if (
            end - start > 1
            and (halved or _UNSURE.search(text))
            and self._counter.exact(f"{header}\n{text}" if header else text) > self._tokens
        ):
            middle = (start + end) // 2
            for half in (self._trimmed(start, middle), self._trimmed(middle, end)):
                if half[0] < half[1]:
                    yield from self._checked(*half, header, halved=True)
        else:
            yield start, end, header


class _Window:
    """Parts of one rank that follow each other, gathered into spans that fit; the last ones of a span begin the next."""

    def __init__(self, splitter: _Splitter, overlap: int, header: str = "") -> None:
        self._splitter, self._overlap, self._header = splitter, overlap, header
        self._parts: deque[tuple[int, int, int]] = deque()
        self._counted = 0
        self._repeats = False  # whether the header stands before the window's span
        self._header_tokens = splitter.header_tokens(header)

    def add(self, start: int, end: int) -> Iterator[tuple[int, int, str]]:
        tokens = self._splitter.tokens(start, end)
        if self._parts and not self._room(start, end, tokens):
            yield self._span()
            self._repeats = bool(self._header)
            while self._parts and (
                self._parts[-1][1] - self._parts[0][0] > self._overlap or not self._room(start, end, tokens)
            ):
                self._counted -= self._parts.popleft()[2]
        self._parts.append((start, end, tokens))
        self._counted += tokens

    def rest(self) -> Iterator[tuple[int, int, str]]:
        """The last span; the window is empty then."""
        if self._parts:
            yield self._span()
            self._repeats = bool(self._header)
        self._parts.clear()
        self._counted = 0

    def _room(self, _start: int, end: int, tokens: int) -> bool:
        header = self._header if self._repeats else ""
        more = self._header_tokens if self._repeats else 0
        return self._splitter.room(self._parts[0][0], end, self._counted + tokens + more, header)

    def _span(self) -> tuple[int, int, str]:
        return self._parts[0][0], self._parts[-1][1], self._header if self._repeats else ""
