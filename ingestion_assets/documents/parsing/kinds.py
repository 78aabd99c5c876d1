"""What kind of file it is, by its bytes; the name decides only between kinds of plain text, which bytes cannot tell apart."""

import re
import zipfile
from pathlib import PurePosixPath

from ingestion_assets.documents.file_errors import FileError

OFFICE = "application/vnd.openxmlformats-officedocument."
MIMES = {
    "pdf": "application/pdf",
    "docx": f"{OFFICE}wordprocessingml.document",
    "xlsx": f"{OFFICE}spreadsheetml.sheet",
    "pptx": f"{OFFICE}presentationml.presentation",
    "odt": "application/vnd.oasis.opendocument.text",
    "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "epub": "application/epub+zip",
    "rtf": "application/rtf",
    "msg": "application/vnd.ms-outlook",
    "doc": "application/msword",
    "ppt": "application/vnd.ms-powerpoint",
    "xls": "application/vnd.ms-excel",
    "png": "image/png",
    "jpeg": "image/jpeg",
    "tiff": "image/tiff",
    "gif": "image/gif",
    "bmp": "image/bmp",
    "webp": "image/webp",
    "html": "text/html",
    "eml": "message/rfc822",
    "csv": "text/csv",
    "md": "text/markdown",
    "txt": "text/plain",
}
IMAGES = frozenset({"png", "jpeg", "tiff", "gif", "bmp", "webp"})
_STARTS = (
    (b"{\\rtf", "rtf"), (b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"II*\0", "tiff"), (b"MM\0*", "tiff"),
    (b"GIF8", "gif"), (b"BM", "bmp"),
)  # fmt: skip
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_STREAMS = (
    ("__properties_version1.0", "msg"),
    ("WordDocument", "doc"),
    ("PowerPoint Document", "ppt"),
    ("Workbook", "xls"),
    ("Book", "xls"),
)
_PARTS = (("word/", "docx"), ("xl/", "xlsx"), ("ppt/", "pptx"))
_BEFORE_HTML = r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*"
_HTML = re.compile(
    rf"{_BEFORE_HTML}<(!doctype\s+html|html|head|body|meta|title)\b", re.IGNORECASE | re.DOTALL
)
_PIECE_OF_HTML = re.compile(
    rf"{_BEFORE_HTML}<(div|table|p|h[1-6]|pre|article|section|span|ul|ol)\b[^>]*>", re.IGNORECASE | re.DOTALL
)
_HEADER = re.compile(r"[!-9;-~]+:[ \t]?.*(\r?\n[ \t].*)*\r?\n")
_MAIL_FIELDS = re.compile(
    r"^(received|message-id|mime-version|from|to|subject|date|return-path|delivered-to|content-type):",
    re.IGNORECASE | re.MULTILINE,
)
_NAMES = {
    ".md": "md",
    ".markdown": "md",
    ".csv": "csv",
    ".tsv": "csv",
    ".eml": "eml",
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
}


def binary_kind(data: bytes, archive: zipfile.ZipFile | None) -> str | None:
    """The kind of a file that is no text; None where it seems to be text. Raises `FileError` for what is not read here."""
    if b"%PDF-" in data[:1024] and not data.startswith(b"PK"):
        return "pdf"
    for start, kind in _STARTS:
        if data.startswith(start) and (kind != "bmp" or data[6:10] == b"\0\0\0\0"):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data.startswith(_OLE):
        return _ole_kind(data)
    if data.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _zip_kind(archive)
    return None


def text_kind(text: str, name: str) -> str:
    """The kind of a text."""
    named = _NAMES.get(PurePosixPath(name.lower()).suffix)
    if _HTML.match(text[:4096]):
        return "html"
    if named is None and _PIECE_OF_HTML.match(text[:4096]):
        return "html"
    if named == "html":
        return "html" if re.search(r"<[a-z!][^>]*>", text[:65536], re.IGNORECASE) else "txt"
    fields = _HEADER.match(text)
    if fields and len(set(map(str.lower, _MAIL_FIELDS.findall(text[:8192])))) >= (1 if named == "eml" else 3):
        return "eml"
    return named or "txt"


def _zip_kind(archive: zipfile.ZipFile | None) -> str:
    if archive is None:
        raise FileError(
            "corrupted",
            "parsing",
            "The file begins like a zip or an office document, but its directory cannot be read.",
        )
    names = archive.namelist()
    if "mimetype" in names:
        with archive.open("mimetype") as member:
            said = member.read(100).decode("ascii", "replace").strip()
        for kind in ("epub", "odt", "ods"):
            if said.startswith(MIMES[kind]):
                return kind
    if "[Content_Types].xml" in names:
        for folder, kind in _PARTS:
            if any(one.startswith(folder) for one in names):
                return kind
    raise FileError(
        "unsupported_type",
        "parsing",
        "The file is an archive; connect it as a source of type local_zip to read its files.",
    )


def _ole_kind(data: bytes) -> str:
    names = {
        name
        for name in ("EncryptedPackage", *(name for name, _ in _OLE_STREAMS))
        if name.encode("utf-16-le") in data
    }
    if "EncryptedPackage" in names:
        return "encrypted"
    for name, kind in _OLE_STREAMS:
        if name in names:
            return kind
    raise FileError("unsupported_type", "parsing", "The file is an OLE container of a kind that is not read.")
