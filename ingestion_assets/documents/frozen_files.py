"""Files of a job as they were when it was made: what a source says of them later is another file."""

from ingestion_assets.documents.flow import FileEntry
from ingestion_assets.documents.source_connections import Connection
from ingestion_assets.documents.sources.source import Entry


def frozen(one: Connection, entry: Entry) -> FileEntry:
    """A file as its source names it now."""
    modified = None if entry.modified is None else entry.modified.isoformat()
    return FileEntry(
        one.id, one.source_type, entry.file_id, entry.name, entry.path, entry.size, entry.mime, entry.digest, modified
    )  # fmt: skip
