"""The files that a request selects, by name or by pattern, found at their sources and frozen."""

from collections.abc import Mapping, Sequence
from typing import Any

from ingestion_assets.documents import source_connections
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.flow import FileEntry
from ingestion_assets.documents.frozen_files import frozen
from ingestion_assets.documents.job_requests import FileSelection, JobRequest
from ingestion_assets.documents.settings import documents_settings
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.sources.listing import select
from ingestion_assets.documents.sources.source import Entry, FetchOptions
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.problems import Problem, error_item, invalid

MISSING_NAMED = 50
_DOWN = frozenset({"download_failed", "needs_reauth"})


def expanded(door: FrontDoor, request: JobRequest, connections: Mapping[str, Connection]) -> list[FileEntry]:
    """Each selected file once. Raises `Problem` 400 for what is not there, 503 where a source is away."""
    files: dict[tuple[str, str], FileEntry] = {}
    missing: list[dict[str, Any]] = []
    for number, selection in enumerate(request.file_selections):
        one = connections[selection.connection_id]
        entries, lacking = _select(door, request, one, selection)
        for entry in entries:
            files.setdefault((one.id, entry.file_id), frozen(one, entry))
        missing += [
            error_item(
                "body",
                "file_selections",
                number,
                "file_ids",
                msg=f"not found: {file_id[:200]}",
                type="not_found",
            )
            for file_id in lacking
        ]
    if missing:
        names = "; ".join(item["msg"] for item in missing[:MISSING_NAMED])
        raise Problem(400, f"Invalid file selection: {names}", errors=missing[:MISSING_NAMED])
    return list(files.values())


def _select(
    door: FrontDoor, request: JobRequest, one: Connection, selection: FileSelection
) -> tuple[list[Entry], list[str]]:
    """A source that is away is no reason to refuse files that are named: then they fail, or are there, when their time comes."""
    source_options = request.processing_options.source_specific_options
    fetching = FetchOptions(
        encoding=source_options.encoding, export_formats=source_options.export_formats or None,
        follow_shortcuts=source_options.follow_shortcuts,
    )  # fmt: skip
    try:
        source = source_connections.open_source(one, door.settings, fetching)
        try:
            found = select(
                source, selection.file_ids, include=source_options.include, exclude=source_options.exclude
            )
        finally:
            source.close()
    except FileError as error:
        named = not any(map(_is_glob, selection.file_ids))
        if error.code in _DOWN and named:
            return [Entry(file_id=file_id, path=file_id) for file_id in dict.fromkeys(selection.file_ids)], []
        status = 503 if error.code in _DOWN else 400
        raise Problem(
            status, f"The connection {one.id} cannot be listed: {error.sentence}", code=error.code
        ) from error
    return list(found.entries), list(found.missing)


def _is_glob(file_id: str) -> bool:
    return any(sign in file_id for sign in "*?[")


def check_number(files: Sequence[FileEntry]) -> None:
    """Raises `Problem` for no file, and for too many."""
    most = documents_settings().documents_max_files
    if not files:
        raise Problem(400, "Invalid file selection: it selects no file.")
    if len(files) > most:
        why = f"they select {len(files):,} files; a job has {most:,} at most"
        raise invalid([error_item("body", "file_selections", msg=why, type="too_many_files")])
