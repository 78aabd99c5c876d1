"""Footnotes, endnotes and comments of a docx, which kreuzberg leaves out."""

import io
import zipfile
import zlib

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] - compiled, without types

from ingestion_assets.documents.parsing.page_texts import Task

MOST_BYTES = 2**24
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_XML = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
_PARTS = (
    ("word/footnotes.xml", "Footnotes"),
    ("word/endnotes.xml", "Endnotes"),
    ("word/comments.xml", "Comments"),
)


def notes(task: Task) -> str:
    """Them as Markdown, a section for each kind; a part that cannot be read is told in a warning."""
    sections = []
    with zipfile.ZipFile(io.BytesIO(task.data)) as archive:
        for name, title in _PARTS:
            if name not in archive.namelist():
                continue
            if archive.getinfo(name).file_size > MOST_BYTES:
                task.warn("notes_left_out", f"{title} of more than {MOST_BYTES >> 20} MB are left out.")
                continue
            try:
                root = etree.fromstring(archive.read(name), _XML)
            except (zipfile.BadZipFile, zlib.error, etree.XMLSyntaxError):
                task.warn("notes_left_out", f"{title} are damaged and were left out.")
                continue
            texts = filter(None, (" ".join("".join(note.itertext(f"{_WORD}t")).split()) for note in root))
            if paragraphs := "\n\n".join(texts):
                sections.append(f"# {title}\n\n{paragraphs}")
    return "\n\n".join(sections)
