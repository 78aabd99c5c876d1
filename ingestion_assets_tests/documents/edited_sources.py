"""Four sources with the same files, and the same edits of them: a folder, a zip archive, Google Drive, S3."""

import os
import zipfile
from pathlib import Path
from typing import Any, Protocol

import boto3
import botocore.config

from ingestion_assets_tests.documents.drive_server import OAUTH, Drive

BUCKET = "landing"


class EditedSource(Protocol):
    """Files by their paths."""

    kind: str
    config: dict[str, Any]

    def write(self, path: str, text: str) -> None: ...

    def touch(self, path: str) -> None:
        """Written anew with the same bytes."""
        ...

    def move(self, path: str, to: str) -> None: ...

    def remove(self, path: str) -> None: ...


class Folder:
    kind = "local_directory"

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.config = {"path": str(root)}

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def touch(self, path: str) -> None:
        self.write(path, (self.root / path).read_text())
        os.utime(self.root / path, (1, 1))

    def move(self, path: str, to: str) -> None:
        (self.root / to).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).rename(self.root / to)

    def remove(self, path: str) -> None:
        (self.root / path).unlink()


class Archive:
    kind = "local_zip"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = {"path": str(path)}
        self.files: dict[str, tuple[str, int]] = {}
        self._pack()

    def _pack(self) -> None:
        draft = self.path.with_suffix(".draft")
        with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as made:
            for path, (text, second) in self.files.items():
                made.writestr(zipfile.ZipInfo(path, (2026, 1, 31, 12, 0, second)), text)
        draft.replace(self.path)

    def write(self, path: str, text: str) -> None:
        self.files[path] = (text, 0)
        self._pack()

    def touch(self, path: str) -> None:
        text, second = self.files[path]
        self.files[path] = (text, second + 2)
        self._pack()

    def move(self, path: str, to: str) -> None:
        self.files[to] = self.files.pop(path)
        self._pack()

    def remove(self, path: str) -> None:
        del self.files[path]
        self._pack()


class OnDrive:
    kind = "google_drive"

    def __init__(self, drive: Drive) -> None:
        self.drive = drive
        self.top = drive.folder("connected")
        self.config = {"folder_id": self.top, "oauth": OAUTH}
        self.ids: dict[str, str] = {}
        self.folders = {"": self.top}

    def _parent(self, path: str) -> str:
        folder = path.rpartition("/")[0]
        if folder not in self.folders:
            self.folders[folder] = self.drive.folder(folder, parent=self.top)
        return self.folders[folder]

    def write(self, path: str, text: str) -> None:
        if path in self.ids and self.drive.files[self.ids[path]]["trashed"]:
            self.drive.change(self.ids[path], trashed=False)  # restored from the trash
        elif path in self.ids:
            self.drive.write(self.ids[path], text)
        else:
            self.ids[path] = self.drive.add(path.rpartition("/")[2], text, parent=self._parent(path))

    def touch(self, path: str) -> None:
        self.drive.touch(self.ids[path])

    def move(self, path: str, to: str) -> None:
        self.ids[to] = self.ids.pop(path)
        self.drive.change(self.ids[to], name=to.rpartition("/")[2], parents=[self._parent(to)])

    def remove(self, path: str) -> None:
        self.drive.change(self.ids[path], trashed=True)


class OnS3:
    kind = "s3"

    def __init__(self, url: str, folder: str) -> None:
        self.folder = folder
        self.s3: Any = boto3.client(
            "s3", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1",
            config=botocore.config.Config(retries={"max_attempts": 2}),
        )  # fmt: skip
        options = {"key": "key", "secret": "secret", "endpoint_url": url, "region": "us-east-1"}
        self.config = {"path": f"{BUCKET}/{folder}", "options": options}

    def write(self, path: str, text: str) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=f"{self.folder}/{path}", Body=text.encode())

    def touch(self, path: str) -> None:
        self.write(
            path, self.s3.get_object(Bucket=BUCKET, Key=f"{self.folder}/{path}")["Body"].read().decode()
        )

    def move(self, path: str, to: str) -> None:
        self.s3.copy_object(
            Bucket=BUCKET, Key=f"{self.folder}/{to}", CopySource=f"{BUCKET}/{self.folder}/{path}"
        )
        self.remove(path)

    def remove(self, path: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=f"{self.folder}/{path}")
