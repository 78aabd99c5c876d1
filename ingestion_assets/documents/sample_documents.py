"""Documents made up for demonstrations, in eight formats: a title, some paragraphs, and one fact that a question asks for."""

import csv
import io
import re
import textwrap
import zipfile
from collections.abc import Callable, Sequence
from email.message import EmailMessage
from html import escape

QUESTIONS = {
    "How long may a book be kept?": "library-1",
    "What temperature does the oven need for bread?": "kitchen-2",
    "When is the river likely to flood?": "river-3",
    "Who repairs the lighthouse lamp?": "harbour-4",
    "How often is the greenhouse watered?": "garden-5",
}
_FACTS = {
    "library-1": "A borrowed book may be kept for four weeks and be renewed twice.",
    "kitchen-2": "Bread goes into the oven at 230 degrees and comes out after forty minutes.",
    "river-3": "The river floods most likely in March, when snow melts in the hills.",
    "harbour-4": "The lamp of the lighthouse is repaired by the harbour master's workshop.",
    "garden-5": "The greenhouse is watered twice a day in summer and every third day in winter.",
}
_MATTERS = ("library", "kitchen", "river", "harbour", "garden", "railway", "orchard", "museum")
_THINGS = ("opening hours", "tools", "visitors", "repairs", "prices", "rooms", "plans", "accounts")

_LINES = 52  # of a page
_ESCAPED, _ESCAPE = re.compile(r"[\\()]"), r"\\\g<0>"

Content = tuple[str, Sequence[str]]


def _content(number: int) -> tuple[str, Content]:
    matter = _MATTERS[number % len(_MATTERS)]
    name = f"{matter}-{number + 1}"
    paragraphs = [
        f"The {thing} of the {matter} were looked at again in report {number + 1}. Part {part} says what was changed about the {thing} since "
        f"the last one, and what the {matter} keeps as it is."
        for part, thing in enumerate((*_THINGS[number % 5 :], *_THINGS[: number % 5])[:4], start=1)
    ]
    fact = _FACTS.get(name)
    return name, (f"Report {number + 1} on the {matter}", paragraphs if fact is None else [fact, *paragraphs])


def _plain(content: Content) -> bytes:
    title, paragraphs = content
    return "\n\n".join((title, *paragraphs)).encode()


def _markdown(content: Content) -> bytes:
    title, paragraphs = content
    parts = (f"## Part {number}\n\n{text}" for number, text in enumerate(paragraphs, start=1))
    return "\n\n".join((f"# {title}", *parts)).encode()


def _html(content: Content) -> bytes:
    title, paragraphs = content
    body = "".join(f"<p>{escape(text)}</p>" for text in paragraphs)
    return f"<!doctype html><meta charset=utf-8><title>{escape(title)}</title><h1>{escape(title)}</h1>{body}".encode()


def _csv(content: Content) -> bytes:
    title, paragraphs = content
    out = io.StringIO()
    csv.writer(out).writerows(
        [
            ("report", "part", "text"),
            *((title, number, text) for number, text in enumerate(paragraphs, start=1)),
        ]
    )
    return out.getvalue().encode()


def _rtf(content: Content) -> bytes:
    title, paragraphs = content
    body = "\\par\n".join((f"{{\\b {title}}}", *paragraphs))
    return f"{{\\rtf1\\ansi\\deff0{{\\fonttbl{{\\f0 Times New Roman;}}}}\n{body}\\par}}".encode("ascii")


def _eml(content: Content) -> bytes:
    title, paragraphs = content
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "reports@example.com", "everyone@example.com", title
    mail["Date"] = "Mon, 05 Jan 2026 10:00:00 +0000"
    mail.set_content("\n\n".join(paragraphs))
    return mail.as_bytes()


def _docx(content: Content) -> bytes:
    title, paragraphs = content
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    main = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    body = (
        f'<w:p><w:pPr><w:pStyle w:val="Heading1"/></w:pPr><w:r><w:t>{escape(title)}</w:t></w:r></w:p>'
        + "".join(f"<w:p><w:r><w:t>{escape(text)}</w:t></w:r></w:p>" for text in paragraphs)
    )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            f'<Override PartName="/word/document.xml" ContentType="{main}"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
            f'<Relationship Id="rId1" Type="{office}" Target="word/document.xml"/></Relationships>',
        )
        archive.writestr(
            "word/document.xml",
            f'<?xml version="1.0"?><w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>',
        )
    return packed.getvalue()


def _pdf(content: Content) -> bytes:
    """Pages of lines in Helvetica, by hand (ISO 32000)."""
    title, paragraphs = content
    lines = [title, *(line for text in paragraphs for line in ("", *textwrap.wrap(text, 90)))]
    pages = [lines[start : start + _LINES] for start in range(0, len(lines), _LINES)]
    kids = b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(pages)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[%b]/Count %d>>" % (kids, len(pages)),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
    ]  # fmt: skip
    for number, page in enumerate(pages):
        shown = "".join(f"({_ESCAPED.sub(_ESCAPE, line)}) '\n" for line in page)
        stream = f"BT /F1 11 Tf 14 TL 50 800 Td\n{shown}ET".encode("cp1252", errors="replace")
        objects += [
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</Font<</F1 3 0 R>>>>/Contents %d 0 R>>" % (5 + 2 * number),
            b"<</Length %d>>stream\n%b\nendstream" % (len(stream), stream),
        ]  # fmt: skip
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, made in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (number, made)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size, start = len(objects) + 1, len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n%btrailer<</Size %d/Root 1 0 R>>\n" % (size, table, size)
    return bytes(out) + b"startxref\n%d\n%%%%EOF\n" % start


FORMATS: dict[str, Callable[[Content], bytes]] = {
    "txt": _plain, "md": _markdown, "html": _html, "csv": _csv, "rtf": _rtf, "eml": _eml, "docx": _docx, "pdf": _pdf,
}  # fmt: skip
MIMES = {
    "txt": "text/plain", "md": "text/markdown", "html": "text/html", "csv": "text/csv", "rtf": "application/rtf", "eml": "message/rfc822",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document", "pdf": "application/pdf",
}  # fmt: skip


def sample_documents(number: int) -> dict[str, bytes]:
    """So many files by name, the formats in turn."""
    made = {}
    for place in range(number):
        name, content = _content(place)
        suffix = [*FORMATS][place % len(FORMATS)]
        made[f"{name}.{suffix}"] = FORMATS[suffix](content)
    return made
