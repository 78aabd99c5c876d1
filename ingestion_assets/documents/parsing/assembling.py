"""From the pages as a reader gave them to the file's text: cleaned, scored, the bad ones dropped, their spans and blocks known."""

from collections import Counter
from collections.abc import Iterator

from ingestion_assets.documents.parsing import characters, structure
from ingestion_assets.documents.parsing.page_texts import PageText, Reading, Task, failed
from ingestion_assets.documents.parsing.parsed_files import Block, Page, ParsedFile
from ingestion_assets.documents.parsing.quality import NO_LANGUAGE, score

BETWEEN_PAGES = "\n\n"


def assemble(task: Task, reading: Reading, max_characters: int) -> ParsedFile:
    """Raises `FileError` where no page is left, or the text is too long."""
    texts: list[str] = []
    pages: list[Page] = []
    blocks: list[Block] = []
    length = replaced = 0
    for number, given in enumerate(reading.pages, 1):
        text, count = _cleaned(task, reading, given)
        replaced += count
        quality, language = (
            (given.scored or score(text, needs_language=reading.garbles)) if text else (0.0, "")
        )
        quality *= given.confidence
        if text and quality < task.options.quality_threshold:
            task.warn(
                "page_dropped",
                f"Page {number} was left out: its best reading, by {given.engine}, has a quality of {quality:.2f}.",
                number,
            )
            text = ""
        if text and texts:
            texts.append(BETWEEN_PAGES)
            length += len(BETWEEN_PAGES)
        if length + len(text) > max_characters:
            raise failed(
                "too_large", f"The file holds more than {max_characters:,} characters of text.", number
            )
        pages.append(
            Page(
                number, length, length + len(text), round(quality, 4), given.engine if text else "", language
            )
        )
        if task.options.preserve_structure:
            blocks += _blocks(reading, given, text, length)
        texts += [text] if text else []
        length += len(text)
    if not texts:
        raise _nothing(task, len(pages))
    if replaced:
        task.warn("replaced_characters", f"{replaced:,} NULs or lone surrogates were replaced by U+FFFD.")
    kept = [page for page in pages if page.end > page.start]
    quality = sum(page.quality * (page.end - page.start) for page in kept) / sum(
        page.end - page.start for page in kept
    )
    return ParsedFile(
        reading.mime, "".join(texts), tuple(pages), tuple(blocks), tuple(task.warnings), reading.encoding, _language(kept), round(quality, 4)
    )  # fmt: skip


def _cleaned(task: Task, reading: Reading, given: PageText) -> tuple[str, int]:
    text, replaced = characters.storable(characters.lines(given.text))
    if reading.markdown and not task.options.preserve_structure:
        text = structure.plain(text)
    return text.strip("\n\f\x0b ") if text.strip() else "", replaced


def _blocks(reading: Reading, given: PageText, text: str, start: int) -> Iterator[Block]:
    if reading.markdown:
        yield from structure.blocks(text, start)
    elif reading.mime == "text/csv" and text:
        yield Block("table", start, start + len(text), header=text.partition("\n")[0])
    elif given.headings:
        yield from _outlined(given.headings, text, start)


def _outlined(headings: tuple[tuple[int, str], ...], text: str, start: int) -> Iterator[Block]:
    """The lines that an outline names, in their order."""
    place = 0
    wanted = list(headings)
    for line in text.splitlines(keepends=True):
        words = " ".join(line.split()).casefold()
        for number, (level, title) in enumerate(wanted):
            if words and (words == title.casefold() or words.endswith(" " + title.casefold())):
                yield Block(
                    "heading", start + place, start + place + len(line.rstrip()), level=level, title=title
                )
                del wanted[: number + 1]
                break
        place += len(line)


def _nothing(task: Task, pages: int) -> Exception:
    dropped = [note for note in task.warnings if note.code == "page_dropped"]
    if dropped:
        return failed(
            "low_quality",
            f"None of {pages} pages is readable enough for quality_threshold {task.options.quality_threshold:g}.",
        )
    without = ' The option ocr is "never", so images were not read.' if task.options.ocr == "never" else ""
    return failed("no_text", f"The file has no text.{without}")


def _language(pages: list[Page]) -> str:
    counted: Counter[str] = Counter()
    for page in pages:
        counted[page.language] += page.end - page.start
    named = [name for name, _ in counted.most_common() if name not in {"", NO_LANGUAGE}]
    return (named or [name for name, _ in counted.most_common(1)])[0]
