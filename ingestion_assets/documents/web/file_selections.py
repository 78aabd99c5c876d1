"""The files that a request selects, by name or by pattern, found at their sources and frozen."""

from collections.abc import Mapping, Sequence
from typing import Any

from ingestion_assets.documents import file_paths, source_connections
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.file_globs import is_glob
from ingestion_assets.documents.flow import FileEntry
from ingestion_assets.documents.frozen_files import frozen
from ingestion_assets.documents.job_requests import FileSelection, JobRequest
from ingestion_assets.documents.settings import documents_settings
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.sources.listing import (
    MOST_GLOBS,
    Selection,
    TooManyGlobsError,
    select,
)
from ingestion_assets.documents.sources.source import Entry
from ingestion_assets.frontdoor.door import FrontDoor
from ingestion_assets.frontdoor.problems import Problem, error_item, invalid

MISSING_NAMED = 50
_DOWN = frozenset({"download_failed", "needs_reauth"})


def expanded(door: FrontDoor, request: JobRequest, connections: Mapping[str, Connection]) -> list[FileEntry]:
    """Each selected file once. Raises `Problem` 400 for what is not there, 422 for too many globs, 503 where a source is away."""
    files: dict[tuple[str, str], FileEntry] = {}
    missing: list[dict[str, Any]] = []
    globs = 0
    for number, selection in enumerate(request.file_selections):
        one = connections[selection.connection_id]
        try:
            found = _select(door, request, one, selection, most_globs=MOST_GLOBS - globs)
        except TooManyGlobsError as error:
            why = f"{globs + error.globs:,} of the ids so far are no files but globs; a request has {MOST_GLOBS} globs at most"
            place = ("body", "file_selections", number, "file_ids")
            raise invalid([error_item(*place, msg=why, type="too_many_globs")]) from None
        globs += found.globs
        for entry in found.entries:
            files.setdefault((one.id, entry.file_id), frozen(one, entry))
        missing += [_missing(number, file_id, why) for file_id, why in found.missing.items()]
    if missing:
        names = "; ".join(item["msg"] for item in missing[:MISSING_NAMED])
        raise Problem(400, f"Invalid file selection: {names}", errors=missing[:MISSING_NAMED])
    return list(files.values())


def _missing(number: int, file_id: str, why: str | None) -> dict[str, Any]:
    said = f"not found: {file_id[:200]}" + (f" ({why})" if why else "")
    return error_item("body", "file_selections", number, "file_ids", msg=said, type="not_found")


def _select(
    door: FrontDoor, request: JobRequest, one: Connection, selection: FileSelection, *, most_globs: int
) -> Selection:
    """A source that is away is no reason to refuse files that are named: then they fail, or are there, when their time comes."""
    source_options = request.processing_options.source_specific_options
    try:
        source = source_connections.open_source(
            one, door.settings, source_connections.fetching(source_options)
        )
        try:
            return select(
                source, selection.file_ids, include=source_options.include, exclude=source_options.exclude,
                most_globs=most_globs,
            )  # fmt: skip
        finally:
            source.close()
    except FileError as error:
        if error.code in _DOWN and not any(map(is_glob, selection.file_ids)):
            return _unseen(selection.file_ids)
        status = 503 if error.code in _DOWN else 400
        raise Problem(
            status, f"The connection {one.id} cannot be listed: {error.sentence}", code=error.code
        ) from error


def _unseen(file_ids: Sequence[str]) -> Selection:
    """Files as they are named, by a source that cannot be asked."""
    ids = dict.fromkeys(file_ids)
    unsafe = {one: why for one in ids if (why := file_paths.unsafe(one)) is not None}
    return Selection([Entry(file_id=one, path=one) for one in ids if one not in unsafe], {**unsafe})


def check_number(files: Sequence[FileEntry]) -> None:
    """Raises `Problem` for no file, and for too many."""
    most = documents_settings().documents_max_files
    if not files:
        raise Problem(400, "Invalid file selection: it selects no file.")
    if len(files) > most:
        why = f"they select {len(files):,} files; a job has {most:,} at most"
        raise invalid([error_item("body", "file_selections", msg=why, type="too_many_files")])
