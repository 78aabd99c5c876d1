"""Where segments lie: what the spine needs of landing storage, and how what lies there is called.

A local folder (`local_storage`) or any object store (`object_storage`).
Segments are filed by the minute in which they are written (`segments/2026-01-31/12-05/<uuid7>.seg`), so that finding those
which the ledger does not know yet means listing a few minutes as a rule, however much is stored. What lies elsewhere is found too,
by a walk over all folders (`late_segments`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from ingestion_assets.settings import Settings

ANSWERS_WITHIN_S = 10.0
"""What is not durable by then is answered for, and while the storage is stuck no more is taken."""


@dataclass(frozen=True, slots=True)
class InboxFile:
    """A file that someone put straight into `<flow>/inbox/`. `modified` tells when it was last written."""

    path: str
    size: int
    modified: datetime


class LandingStorage(Protocol):
    """What the spine needs of landing storage. Paths are relative, with `/`.

    `remote`: it is an object store, where a file that can be seen is whole, each look costs money, and answers may be long in coming.
    """

    @property
    def remote(self) -> bool: ...

    def write(self, path: str, data: bytes) -> None:
        """Durable on return, whole or not at all.

        Raises `LandingUnavailableError` where nothing was kept, and `UncertainLandingError` where that cannot be told.
        """
        ...

    def take_back(self, path: str) -> bool:
        """Undo a `write` that ended in `UncertainLandingError`: whether nothing of it is there, now and after a crash.

        Nobody else may look at the segment meanwhile (`registration.take_back`).
        """
        ...

    def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Bytes of an object. Raises `FileNotFoundError` if the storage is there and the object isn't, for ever.

        Raises `LandingUnavailableError` for whatever else goes wrong: that will pass.
        """
        ...

    def list(self, prefix: str) -> Iterator[str]:
        """Paths in a folder, none if it does not exist."""
        ...

    def minutes(self, first: datetime, last: datetime) -> Iterator[str]:
        """Paths in the folders of the minutes from the one of `first` to the one of `last`."""
        ...

    def segment_folders(self) -> Iterator[tuple[str, int | None]]:
        """The folders that `list` gives all segments of, newest name first, each with a mark that changes when its entries do.

        The mark is None where there is no such thing.
        """
        ...

    def used_inboxes(self, flows: Iterable[str]) -> Sequence[str]:
        """Those of these flows in whose inbox there may be files: cheaper than to look into each."""
        ...

    def inbox(self, flow: str) -> Iterator[InboxFile]:
        """Files in `<flow>/inbox/`, those still being written (hidden or `*.part`) left out."""
        ...

    def move(self, source: str, target: str) -> None: ...

    def folders(self, prefix: str) -> Sequence[str]:
        """Names of the folders in a folder, none if it does not exist."""
        ...

    def remove(self, path: str) -> None:
        """Delete an object, durably; one that is not there is fine."""
        ...

    def remove_folder(self, prefix: str) -> None:
        """Delete a folder with all that is in it."""
        ...

    def probe(self) -> None:
        """Raises `LandingUnavailableError` if nothing could be written now.

        After a `write` that failed it raises until something was written. It may be asked every other second.
        """
        ...

    def reach(self) -> None:
        """Raises `LandingUnavailableError` if the storage is not there, so that nothing can be said of what is in it."""
        ...


def segment_path(segment_id: UUID, at: datetime) -> str:
    return f"{minute_folder(at)}/{segment_id}.seg"


def written_at(path: str) -> datetime:
    """When the segment of this path was written; long ago for a file that someone put there under another name."""
    try:
        segment_id = UUID(path.rpartition("/")[2].removesuffix(".seg"))
        return datetime.fromtimestamp((segment_id.int >> 80) / 1000, UTC)
    except (ValueError, OverflowError):
        return datetime.min.replace(tzinfo=UTC)


def minute_folder(at: datetime) -> str:
    return at.astimezone(UTC).strftime("segments/%Y-%m-%d/%H-%M")


def still_written(name: str) -> bool:
    """Whether a file of this name is not to be looked at yet."""
    return name.startswith(".") or name.endswith((".part", ".tmp"))


def open_storage(settings: Settings) -> LandingStorage:
    """The landing storage that the settings name."""
    if settings.landing_url is None:
        from ingestion_assets.landing.local_storage import LocalStorage  # noqa: PLC0415

        return LocalStorage(settings.home / "landing")
    from ingestion_assets.landing.object_storage import open_object_storage  # noqa: PLC0415

    return open_object_storage(settings.landing_url)
