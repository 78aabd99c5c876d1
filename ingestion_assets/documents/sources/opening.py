"""From a connection to an open source: which types there are, what each is configured with, and where it may lead."""

import os
import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ingestion_assets.documents import file_paths
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.settings import DocumentsSettings
from ingestion_assets.documents.sources.archive import ArchiveSource
from ingestion_assets.documents.sources.beneath import Root
from ingestion_assets.documents.sources.directory import DirectorySource, refused
from ingestion_assets.documents.sources.drive_config import DriveConfig
from ingestion_assets.documents.sources.source import FetchOptions, Source

DIRECTORY, ZIP, DRIVE = "local_directory", "local_zip", "google_drive"
_STRICT = ConfigDict(extra="forbid", hide_input_in_errors=True)


class ConfigError(ValueError):
    """A connection's configuration that cannot be taken: where, and why. Holds no value of it."""

    def __init__(self, where: tuple[str | int, ...], why: str) -> None:
        super().__init__(f"{'.'.join(map(str, where))}: {why}" if where else why)
        self.where = where
        self.why = why


class LocalConfig(BaseModel):
    """A folder or an archive of the machine."""

    model_config = _STRICT

    path: Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]+$")] = Field(
        description="Absolute, below one of the folders that `INGESTION_DOCUMENT_ROOTS` allows."
    )


class FilesystemConfig(BaseModel):
    """Any other type: a filesystem of fsspec by the name of its protocol."""

    model_config = _STRICT

    path: Annotated[str, Field(max_length=4096, pattern=r"^[^\x00]*$")] = Field(
        description="Where it begins: `bucket/folder`, `https://example.com/files/`."
    )
    options: dict[str, Any] = Field(
        default_factory=dict,
        description="What fsspec's filesystem takes, credentials among it: `key`, `secret`, `client_kwargs`.",
    )


def checked(source_type: str, config: Mapping[str, Any], settings: DocumentsSettings) -> BaseModel:
    """The configuration, as its type has it. Raises `ConfigError`."""
    kinds: dict[str, type[BaseModel]] = {DIRECTORY: LocalConfig, ZIP: LocalConfig, DRIVE: DriveConfig}
    kinds |= dict.fromkeys(_listed(settings.fsspec_protocols), FilesystemConfig)
    if source_type not in kinds:
        raise ConfigError(("source_type",), f"there are: {', '.join(kinds)}")
    try:
        made = kinds[source_type].model_validate(config)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise ConfigError(("config", *first["loc"]), first["msg"]) from None
    if isinstance(made, LocalConfig):
        _below_a_root(made.path, settings)
    if isinstance(made, FilesystemConfig):
        from ingestion_assets.documents.sources import filesystem  # noqa: PLC0415

        filesystem.check(source_type, made.path, made.options, settings)
    return made


def opened(
    source_type: str,
    config: Mapping[str, Any],
    settings: DocumentsSettings,
    options: FetchOptions | None = None,
) -> Source:
    """The source, open. Raises `FileError`, also where the settings allow it no more."""
    options = options or FetchOptions()
    try:
        made = checked(source_type, config, settings)
    except ConfigError as error:
        raise FileError(
            "access_denied", "accessing", f"The connection is not allowed any more: {error}."
        ) from error
    if isinstance(made, DriveConfig):
        from ingestion_assets.documents.sources.drive import DriveSource  # noqa: PLC0415

        return DriveSource(made, settings, options)
    if isinstance(made, FilesystemConfig):
        from ingestion_assets.documents.sources.filesystem import FilesystemSource  # noqa: PLC0415

        return FilesystemSource(source_type, made.path, made.options, settings)
    assert isinstance(made, LocalConfig)  # noqa: S101
    allowed, inside = _below_a_root(made.path, settings)
    root = None
    try:
        root = Root(allowed)
        if source_type == ZIP:
            return ArchiveSource(root.open_file(inside), options)
        return DirectorySource(Root(inside, within=root) if inside else Root(allowed))
    except OSError as error:
        found = refused(made.path, error)
        raise FileError(found.refused or "not_found", "accessing", found.sentence or "") from error
    finally:
        if root is not None:
            root.close()


def _below_a_root(path: str, settings: DocumentsSettings) -> tuple[str, str]:
    """The allowed folder that a path lies below, and the way from it. By the text alone: links are looked at when it is opened."""
    where = ("config", "path")
    allowed = _listed(settings.document_roots)
    if not allowed:
        raise ConfigError(where, "no folder of this machine is allowed: set INGESTION_DOCUMENT_ROOTS")
    for root in map(os.path.abspath, allowed):
        inside = path.rstrip("/").removeprefix(root.rstrip("/"))
        if path.rstrip("/") == root.rstrip("/"):
            return root, ""
        if inside.startswith("/") and len(inside) < len(path) and file_paths.unsafe(inside[1:]) is None:
            return root, inside[1:]
    raise ConfigError(where, "it lies below none of the folders that INGESTION_DOCUMENT_ROOTS allows")


def _listed(text: str) -> list[str]:
    return [one for one in re.split(r"\s*,\s*", text.strip()) if one]
