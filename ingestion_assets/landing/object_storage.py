"""Landing storage in an object store: S3 and its kin, by URL."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from ingestion_assets.landing.drops import LandingUnavailableError, UncertainLandingError
from ingestion_assets.landing.storage import InboxFile, still_written

if TYPE_CHECKING:
    from obstore.store import ObjectStore


class ObjectStorage:
    """An object store: a PUT is durable once acknowledged."""

    def __init__(self, store: "ObjectStore", url: str) -> None:
        self.store = store
        self.url = url

    def write(self, path: str, data: bytes) -> None:
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

    def read(self, path: str, *, offset: int = 0, length: int | None = None) -> bytes:
        from obstore.exceptions import BaseError, NotFoundError  # noqa: PLC0415

        try:
            if length is None:
                return bytes(self.store.get(path).bytes())[offset:]
            return bytes(self.store.get_range(path, start=offset, length=length))
        except (FileNotFoundError, NotFoundError) as error:
            self.probe()  # a bucket that is not there has no objects either
            raise FileNotFoundError(f"{self.url}: there is no {path}") from error
        except (BaseError, OSError) as error:
            raise LandingUnavailableError(f"landing storage {self.url}: {path}: {error}") from error

    def list(self, prefix: str) -> Iterator[str]:
        for page in self.store.list(f"{prefix}/"):
            yield from sorted(item["path"] for item in page)

    def segment_folders(self) -> Iterator[tuple[str, int | None]]:
        for day in reversed(self.folders("segments")):
            yield f"segments/{day}", None

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
        from obstore.exceptions import BaseError  # noqa: PLC0415

        try:
            next(iter(self.store.list("segments/", chunk_size=1)), None)
        except (BaseError, OSError) as error:
            raise LandingUnavailableError(f"landing storage {self.url}: {error}") from error
