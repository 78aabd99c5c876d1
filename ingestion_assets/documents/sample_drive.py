"""A server that speaks as much of Google Drive's API (v3) as a connection to a folder needs; for demonstrations, on this machine alone.

Any credentials are taken. https://developers.google.com/workspace/drive/api/reference/rest/v3
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ingestion_assets.documents.sample_documents import MIMES

FOLDER_ID = "sample-folder"
_FOLDER = {
    "id": FOLDER_ID,
    "name": "Reports",
    "mimeType": "application/vnd.google-apps.folder",
    "parents": ["root"],
    "trashed": False,
}
_ONE = re.compile(r"/drive/v3/files/([A-Za-z0-9_-]+)")


@contextmanager
def sample_drive(port: int, contents: Mapping[str, bytes]) -> Iterator[None]:
    """Serve these files, by name, of one folder."""
    bytes_of = {f"file-{number}": content for number, content in enumerate(contents.values())}
    files: dict[str, dict[str, Any]] = {FOLDER_ID: _FOLDER}
    for id_, (name, content) in zip(bytes_of, contents.items(), strict=True):
        files[id_] = {
            "id": id_, "name": name, "mimeType": MIMES[name.rpartition(".")[2]], "size": str(len(content)), "parents": [FOLDER_ID],
            "md5Checksum": hashlib.md5(content, usedforsecurity=False).hexdigest(), "sha256Checksum": hashlib.sha256(content).hexdigest(),
            "modifiedTime": "2026-01-05T10:00:00.000Z", "trashed": False, "capabilities": {"canDownload": True},
        }  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self._say({"access_token": "sample", "expires_in": 3600, "token_type": "Bearer"})

        def do_GET(self) -> None:
            place = urlsplit(self.path)
            asked = {name: values[0] for name, values in parse_qs(place.query).items()}
            one = _ONE.fullmatch(place.path)
            if place.path == "/drive/v3/changes/startPageToken":
                self._say({"startPageToken": "1"})
            elif place.path == "/drive/v3/changes":
                self._say({"newStartPageToken": "1", "changes": []})
            elif place.path == "/drive/v3/files":
                parents = set(re.findall(r"'([^']+)' in parents", asked.get("q", "")))
                found = [file for file in files.values() if not parents or parents & set(file["parents"])]
                self._say({"files": found, "incompleteSearch": False})
            elif one and one[1] in files and asked.get("alt") != "media":
                self._say(files[one[1]])
            elif one and one[1] in bytes_of:
                self._send(bytes_of[one[1]])
            else:
                self._say({"error": {"code": 404, "errors": [{"reason": "notFound"}]}}, 404)

        def _send(self, content: bytes) -> None:
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            if wanted is None:
                self._answer(content, 200, {})
                return
            first = int(wanted[1])
            part = content[first : int(wanted[2]) + 1 if wanted[2] else None]
            self._answer(
                part, 206, {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"}
            )

        def _say(self, value: Any, status: int = 200) -> None:
            self._answer(json.dumps(value).encode(), status, {"Content-Type": "application/json"})

        def _answer(self, content: bytes, status: int, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
