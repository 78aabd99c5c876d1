"""Footnotes, endnotes and comments of a docx, which kreuzberg leaves out."""

import io
import zipfile

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue] - compiled, without types

MOST_BYTES = 2**24
_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_XML = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
_PARTS = (
    ("word/footnotes.xml", "Footnotes"),
    ("word/endnotes.xml", "Endnotes"),
    ("word/comments.xml", "Comments"),
)


def notes(data: bytes) -> str:
    """Them as Markdown, a section for each kind; nothing where there are none, or a part is damaged."""
    sections = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name, title in _PARTS:
            try:
                if archive.getinfo(name).file_size > MOST_BYTES:
                    continue
                root = etree.fromstring(archive.read(name), _XML)
            except (KeyError, zipfile.BadZipFile, etree.XMLSyntaxError):
                continue
            texts = filter(None, (" ".join("".join(note.itertext(f"{_WORD}t")).split()) for note in root))
            if paragraphs := "\n\n".join(texts):
                sections.append(f"# {title}\n\n{paragraphs}")
    return "\n\n".join(sections)
