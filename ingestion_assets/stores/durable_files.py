"""Small files, and entries of folders, that survive a loss of power: whole, the new ones or those before."""

import os
import secrets
from contextlib import suppress
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Make its entries durable: a server's own syncs are worth nothing below a name that a power failure takes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Put `text` into `path`, whole or not at all; durably. Processes that write at once do not mix."""
    _draft(path, text, mode).replace(path)
    sync_folder(path.parent)


def write_private(path: Path, text: str) -> None:
    """The same, readable by us alone."""
    write_durably(path, text, mode=0o600)


def keep_private(path: Path, text: str) -> None:
    """The same, unless another process was first: then what it wrote stays."""
    draft = _draft(path, text, 0o600)
    with suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()
    sync_folder(path.parent)


def _draft(path: Path, text: str, mode: int) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.draft")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return draft
