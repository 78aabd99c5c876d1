"""What Google Drive says of a file, as an entry: its path, its hash, what it is exported to. Pure but for the folders that are looked up."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ingestion_assets.documents import file_paths
from ingestion_assets.documents.sources.source import Entry, FetchOptions

_APPS = "application/vnd.google-apps."
FOLDER = _APPS + "folder"
SHORTCUT = _APPS + "shortcut"
_OFFICE = "application/vnd.openxmlformats-officedocument."
FORMAT_OF: Mapping[str, str] = {
    "document": "docx",
    "spreadsheet": "xlsx",
    "presentation": "pptx",
    "drawing": "pdf",
}
MEDIA_TYPE_OF: Mapping[str, str] = {
    "docx": _OFFICE + "wordprocessingml.document", "xlsx": _OFFICE + "spreadsheetml.sheet",
    "pptx": _OFFICE + "presentationml.presentation", "pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown",
    "html": "text/html", "csv": "text/csv", "odt": "application/vnd.oasis.opendocument.text", "epub": "application/epub+zip",
    "rtf": "application/rtf",
}  # fmt: skip
"""Google's own documents, by kind, with what they are fetched as unless something else is asked for; and the types of all formats."""
MOST_DEPTH = 100

File = Mapping[str, Any]
Folder = Callable[[str], File | None]


@dataclass(frozen=True, slots=True)
class Export:
    """What one of Google's own documents is fetched as."""

    mime: str
    suffix: str


def export_of(file: File, formats: Mapping[str, str] | None) -> Export | None:
    """How a document of Google's own is exported; None for a file with bytes, and for what cannot be."""
    kind = str(file["mimeType"]).removeprefix(_APPS)
    if kind not in FORMAT_OF or not str(file["mimeType"]).startswith(_APPS):
        return None
    format_ = (formats or {}).get(kind, FORMAT_OF[kind])
    if format_ not in MEDIA_TYPE_OF:
        format_ = FORMAT_OF[kind]
    return Export(MEDIA_TYPE_OF[format_], f".{format_}")


def entry_of(named: File, file: File, path: str, options: FetchOptions) -> Entry:
    """The entry of `named`, whose bytes are those of `file`: itself, or what it is a shortcut to."""
    mime = str(file["mimeType"])
    export = export_of(file, options.export_formats)
    refused, sentence = None, None
    if mime.startswith(_APPS) and export is None:
        refused, sentence = (
            "unsupported_type",
            f"{path}: Google gives no bytes of a {mime.removeprefix(_APPS)}.",
        )
    elif file.get("capabilities", {}).get("canDownload") is False:
        refused, sentence = "access_denied", f"{path}: its owner does not let it be downloaded."
    hashed = {kind: file.get(f"{kind}Checksum") for kind in ("sha256", "md5")}
    digest = None if export else next((f"{kind}:{told}" for kind, told in hashed.items() if told), None)
    modified = file.get("modifiedTime")
    return Entry(
        file_id=named["id"], path=path, size=int(file["size"]) if file.get("size") is not None and not export else None,
        mime=export.mime if export else mime, digest=digest, version=digest or modified,
        modified=datetime.fromisoformat(modified) if modified else None,
        ignored=file_paths.ignored(path), refused=refused, sentence=sentence,
    )  # fmt: skip


def path_of(file: File, root: str, folder: Folder) -> str:
    """From the top down, as far as the credentials see. Names may hold anything, `/` too."""
    names = [_part(file)]
    for parent in _parents(file, folder):
        if parent["id"] == root:
            break
        names.append(_part(parent))
    return file_paths.bounded("/".join(reversed(names)))


def lies_in(file: File, root: str, folder: Folder) -> bool:
    return any(parent["id"] == root for parent in _parents(file, folder))


def _parents(file: File, folder: Folder) -> list[File]:
    found: list[File] = []
    seen = {file["id"]}
    while len(found) < MOST_DEPTH:
        ids = file.get("parents") or ()
        parent = folder(ids[0]) if ids and ids[0] not in seen else None
        if parent is None:
            break
        seen.add(parent["id"])
        found.append(parent)
        file = parent
    return found


def _part(file: File) -> str:
    return str(file["name"]).replace("/", "\u2215").replace("\0", "\ufffd") or "\u2205"
