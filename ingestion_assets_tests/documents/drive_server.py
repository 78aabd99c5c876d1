"""Google Drive for tests: routes, parameters and field names are those of the discovery document in google-api-python-client, so that what
Google would refuse is refused here; files, changes and mishaps are the test's."""

import hashlib
import json
import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files as resources
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

_DOCUMENT = json.loads(
    (resources("googleapiclient") / "discovery_cache" / "documents" / "drive.v3.json").read_text(
        encoding="utf-8"
    )
)
APPS = "application/vnd.google-apps."
FOLDER = APPS + "folder"
ROOT = "root-of-my-drive"
REFRESH_TOKEN = "planted-refresh-token"
EXPORT_LIMIT = 10 * 2**20
OAUTH = {
    "client_id": "app.example.com",
    "client_secret": "planted-client-secret",
    "refresh_token": REFRESH_TOKEN,
}


class RefusedError(Exception):
    """An answer that is an error."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        self.status, self.reason, self.headers = status, reason, dict(headers or {})


@dataclass(slots=True)
class Mishap:
    """The next `times` calls whose address has `where` in it end in `error`, or break off after `bytes_`."""

    where: str
    times: int = 1
    error: RefusedError | None = None
    bytes_: int | None = None


@dataclass
class Drive:
    """What is stored. All that changes it is logged, as Google does."""

    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    content: dict[str, bytes] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    mishaps: list[Mishap] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    page_size: int = 3
    forgets_before: int = 0
    revoked: bool = False
    incomplete: bool = False
    url: str = ""
    lock: Any = field(default_factory=threading.RLock)

    def add(
        self,
        name: str,
        content: bytes | str | None = None,
        *,
        parent: str = ROOT,
        mime: str = "text/plain",
        **more: Any,
    ) -> str:
        id_ = more.pop("id", None) or uuid.uuid4().hex
        with self.lock:
            parents = [parent] if parent else []
            self.files[id_] = {
                "id": id_,
                "name": name,
                "mimeType": mime,
                "parents": parents,
                "trashed": False,
                **more,
            }
            drive = self.files.get(parent, {}).get("driveId")
            if drive and "driveId" not in more:
                self.files[id_]["driveId"] = drive
            if content is not None:
                self.write(id_, content)
            self.touch(id_)
        return id_

    def folder(self, name: str, *, parent: str = ROOT, **more: Any) -> str:
        return self.add(name, parent=parent, mime=FOLDER, **more)

    def shortcut(self, name: str, target: str, *, parent: str = ROOT) -> str:
        mime = self.files.get(target, {}).get("mimeType", "text/plain")
        details = {"targetId": target, "targetMimeType": mime}
        return self.add(name, parent=parent, mime=APPS + "shortcut", shortcutDetails=details)

    def write(self, id_: str, content: bytes | str) -> None:
        data = content.encode() if isinstance(content, str) else content
        with self.lock:
            self.content[id_] = data
            if not self.files[id_]["mimeType"].startswith(APPS):
                hashes = {
                    "md5Checksum": hashlib.md5(data, usedforsecurity=False).hexdigest(),
                    "sha256Checksum": hashlib.sha256(data).hexdigest(),
                }
                self.files[id_].update(hashes, size=str(len(data)))
            self.touch(id_)

    def touch(self, id_: str) -> None:
        with self.lock:
            self.log.append(id_)
            at = len(self.log)
            self.files[id_]["modifiedTime"] = (
                f"2026-01-31T{at // 3600 % 24:02d}:{at // 60 % 60:02d}:{at % 60:02d}.000Z"
            )

    def change(self, id_: str, **values: Any) -> None:
        """Other facts of a file: its name, its parents, `trashed`."""
        with self.lock:
            self.files[id_].update(values)
            self.log.append(id_)

    def remove(self, id_: str) -> None:
        """Deleted for good, or shared no more: which of both, Google does not say."""
        with self.lock:
            self.files.pop(id_, None)
            self.log.append(id_)

    def mishap(
        self,
        where: str,
        status: int = 0,
        reason: str = "",
        *,
        times: int = 1,
        bytes_: int | None = None,
        **headers: str,
    ) -> None:
        error = (
            RefusedError(status, reason, {name.replace("_", "-"): value for name, value in headers.items()})
            if status
            else None
        )
        self.mishaps.append(Mishap(where, times, error, bytes_))

    def happens(self, where: str) -> Mishap | None:
        with self.lock:
            for one in self.mishaps:
                if one.where in where and one.times:
                    one.times -= 1
                    return one
        return None


@contextmanager
def drive_server() -> Iterator[Drive]:
    """A server within the block, with an empty My Drive."""
    drive = Drive()
    drive.add("My Drive", parent="", mime=FOLDER, id=ROOT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"drive": drive}))
    server.daemon_threads = True
    drive.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield drive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    drive: Drive
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.drive.calls.append(f"POST {self.path}")
        known = body.get("refresh_token") == [REFRESH_TOKEN] or "assertion" in body
        if self.path != "/token" or not known or self.drive.revoked:
            self._send(
                400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
            )
            return
        token = uuid.uuid4().hex
        self.drive.tokens.add(token)
        self._send(200, {"access_token": token, "expires_in": 3600, "token_type": "Bearer"})

    def do_GET(self) -> None:
        self.drive.calls.append(f"GET {self.path}")
        try:
            mishap = self.drive.happens(self.path)
            if mishap and mishap.error:
                raise mishap.error
            if self.headers.get("Authorization", "").removeprefix("Bearer ") not in self.drive.tokens:
                raise RefusedError(401, "authError")
            method, values, asked = _method_of(self.path)
            answer = getattr(self, f"_{method}")({**asked, **values})
            if isinstance(answer, bytes):
                self._send_bytes(answer, mishap.bytes_ if mishap else None)
            else:
                self._send(200, answer)
        except RefusedError as error:
            said = {
                "error": {
                    "code": error.status,
                    "message": error.reason,
                    "errors": [{"reason": error.reason, "domain": "global"}],
                }
            }
            self._send(error.status, said, error.headers)

    def _files_list(self, asked: dict[str, Any]) -> dict[str, Any]:
        with self.drive.lock:
            found = [
                one
                for one in self.drive.files.values()
                if _fits(one, asked.get("q", "")) and one["id"] != ROOT
            ]
        if asked.get("corpora") == "drive":
            if not asked.get("includeItemsFromAllDrives") or not asked.get("supportsAllDrives"):
                raise RefusedError(403, "teamDrivesNotSupported")
            found = [one for one in found if one.get("driveId") == asked["driveId"]]
        else:
            found = [one for one in found if not one.get("driveId")]
        start = int(asked.get("pageToken") or 0)
        end = start + min(self.drive.page_size, int(asked.get("pageSize", 100)))
        answer = {
            "files": [_chosen(one, _within(asked["fields"], "files")) for one in found[start:end]],
            "incompleteSearch": self.drive.incomplete,
        }
        return answer | ({"nextPageToken": str(end)} if end < len(found) else {})

    def _files_get(self, asked: dict[str, Any]) -> dict[str, Any] | bytes:
        file = self._file(asked["fileId"])
        if asked.get("alt") != "media":
            return _chosen(file, _names(asked["fields"]))
        if file["mimeType"].startswith(APPS):
            raise RefusedError(403, "fileNotDownloadable")
        return self.drive.content[file["id"]]

    def _files_export(self, asked: dict[str, Any]) -> bytes:
        file = self._file(asked["fileId"])
        if not file["mimeType"].startswith(APPS):
            raise RefusedError(403, "fileNotExportable")
        data = self.drive.content[file["id"]]
        if len(data) > EXPORT_LIMIT:
            raise RefusedError(403, "exportSizeLimitExceeded")
        return asked["mimeType"].encode() + b"\n" + data

    def _changes_getStartPageToken(self, _asked: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - the method's name
        return {"startPageToken": str(len(self.drive.log))}

    def _changes_list(self, asked: dict[str, Any]) -> dict[str, Any]:
        at = int(asked["pageToken"])
        if at < self.drive.forgets_before:
            raise RefusedError(410, "pageTokenExpired")
        with self.drive.lock:
            end = min(len(self.drive.log), at + self.drive.page_size)
            names = _within(_within_text(asked["fields"], "changes"), "file")
            changes = []
            for id_ in self.drive.log[at:end]:
                file = self.drive.files.get(id_)
                changes.append(
                    {"changeType": "file", "fileId": id_, "removed": file is None}
                    | ({"file": _chosen(file, names)} if file else {})
                )
            more = (
                {"nextPageToken": str(end)} if end < len(self.drive.log) else {"newStartPageToken": str(end)}
            )
        return {"changes": changes, **more}

    def _file(self, id_: str) -> dict[str, Any]:
        file = self.drive.files.get(ROOT if id_ == "root" else id_)
        if file is None:
            raise RefusedError(404, "notFound")
        return file

    def _send(self, status: int, body: object, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _send_bytes(self, data: bytes, break_after: int | None) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start = int(wanted[1]) if wanted else 0
        part = data[start : int(wanted[2]) + 1 if wanted and wanted[2] else None]
        if wanted and not part:
            raise RefusedError(416, "requestedRangeNotSatisfiable", {"Content-Range": f"bytes */{len(data)}"})
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part if break_after is None else part[:break_after])
        if break_after is not None:
            self.close_connection = True


def _method_of(address: str) -> tuple[str, dict[str, str], dict[str, Any]]:
    """The method, what its path says, and its parameters as the discovery document has them. Raises `RefusedError` for any other."""
    parts = urlsplit(address)
    path = parts.path.removeprefix("/drive/v3/")
    for resource in ("files", "changes"):
        for name, method in _DOCUMENT["resources"][resource]["methods"].items():
            pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", re.escape(method["path"]))
            found = re.fullmatch(pattern, path)
            if found and method["httpMethod"] == "GET" and parts.path.startswith("/drive/v3/"):
                values = {key: unquote(value) for key, value in found.groupdict().items()}
                return f"{resource}_{name}", values, _parameters(method, parts.query, values)
    raise RefusedError(404, "unknownMethod")


def _parameters(method: dict[str, Any], query: str, given: Mapping[str, str]) -> dict[str, Any]:
    known = {**_DOCUMENT["parameters"], **method["parameters"]}
    asked: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known or name in asked:
            raise RefusedError(400, f"unknownParameter {name}")
        kind = known[name]
        if kind["type"] == "boolean":
            if value not in {"true", "false"}:
                raise RefusedError(400, f"invalidParameter {name}")
            asked[name] = value == "true"
        elif kind["type"] == "integer":
            if not int(kind.get("minimum", 0)) <= int(value) <= int(kind.get("maximum", 2**31)):
                raise RefusedError(400, f"invalidParameter {name}")
            asked[name] = int(value)
        else:
            asked[name] = value
    lacking = [
        name
        for name, kind in method["parameters"].items()
        if kind.get("required") and name not in {*asked, *given}
    ]
    if lacking:
        raise RefusedError(400, f"required {lacking[0]}")
    if "response" in method and "fields" in asked:
        _check_fields(asked["fields"], _DOCUMENT["schemas"][method["response"]["$ref"]])
    return asked


def _check_fields(text: str, schema: dict[str, Any]) -> None:
    for name in _names(text):
        inner = _within_text(text, name)
        kind = schema["properties"].get(name)
        if kind is None:
            raise RefusedError(400, f"invalidParameter fields {name}")
        kind = kind.get("items", kind)
        if inner:
            _check_fields(inner, _DOCUMENT["schemas"][kind["$ref"]] if "$ref" in kind else kind)


def _names(text: str) -> set[str]:
    """The names of a `fields` at its outermost level."""
    while "(" in text:
        text = re.sub(r"\([^()]*\)", "", text)
    return {one for one in text.split(",") if one}


def _within_text(text: str, name: str) -> str:
    found = re.search(rf"(?<!\w){name}\(", text)
    if not found:
        return ""
    depth = 1
    for at in range(found.end(), len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return text[found.end() : at]
    raise RefusedError(400, "invalidParameter fields")


def _within(text: str, name: str) -> set[str]:
    return _names(_within_text(text, name))


def _chosen(file: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in file.items() if name in names}


def _fits(file: Mapping[str, Any], query: str) -> bool:
    """Of the query language: parents, joined by `or`, and `trashed = false`. Anything else is refused."""
    rest = re.sub(r"'[\w-]+' in parents|trashed = (true|false)|and|or|[() ]", "", query)
    if rest:
        raise RefusedError(400, f"invalid query {rest}")
    parents = set(re.findall(r"'([\w-]+)' in parents", query))
    return (not parents or bool(parents & set(file["parents"]))) and (
        "trashed = false" not in query or not file["trashed"]
    )
