"""Landing storage in an object store: S3 and its kin, by URL."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from ingestion_assets.landing.drops import LandingUnavailableError, UncertainLandingError
from ingestion_assets.landing.storage import InboxFile, minute_folder, still_written

if TYPE_CHECKING:
    from obstore.store import ObjectStore


MARK = "segments.mark"
"""An object that is read or written to see whether the store answers: reading it is a twelfth of the price of a LIST."""
RETRY_S = timedelta(seconds=20)  # a call that is not answered within 30 s fails by itself


def open_object_storage(url: str) -> "ObjectStorage":
    """The store of this URL, with its credentials and other options from the environment: `AWS_ENDPOINT_URL`, `AWS_ALLOW_HTTP`, …"""
    from obstore.store import from_url  # noqa: PLC0415

    store = from_url(url, retry_config={"max_retries": 2, "retry_timeout": RETRY_S})
    return ObjectStorage(store, url)


class ObjectStorage:
    """An object store: a PUT is durable once acknowledged."""

    remote = True

    def __init__(self, store: "ObjectStore", url: str) -> None:
        self.store = store
        self.url = url
        self._takes_writes = False  # as the last write says

    def write(self, path: str, data: bytes) -> None:
        try:
            self._put(path, data)
        except LandingUnavailableError:
            self._takes_writes = False
            raise
        self._takes_writes = True

    def _put(self, path: str, data: bytes) -> None:
        from obstore import exceptions  # noqa: PLC0415

        refusals = (
            exceptions.PermissionDeniedError,
            exceptions.UnauthenticatedError,
            exceptions.NotFoundError,
            exceptions.InvalidPathError,
            exceptions.NotSupportedError,
        )
        try:
            self.store.put(path, data)
        except (*refusals, FileNotFoundError, PermissionError) as error:
            raise LandingUnavailableError(f"landing storage {self.url}: {error}") from error
        except (
            exceptions.BaseError,
            OSError,
        ) as error:  # the answer to a PUT that was done may have been lost
            raise UncertainLandingError(f"landing storage {self.url}: {error}") from error

    def take_back(self, path: str) -> bool:  # noqa: ARG002
        return False  # a PUT that failed late may still be done after a deletion

    def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        from obstore.exceptions import BaseError, NotFoundError  # noqa: PLC0415

        try:
            if length is None:
                return bytes(self.store.get(path).bytes())[offset:]
            return bytes(self.store.get_range(path, start=offset, length=length))
        except (FileNotFoundError, NotFoundError) as error:
            self.reach()  # a bucket that is not there has no objects either
            raise FileNotFoundError(f"{self.url}: there is no {path}") from error
        except (BaseError, OSError) as error:
            raise LandingUnavailableError(f"landing storage {self.url}: {path}: {error}") from error

    def list(self, prefix: str) -> Iterator[str]:
        for page in self.store.list(f"{prefix}/"):
            yield from sorted(item["path"] for item in page)

    def minutes(self, first: datetime, last: datetime) -> Iterator[str]:
        """With one LIST for each day, and one more for each thousand paths."""
        from obstore.store import LocalStore  # noqa: PLC0415

        in_order = not isinstance(self.store, LocalStore)
        end = f"{minute_folder(last)}/~"
        day = first.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        while day <= last:
            start = minute_folder(max(day, first))
            for page in self.store.list(f"{start.rpartition('/')[0]}/", offset=start, chunk_size=1000):
                paths = sorted(item["path"] for item in page)
                yield from (path for path in paths if start < path <= end)
                if in_order and paths and paths[-1] > end:
                    break
            day += timedelta(days=1)

    def segment_folders(self) -> Iterator[tuple[str, int | None]]:
        for day in reversed(self.folders("segments")):
            yield f"segments/{day}", None

    def used_inboxes(self, flows: Iterable[str]) -> Sequence[str]:
        """With one LIST: a store has no folders but those of its objects."""
        there = {path.strip("/") for path in self.store.list_with_delimiter()["common_prefixes"]}
        return [flow for flow in flows if flow in there]

    def inbox(self, flow: str) -> Iterator[InboxFile]:
        for page in self.store.list(f"{flow}/inbox/"):
            for item in page:
                if not still_written(item["path"].rsplit("/", 1)[-1]):
                    yield InboxFile(item["path"], item["size"], item["last_modified"])

    def move(self, source: str, target: str) -> None:
        self.store.rename(source, target)

    def folders(self, prefix: str) -> Sequence[str]:
        found = self.store.list_with_delimiter(f"{prefix}/")["common_prefixes"]
        return sorted(path.rstrip("/").rsplit("/", 1)[-1] for path in found)

    def remove(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self.store.delete(path)

    def remove_folder(self, prefix: str) -> None:
        for page in self.store.list(f"{prefix}/"):
            self.store.delete([item["path"] for item in page])

    def probe(self) -> None:
        """Reads, which costs less, once something was written; many that may read may not write."""
        if self._takes_writes:
            self.reach()
        else:
            self.write(MARK, b"")

    def reach(self) -> None:
        from obstore.exceptions import BaseError, NotFoundError  # noqa: PLC0415

        try:
            try:
                self.store.head(MARK)
            except (FileNotFoundError, NotFoundError):
                self.store.put(MARK, b"")  # fails where the bucket is not there
        except (BaseError, OSError) as error:
            raise LandingUnavailableError(f"landing storage {self.url}: {error}") from error
