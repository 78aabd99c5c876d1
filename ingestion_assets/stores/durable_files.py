"""Small private files, and entries of folders, that survive a loss of power."""

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make its entries durable: a server's own syncs are worth nothing below a name that a power failure takes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_private(path: Path, text: str) -> None:
    """Put `text` into `path`, readable by us alone, whole or not at all; durably."""
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    with os.fdopen(
        os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
    ) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)
