"""Office documents, books and web pages by kreuzberg, as Markdown; slides by markitdown, which keeps their charts and tables."""

import io
import re
from collections.abc import Iterator
from typing import Any

import kreuzberg

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.parsing import formulas, word_notes, xml_references
from ingestion_assets.documents.parsing.kinds import MIMES
from ingestion_assets.documents.parsing.page_texts import PageText, Reading, Task, failed

_CODE = re.compile(r"(^```.*?^```[ \t]*$)", re.DOTALL | re.MULTILINE)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{}~])")
_IMAGE = re.compile(r"!\[([^\[\]\n]*)\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:[ \t]+\"[^\"\n]*\")?\)")
_LINK = re.compile(r"(?<![!\\])\[([^\[\]\n]*)\]\([^()\s]*(?:\([^()\s]*\)[^()\s]*)*(?:[ \t]+\"[^\"\n]*\")?\)")
_COMMENT = re.compile(r"<!-- (?:MathML:.*?|.{0,40}?)-->", re.DOTALL)
_SLIDE = re.compile(r"<!-- Slide number: \d+ -->\n?")
_KEEPS_ALL: Any = {"extract_metadata": False, "preprocessing": {"enabled": False}}


def read(task: Task, kind: str) -> Reading:
    """A document of one of kreuzberg's kinds. Raises `FileError` where it cannot be read."""
    data = task.data
    if kind == "docx":
        data = formulas.in_docx(data, keep=task.options.extract_math)
    elif kind == "epub":
        data = formulas.in_epub(data, keep=task.options.extract_math)
    if kind != "docx":
        return _reading(kind, _markdown(data, kind))
    text = xml_references.shown(_markdown(xml_references.hidden(data), kind))
    if more := word_notes.notes(task):
        text = f"{text.rstrip()}\n\n{more}"
    return _reading(kind, text)


def read_html(task: Task, text: str, encoding: str) -> Reading:
    """A web page, already decoded."""
    return _reading("html", html_text(task, text), encoding)


def html_text(task: Task, text: str) -> str:
    """A page's text as Markdown."""
    return _markdown(
        formulas.in_html(text, keep=task.options.extract_math).encode("utf-8", "replace"), "html"
    )


def read_slides(task: Task) -> Reading:
    """A presentation, a page for each slide."""
    return Reading(mime=MIMES["pptx"], pages=_slides(task), markdown=True)


def _slides(task: Task) -> Iterator[PageText]:
    from markitdown import StreamInfo  # noqa: PLC0415 - 1.5 s
    from markitdown.converters import PptxConverter  # noqa: PLC0415

    try:
        text = PptxConverter().convert(io.BytesIO(task.data), StreamInfo(extension=".pptx")).markdown
    except MemoryError:
        raise
    except Exception:
        raise failed("corrupted", "The presentation is damaged.") from None
    for slide in _SLIDE.split(text)[1:]:
        yield PageText(_tidy(slide), "markitdown")


def _reading(kind: str, text: str, encoding: str | None = None) -> Reading:
    return Reading(mime=MIMES[kind], pages=[PageText(text, "kreuzberg")], markdown=True, encoding=encoding)


def _markdown(data: bytes, kind: str) -> str:
    config = kreuzberg.ExtractionConfig(
        use_cache=False, enable_quality_processing=False, output_format="markdown", html_options=_KEEPS_ALL
    )  # fmt: skip
    try:
        return _tidy(kreuzberg.extract_bytes_sync(data, MIMES[kind], config=config).content)
    except kreuzberg.KreuzbergError as error:
        raise _failed(str(error), kind) from None


def _failed(said: str, kind: str) -> FileError:
    lower = said.lower()
    if "password" in lower or "encrypted" in lower:
        return failed(
            "password_required",
            f"The {kind} file needs a password; give it in source_specific_options.passwords.",
        )
    if any(word in lower for word in ("too large", "exceeds", "security", "bomb", "limit", "too many")):
        return failed("archive_bomb", f"The {kind} file unpacks to more than a document may hold.")
    return failed("corrupted", f"The file is of kind {kind}, but is damaged.")


def _tidy(text: str) -> str:
    """Without the escapes and targets that only a renderer of Markdown needs; code stays as it is."""
    parts = _CODE.split(text)
    return "".join(part if number % 2 else _read_aloud(part) for number, part in enumerate(parts))


def _read_aloud(text: str) -> str:
    return _ESCAPED.sub(_unescaped, _LINK.sub(r"\1", _IMAGE.sub(r"\1", _COMMENT.sub("", text))))


def _unescaped(found: re.Match[str]) -> str:
    return found[0] if found[1] == "|" else found[1]
