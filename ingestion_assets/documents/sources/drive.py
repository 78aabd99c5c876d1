"""Files of Google Drive: what the credentials see, a shared drive, or a folder with all below it."""

import hashlib
import io
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from googleapiclient.http import MediaIoBaseDownload

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.documents.sources.drive_calls import DriveCalls, Gone
from ingestion_assets.documents.sources.drive_config import DriveConfig
from ingestion_assets.documents.sources.drive_entries import (
    FOLDER,
    SHORTCUT,
    entry_of,
    export_of,
    lies_in,
    path_of,
)
from ingestion_assets.documents.sources.source import (
    Changes,
    Entry,
    Fetched,
    FetchOptions,
    Progress,
    Stopped,
    check_offered,
    never,
    save,
    untold,
)

PAGE = 1000
PARENTS_AT_ONCE = 40
PART_BYTES = 4 << 20
_FILE = (
    "id,name,mimeType,size,md5Checksum,sha256Checksum,modifiedTime,parents,trashed,driveId,"
    "shortcutDetails(targetId,targetMimeType),capabilities(canDownload)"
)
_ID = re.compile(r"[\w-]+", re.ASCII)  # what is none, a glob say, is not asked for
_ALL_DRIVES = {"supportsAllDrives": True, "includeItemsFromAllDrives": True}

File = Mapping[str, Any]


