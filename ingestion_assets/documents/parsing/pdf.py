"""PDF, page by page: pdfium, for pages that it reads badly pdf_oxide, then a model where one is given, then OCR."""

import math
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pypdfium2
import pypdfium2.raw as pdfium

from ingestion_assets.documents.parsing import characters, ocr
from ingestion_assets.documents.parsing.kinds import MIMES
from ingestion_assets.documents.parsing.page_texts import PageText, Reading, Task, failed
from ingestion_assets.documents.parsing.quality import score, shown

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_PAGES = 20_000
AT_ONCE = 32  # pages read before they are scored: in turns, pdfium and the language detector cost each other the processor's cache
SECOND_ENGINE_CPU_S = 20.0  # then the child ends, and its parent tries again without this engine
LONG_SIDE = 2200  # pixels of a page's image: some 190 dpi of A4, whatever size the page says that it has


def read(task: Task) -> Reading:
    """Raises `FileError` where the file cannot be opened."""
    return Reading(mime=MIMES["pdf"], pages=_pages(task), garbles=True)


def _pages(task: Task) -> Iterator[PageText]:
    document, password = _opened(task)
    with closing(document):
        count = len(document)
        if count == 0:
            raise failed("zero_pages", "The PDF has no pages.")
        if count > MOST_PAGES:
            raise failed(
                "too_large", f"The PDF says that it has {count:,} pages; {MOST_PAGES:,} are read at most."
            )
        outline = _outline(document) if task.options.preserve_structure else {}
        reader = _Reader(task, document, password)
        for start in range(1, count + 1, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, count + 1))
            for number, text in zip(numbers, list(map(reader.text, numbers)), strict=True):
                yield replace(reader.best(number, text), headings=tuple(outline.get(number, ())))


class _Reader:
    """An open file, and the engines that read it."""

    def __init__(self, task: Task, document: pypdfium2.PdfDocument, password: str | None) -> None:
        self._task, self._document, self._password = task, document, password
        self._shown = 0

    def best(self, number: int, text: str) -> PageText:
        """The page, whose `text` is pdfium's, by the first engine that reads it well, else by the one that reads it least badly."""
        options = self._task.options
        found = [first := _page(text, "pdfium")]
        chosen = self._ocr if options.ocr == "always" else self._model if self._models_all() else None
        if chosen is not None:
            page = chosen(number, first)
            if page is not None and page.text.strip():
                return page
        for engine in (self._second, self._model, self._ocr):
            if self._good(found[-1]):
                break
            if (page := engine(number, first)) is not None:
                found.append(page)
        return max(found, key=_quality)

    def _models_all(self) -> bool:
        return self._task.model is not None and self._task.options.llm_pages == "all"

    def _good(self, page: PageText) -> bool:
        return bool(page.text.strip()) and _quality(page) >= self._task.options.quality_threshold

    def text(self, number: int) -> str:
        """The page by pdfium."""
        self._task.progress(number, len(self._document), "pdfium")
        try:
            with closing(self._document[number - 1]) as page, closing(page.get_textpage()) as text:
                return _mended(text.get_text_range())
        except pypdfium2.PdfiumError:
            self._task.warn("page_unreadable", f"Page {number} is damaged and was left out.", number)
            return ""

    def _second(self, number: int, first: PageText) -> PageText | None:
        blank = not first.text.strip()  # a scan, or empty
        if blank or "pdf_oxide" in self._task.without:
            return None
        self._task.progress(number, len(self._document), "pdf_oxide")
        signal.setitimer(signal.ITIMER_PROF, SECOND_ENGINE_CPU_S)
        try:
            text = _mended(self._oxide.extract_text(number - 1))
            # It leaves out what it cannot map: a page of which half is gone is no better reading than one of odd characters.
            return _page(text, "pdf_oxide", min(1.0, shown(text) / max(1, shown(first.text))))
        except Exception:
            return None
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    @cached_property
    def _oxide(self) -> Any:
        import pdf_oxide  # noqa: PLC0415 - 27 MB that most files do not need

        document = pdf_oxide.PdfDocument.from_bytes(self._task.data)
        if self._password:
            document.authenticate(self._password)
        return document

    def _model(self, number: int, _first: PageText) -> PageText | None:
        options = self._task.options
        if self._task.model is None or self._shown >= options.max_llm_pages:
            return None
        self._shown += 1
        image = self._image(number)
        text = self._task.model(ocr.png(image), number) if image is not None else None
        return None if text is None else _page(text, "llm")

    def _ocr(self, number: int, _first: PageText) -> PageText | None:
        image = self._image(number) if self._task.options.ocr != "never" else None
        return None if image is None else ocr.read_image(self._task, image, number, len(self._document))

    def _image(self, number: int) -> "Image | None":
        """The page in grey; None where there is nothing on it, or it has no size."""
        with suppress(pypdfium2.PdfiumError), closing(self._document[number - 1]) as page:
            width, height = page.get_size()
            if not (math.isfinite(width) and math.isfinite(height) and width > 0 and height > 0):
                return None
            if next(iter(page.get_objects(max_depth=1)), None) is None and not pdfium.FPDFPage_GetAnnotCount(
                page
            ):
                return None
            scale = LONG_SIDE / max(width, height)
            if min(width, height) * scale < 1:
                return None
            return page.render(scale=scale, grayscale=True, may_draw_forms=False).to_pil()
        return None


def _page(text: str, engine: str, confidence: float = 1.0) -> PageText:
    return PageText(text, engine, confidence, score(text, needs_language=True))


def _quality(page: PageText) -> float:
    quality = page.scored or score(page.text, needs_language=True)
    return quality[0] * page.confidence


def _opened(task: Task) -> tuple[pypdfium2.PdfDocument, str | None]:
    tried = [None, *task.options.passwords]
    for password in tried:
        try:
            return pypdfium2.PdfDocument(task.data, password=password), password
        except pypdfium2.PdfiumError:
            error = pdfium.FPDF_GetLastError()
            if error != pdfium.FPDF_ERR_PASSWORD:
                break
        except UnicodeEncodeError:
            continue
    else:
        if task.options.passwords:
            raise failed("password_wrong", "None of the given passwords opens the PDF.")
        raise failed(
            "password_required", "The PDF needs a password; give it in source_specific_options.passwords."
        )
    if error == pdfium.FPDF_ERR_SECURITY:
        raise failed("unsupported_type", "The PDF is encrypted in a way that is not read.")
    raise failed("corrupted", "The file begins like a PDF, but is damaged beyond what can be read.")


def _outline(document: pypdfium2.PdfDocument) -> dict[int, list[tuple[int, str]]]:
    """Level and title of the bookmarks, by the page they lead to."""
    found: dict[int, list[tuple[int, str]]] = defaultdict(list)
    with suppress(pypdfium2.PdfiumError, ValueError, RecursionError):
        for bookmark in document.get_toc(max_depth=6):
            target = bookmark.get_dest()
            page = target.get_index() if target else None
            if page is not None and (title := " ".join(bookmark.get_title().split())):
                found[page + 1].append((bookmark.level + 1, title))
    return found


def _mended(text: str) -> str:
    return characters.letters(characters.lines(characters.whole_words(text)))
