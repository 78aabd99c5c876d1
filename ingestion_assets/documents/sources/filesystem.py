"""Files of any filesystem that fsspec knows and the settings allow: s3, gs, https, sftp."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingestion_assets.documents import file_paths
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.documents.sources import filesystem_options
from ingestion_assets.documents.sources.source import (
    PART_BYTES,
    Changes,
    Entry,
    Fetched,
    Progress,
    Stopped,
    check_offered,
    never,
    save,
    untold,
)

BLOCK_BYTES = 1 << 20
_DIGESTS = (("ETag", "etag"), ("etag", "etag"), ("md5Hash", "md5"), ("content_md5", "md5"))
_TIMES = ("LastModified", "last_modified", "modified", "mtime", "updated")


class FilesystemSource:
    """What lies below `path` in a filesystem."""

    def __init__(
        self, protocol: str, path: str, options: Mapping[str, Any], settings: DocumentsSettings
    ) -> None:
        import fsspec  # noqa: PLC0415

        self._protocol = protocol
        try:
            kind = fsspec.get_filesystem_class(protocol)
            made = filesystem_options.made(protocol, path, options, settings)
            # Instances are shared by their options otherwise, and what they listed is kept.
            self._fs: Any = kind(**made, skip_instance_cache=True, use_listings_cache=False)
            self._root: str = self._fs._strip_protocol(filesystem_options.address(protocol, path)).rstrip("/")
        except (ImportError, ValueError) as error:
            raise FileError(
                "access_denied", "accessing", f"The filesystem {protocol} cannot be used here: {error}."
            ) from error
        except Exception as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Connections end with the filesystem; there is no other way that all of them have."""

    def test(self) -> None:
        try:
            if not self._fs.exists(self._root) and not self._fs.ls(self._root):
                raise FileNotFoundError(self._root)
        except Exception as error:
            raise self._failed(error) from error

    def entries(self) -> Iterator[Entry]:
        try:
            found = self._fs.find(self._root, detail=True)
            if not found and not self._fs.exists(self._root):
                raise FileNotFoundError(self._root)
        except Exception as error:
            raise self._failed(error) from error
        made = [self._entry(info) for name, info in found.items() if not name.endswith("/")]
        return iter(sorted((one for one in made if one is not None), key=lambda one: one.place))

    def entry(self, file_id: str) -> Entry | None:
        why = file_paths.unsafe(file_id)
        if why:
            return _unsafe(file_id, why)
        try:
            info = self._fs.info(f"{self._root}/{file_id}")
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._failed(error) from error
        return self._entry(info) if info.get("type") == "file" else None

    def fetch(
        self,
        file_id: str,
        into: Path,
        *,
        max_bytes: int,
        stopped: Stopped = never,
        progress: Progress = untold,
    ) -> Fetched:
        entry = check_offered(self.entry(file_id), file_id, max_bytes)
        try:
            with self._fs.open(f"{self._root}/{file_id}", "rb", block_size=BLOCK_BYTES) as file:
                fetched = save(
                    entry, iter(lambda: file.read(PART_BYTES), b""), into,
                    max_bytes=max_bytes, stopped=stopped, progress=progress, of=entry.size,
                )  # fmt: skip
            now = self.entry(file_id)
        except FileError as error:
            raise self._changed(entry) or error from error
        except Exception as error:
            raise self._changed(entry) or self._failed(error, entry) from error
        if now is None or now.version != entry.version or entry.size not in {None, fetched.size}:
            into.unlink(missing_ok=True)
            raise _changed(entry)
        return fetched

    def digest(self, file_id: str) -> str | None:  # noqa: ARG002 - it would be a download
        return None

    def start_token(self) -> str | None:
        return None

    def changes(self, token: str) -> Changes:  # noqa: ARG002 - what others need it for
        return Changes(token=None, whole=True)

    def _changed(self, entry: Entry) -> FileError | None:
        """That a file that could not be read is another one now, if so."""
        try:
            now = self.entry(entry.file_id)
        except FileError:
            return None
        return None if now is None or now.version == entry.version else _changed(entry)

    def _entry(self, info: Mapping[str, Any]) -> Entry | None:
        name = self._fs._strip_protocol(info["name"])
        if not name.startswith(f"{self._root}/"):
            return None  # a page of links may name what lies elsewhere
        path = name[len(self._root) + 1 :]
        why = file_paths.unsafe(path)
        if why:
            return _unsafe(path, why)
        digest = next((f"{kind}:{info[key]}" for key, kind in _DIGESTS if info.get(key)), None)
        size = info.get("size")
        modified = next((info[key] for key in _TIMES if info.get(key) is not None), None)
        told = digest or (f"{size}:{modified}" if modified is not None else None)
        return Entry(
            file_id=path, path=path, size=int(size) if size is not None else None, mime=info.get("mimetype"),
            digest=digest, version=told, modified=_time(modified), ignored=file_paths.ignored(path),
        )  # fmt: skip

    def _failed(self, error: Exception, entry: Entry | None = None) -> FileError:
        """In words that hold no address, no key and no content: the messages of libraries do."""
        where = entry.path if entry else f"The filesystem {self._protocol}"
        stage = "downloading" if entry else "accessing"
        if isinstance(error, FileError):
            return error
        if isinstance(error, filesystem_options.ForbiddenHostError):
            return FileError("access_denied", stage, f"{where}: {error}.")
        kind = type(error).__name__
        if isinstance(error, PermissionError) or kind in {
            "NoCredentialsError",
            "AuthenticationException",
            "ClientAuthenticationError",
        }:
            return FileError(
                "needs_reauth" if entry is None else "access_denied", stage,
                f"{where}: the credentials do not open it; give the connection others.",
            )  # fmt: skip
        if isinstance(error, FileNotFoundError):
            return FileError("not_found", stage, f"{where}: there is nothing at that place.")
        return FileError("download_failed", stage, f"{where}: it cannot be reached or read ({kind}).")


def check(protocol: str, path: str, options: Mapping[str, Any], settings: DocumentsSettings) -> None:
    """Whether such a filesystem may be connected. Raises `ConfigError`."""
    import fsspec  # noqa: PLC0415

    from ingestion_assets.documents.sources.opening import ConfigError  # noqa: PLC0415

    try:
        filesystem_options.made(protocol, path, options, settings)
        fsspec.get_filesystem_class(protocol)
    except filesystem_options.OptionError as error:
        raise ConfigError(("config", *error.where), str(error)) from error
    except filesystem_options.ForbiddenHostError as error:
        raise ConfigError(("config",), str(error)) from error
    except ImportError as error:
        raise ConfigError(("source_type",), f"this server lacks what {protocol} needs: {error}") from error


def _changed(entry: Entry) -> FileError:
    return FileError("source_changed", "downloading", f"{entry.path}: it changed while it was read.")


def _unsafe(path: str, why: str) -> Entry:
    shown = file_paths.shown(path)
    return Entry(
        file_id=shown, path=shown, refused="unsafe_path", sentence=f"{shown}: the path is not taken: {why}."
    )


def _time(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    return None