class DriveSource:
    """What a connection's credentials see, or a part of it."""

    def __init__(self, config: DriveConfig, settings: DocumentsSettings, options: FetchOptions) -> None:
        self._calls = DriveCalls(config, settings.google_drive_url)
        self._options = options
        self._drive_id = config.drive_id
        self._folder_id = config.folder_id
        self._folders: dict[str, File | None] = {}
        self._top: str | None = None

    def close(self) -> None:
        self._calls.close()

    def test(self) -> None:
        self._root_id()

    def entries(self) -> Iterator[Entry]:
        files = self._below(self._root_id()) if self._folder_id else self._all()
        self._folders.update({one["id"]: one for one in files.values() if one["mimeType"] == FOLDER})
        return iter(sorted(self._entries_of(files), key=lambda one: one.place))

    def entry(self, file_id: str) -> Entry | None:
        """One file, if it lies where the connection may look: an id can name anything that the credentials see."""
        file = self._file(file_id) if _ID.fullmatch(file_id) else None
        if file is None or file.get("trashed") or file["mimeType"] == FOLDER or not self._inside(file):
            return None
        return self._entry(file, listed=())

    def fetch(
        self,
        file_id: str,
        into: Path,
        *,
        max_bytes: int,
        stopped: Stopped = never,
        progress: Progress = untold,
    ) -> Fetched:
        """Download or export a file. What breaks off goes on where it broke off."""
        entry = check_offered(self.entry(file_id), file_id, max_bytes)
        file = self._target(self._file(file_id) or {})
        if file is None:
            raise FileError(
                "not_found", "accessing", f"{entry.path}: what the shortcut leads to is not there."
            )
        export = export_of(file, self._options.export_formats)
        if export is None:
            request = self._calls.files().get_media(fileId=file["id"], supportsAllDrives=True)
        else:
            request = self._calls.files().export_media(fileId=file["id"], mimeType=export.mime)
        fetched = save(
            entry, self._parts(request, entry, stopped), into,
            max_bytes=max_bytes, stopped=stopped, progress=progress, of=entry.size,
        )  # fmt: skip
        if export is not None:
            name = entry.name if entry.name.endswith(export.suffix) else entry.name + export.suffix
            return Fetched(path=into, size=fetched.size, sha256=fetched.sha256, name=name, mime=export.mime)
        if not _is_what_was_told(fetched, file):
            into.unlink(missing_ok=True)
            again = self._file(file["id"])
            changed = again is None or again.get("md5Checksum") != file.get("md5Checksum")
            raise FileError(
                "source_changed" if changed else "download_failed", "downloading",
                f"{entry.path}: {'it changed while it was read' if changed else 'what came is not what Google has'}.",
            )  # fmt: skip
        return fetched

    def digest(self, file_id: str) -> str | None:  # noqa: ARG002 - it would be a download
        return None

    def start_token(self) -> str | None:
        request = self._calls.drive_changes().getStartPageToken(supportsAllDrives=True, **self._of_drive())
        return self._calls.execute(request)["startPageToken"]

    def changes(self, token: str) -> Changes:
        """Since a token. A folder or a shortcut among them may concern any number of files: then all have to be listed."""
        changed: dict[str, Entry] = {}
        gone: dict[str, None] = {}
        page: str | None = token
        new = token
        while page is not None:
            request = self._calls.drive_changes().list(
                pageToken=page, pageSize=PAGE, includeRemoved=True, **_ALL_DRIVES, **self._of_drive(),
                fields=f"nextPageToken,newStartPageToken,changes(changeType,fileId,removed,file({_FILE}))",
            )  # fmt: skip
            try:
                found = self._calls.execute(request)
            except Gone:
                return Changes(token=None, whole=True)
            for one in found.get("changes", ()):
                if one.get("changeType") == "drive":
                    return Changes(token=None, whole=True)
                file, id_ = one.get("file"), one["fileId"]
                changed.pop(id_, None)
                gone.pop(id_, None)
                if one.get("removed") or file is None or file.get("trashed"):
                    gone[id_] = None
                elif file["mimeType"] in {FOLDER, SHORTCUT}:
                    return Changes(token=None, whole=True)
                elif self._inside(file):
                    changed[id_] = self._entry(file, listed=())
                else:
                    gone[id_] = None
            page, new = found.get("nextPageToken"), found.get("newStartPageToken", new)
        return Changes(token=new, changed=tuple(changed.values()), gone=tuple(gone))

    def _of_drive(self) -> dict[str, str]:
        self._root_id()  # which says what drive a folder lies in
        return {"driveId": self._drive_id} if self._drive_id else {}

    def _root_id(self) -> str:
        """The folder that is the top of all paths."""
        if self._top is None:
            wanted = self._folder_id or self._drive_id or "root"
            file = self._file(wanted)
            if file is None or file.get("trashed") or file["mimeType"] != FOLDER:
                raise FileError(
                    "not_found",
                    "accessing",
                    "The connection's folder of Google Drive is not there, or not for its credentials.",
                )
            if self._folder_id and self._drive_id is None:
                self._drive_id = file.get("driveId")
            self._top = str(file["id"])
        return self._top

    def _file(self, file_id: str) -> File | None:
        request = self._calls.files().get(fileId=file_id, fields=_FILE, supportsAllDrives=True)
        try:
            return self._calls.execute(request, file_id)
        except FileError as error:
            if error.code == "not_found":
                return None
            raise

    def _list(self, query: str) -> Iterator[File]:
        """Pages to the end. An answer that Google itself calls incomplete is an error, not an end."""
        corpus = {"corpora": "drive", "driveId": self._drive_id} if self._drive_id else {"corpora": "user"}
        page: str | None = None
        while True:
            request = self._calls.files().list(
                q=query, pageSize=PAGE, pageToken=page, **_ALL_DRIVES, **corpus,
                fields=f"nextPageToken,incompleteSearch,files({_FILE})",
            )  # fmt: skip
            found = self._calls.execute(request)
            if found.get("incompleteSearch"):
                raise FileError(
                    "download_failed",
                    "accessing",
                    "Google Drive did not search all of it; try again, or connect a part of it.",
                )
            yield from found.get("files", ())
            page = found.get("nextPageToken")
            if page is None:
                return

    def _all(self) -> dict[str, File]:
        self._root_id()
        return {one["id"]: one for one in self._list("trashed = false")}

    def _below(self, root: str) -> dict[str, File]:
        """All below a folder, a level of folders after the other."""
        files: dict[str, File] = {}
        level, seen = [root], {root}
        while level:
            below: list[str] = []
            for start in range(0, len(level), PARENTS_AT_ONCE):
                parents = " or ".join(f"'{one}' in parents" for one in level[start : start + PARENTS_AT_ONCE])
                for file in self._list(f"({parents}) and trashed = false"):
                    files[file["id"]] = file
                    if file["mimeType"] == FOLDER and file["id"] not in seen:
                        seen.add(file["id"])
                        below.append(file["id"])
            level = below
        return files

    def _entries_of(self, files: Mapping[str, File]) -> Iterator[Entry]:
        for file in files.values():
            if file["mimeType"] != FOLDER:
                yield self._entry(file, listed=files.keys())

    def _entry(self, file: File, *, listed: Collection[str]) -> Entry:
        path = path_of(file, self._root_id(), self._folder)
        if file["mimeType"] != SHORTCUT:
            return entry_of(file, file, path, self._options)
        target_id = file.get("shortcutDetails", {}).get("targetId")
        if not self._options.follow_shortcuts:
            return Entry(file_id=file["id"], path=path, ignored="shortcut")
        if target_id in listed:
            return Entry(file_id=file["id"], path=path, ignored="shortcut to what is listed at its own place")
        if file["shortcutDetails"].get("targetMimeType") == FOLDER:
            return Entry(
                file_id=file["id"], path=path, ignored="shortcut to a folder; connect that folder itself"
            )
        target = self._target(file)
        if target is None:
            return Entry(
                file_id=file["id"], path=path, refused="not_found",
                sentence=f"{path}: what the shortcut leads to is not there, not for these credentials, or a shortcut itself.",
            )  # fmt: skip
        return entry_of(file, target, path, self._options)

    def _target(self, file: File) -> File | None:
        """What a shortcut leads to, followed once; any other file itself."""
        if file.get("mimeType") != SHORTCUT:
            return file or None
        target = self._file(file["shortcutDetails"]["targetId"])
        return (
            None
            if target is None or target.get("trashed") or target["mimeType"] in {SHORTCUT, FOLDER}
            else target
        )

    def _folder(self, id_: str) -> File | None:
        """A folder, asked for once; None if the credentials do not see it."""
        if id_ not in self._folders:
            self._folders[id_] = self._file(id_)
        return self._folders[id_]

    def _inside(self, file: File) -> bool:
        root = self._root_id()
        if self._folder_id:
            return lies_in(file, root, self._folder)
        return self._drive_id is None or file.get("driveId") == self._drive_id

    def _parts(self, request: Any, entry: Entry, stopped: Stopped) -> Iterator[bytes]:
        buffer = io.BytesIO()
        download = MediaIoBaseDownload(buffer, request, chunksize=PART_BYTES)
        done = False
        while not done:
            _, done = self._calls.repeated(download.next_chunk, entry.path, "downloading", stopped)
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()


def _is_what_was_told(fetched: Fetched, file: File) -> bool:
    if file.get("size") is not None and int(file["size"]) != fetched.size:
        return False
    if told := file.get("sha256Checksum"):
        return told == fetched.sha256
    if told := file.get("md5Checksum"):
        with fetched.path.open("rb") as content:
            return (
                hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == told
            )
    return True
