"""What goes to the parsing child and what comes back: plain values that pass between processes."""

from typing import Literal

import msgspec

Kind = Literal["heading", "paragraph", "table", "list", "code"]
Ocr = Literal["auto", "never", "always"]


class ParseOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What the user may choose of parsing; all of it changes the text, so all of it belongs to the key of a content."""

    quality_threshold: float = 0.7  # 0 switches the drop of bad pages off
    preserve_structure: bool = True
    extract_math: bool = True
    ocr: Ocr = "auto"
    ocr_languages: tuple[str, ...] = ()  # tesseract's names; none: all that are installed, at most 4
    passwords: tuple[str, ...] = ()
    encoding: str | None = None  # overrides what is detected in text files
    llm_pages: Literal["bad", "all"] = "bad"  # which pages go to `parse`'s `llm`, where one is given
    max_llm_pages: int = 50


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one file may cost."""

    memory_bytes: int = 3 * 2**30  # address space of the child, of which most is never touched
    timeout_s: float = 300.0
    max_characters: int = 20_000_000


class Page(msgspec.Struct, frozen=True):
    """A page, a slide or a sheet; what has none is one page."""

    number: int  # from 1
    start: int  # its span in the file's text
    end: int
    quality: float  # 0 to 1
    engine: str  # who read it: pdfium, pdf_oxide, tesseract, rapidocr, llm, kreuzberg, ...; "" where it was dropped
    language: str  # ISO 639; "zxx" none, "" too little text


class Block(msgspec.Struct, frozen=True):
    """A part of the text that has a meaning of its own. Blocks follow each other, do not overlap, and lie within one page."""

    kind: Kind
    start: int
    end: int
    level: int = 0  # of a heading, from 1
    title: str = ""  # of a heading
    header: str = ""  # of a table: its head rows as text, repeated before each later piece


class Note(msgspec.Struct, frozen=True):
    """Something that was lost or mended, told beside the text."""

    code: str  # page_dropped, replaced_characters, uneven_rows, notes_left_out, ...
    sentence: str
    page: int | None = None


class ParsedFile(msgspec.Struct, frozen=True):
    """A file's text and what is known of it."""

    mime: str
    text: str
    pages: tuple[Page, ...]
    blocks: tuple[Block, ...]
    warnings: tuple[Note, ...]
    encoding: str | None  # of text files, as Python names it
    language: str
    quality: float

    def page_text(self, number: int) -> str:
        page = self.pages[number - 1]
        return self.text[page.start : page.end]
