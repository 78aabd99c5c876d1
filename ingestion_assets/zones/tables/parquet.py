"""A zone's Parquet files, in a folder or an object store: a file a payload, named by its receipt, so that a repetition writes the same.

Files are never changed, so there is no `version`, and of two records with one key the one that was stored first stays. Keys are kept
in PostgreSQL; they are noted once the files are there. While the store does not answer, or refuses, payloads wait: that is no fault of theirs.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import sqlalchemy as sa

from ingestion_assets.landing.drops import NotYetError
from ingestion_assets.zones import kept
from ingestion_assets.zones.frames import frame_of
from ingestion_assets.zones.record_types import Column
from ingestion_assets.zones.remembered_keys import RememberedKeys
from ingestion_assets.zones.tables.fixed_numbers import DIGITS, SCALE, misfit
from ingestion_assets.zones.tables.target import Rows, Shape, Stored, TableRefusedError, check_shape

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_SHAPE = "_shape.json"
_RETRY = timedelta(seconds=20)  # a call that is not answered within 30 s fails by itself
_PLACE = (Column("_receipt", "uuid", nullable=False), Column("_position", "integer", nullable=False))


def check(url: str, shape: Shape) -> None:
    """Raises `TableRefusedError` for what can be said without the store."""
    if shape.version is not None:
        raise TableRefusedError(
            ["Parquet files are never changed, so there is no version: leave it out, or name another table"]
        )
    check_shape(shape)
    if not url.startswith("file:"):
        _store_at(url)


def _store_at(url: str) -> "ObjectStore":
    """Raises `TableRefusedError`. Nobody is asked yet: the address is wrong then, or a setting."""
    from obstore.exceptions import BaseError  # noqa: PLC0415

    try:
        return _opened(url)
    except (ValueError, BaseError) as error:
        raise TableRefusedError([f"{url} cannot be opened: {_said(error)}"]) from error


class ParquetTable:
    """Files `<url>/<receipt>.parquet`; the URL is one of an object store (`s3://…`) or of a folder (`file://…`)."""

    def __init__(self, engine: sa.Engine, url: str, shape: Shape) -> None:
        self._engine = engine
        self._url = url.rstrip("/")
        self._zone = f"parquet:{self._url}"
        self.shape = shape

    def prepare(self) -> None:
        """Note the shape, which files of before must agree with. Raises `TableRefusedError`, `ConnectionError`, `NotYetError`."""
        check(self._url, self.shape)
        store = _store_at(self._url)
        with _answering(self._url):
            stood = _shape_in(store)
        if stood is not None:
            kinds = {column.name: column.kind for column in stood.columns}
            said = [
                f"{one.name} is {kinds[one.name]} in {self._url} and cannot become {one.kind}: name the new field otherwise, or another folder"
                for one in self.shape.columns
                if one.name in kinds and kinds[one.name] != one.kind
            ]
            if stood.key != self.shape.key:
                said.append(
                    f"the key of {self._url} is ({', '.join(stood.key)}): name another folder for another key"
                )
            if said:
                raise TableRefusedError(said)
            gone = [
                one for one in stood.columns if one.name not in {column.name for column in self.shape.columns}
            ]
            noted = Shape((*self.shape.columns, *gone), self.shape.key)
        else:
            noted = self.shape
        if noted != stood:
            with _answering(self._url):
                store.put(_SHAPE, msgspec.json.encode(noted))

    def store(self, parts: Iterable[Rows]) -> list[Stored]:
        """Write the files of the payloads that the rows come from, all of whose rows must be among them; what became of each row.

        Raises `ConnectionError` where the store does not answer, `NotYetError` where it refuses: no bucket, no permission.
        """
        rows = [
            (values, receipt, position)
            for part in parts
            for values, receipt, position in zip(part.values, part.receipts, part.positions, strict=True)
        ]
        with kept.one_at_a_time(self._engine, self._zone, when=bool(self.shape.key)):
            told, keys = self._judged(rows)
            files: dict[UUID, list[tuple[Any, ...]]] = {receipt: [] for _, receipt, _ in rows}
            for (values, receipt, position), what in zip(rows, told, strict=True):
                if what.status == "stored":
                    files[receipt].append((*values, receipt, position))
            store = _opened(self._url)
            with _answering(self._url):
                for receipt, of_payload in files.items():
                    self._write(store, receipt, of_payload)
            if keys:
                with self._engine.begin() as connection:
                    kept.keep_keys(connection, self._zone, keys, names=self.shape.key)
        return told

    def _judged(
        self, rows: list[tuple[tuple[Any, ...], UUID, int]]
    ) -> tuple[list[Stored], dict[bytes, kept.Place]]:
        """What is to become of the rows, and the keys that are new."""
        told = [misfit(self.shape.columns, values) or Stored("stored") for values, _, _ in rows]
        if not self.shape.key:
            return told, {}
        keys = RememberedKeys(
            self._engine, self._zone, columns=self.shape.columns, key=self.shape.key, values=[values for values, _, _ in rows]
        )  # fmt: skip
        holders, digests = keys.taken, keys.of
        new: dict[bytes, kept.Place] = {}
        for at, (_, receipt, position) in enumerate(rows):
            if told[at].status == "stored":
                if (holder := holders.get(digests[at])) is None:
                    holders[digests[at]] = new[digests[at]] = receipt, position
                elif holder != (receipt, position):
                    told[at] = Stored("duplicate", by=holder[0])
        return told, new

    def _write(self, store: "ObjectStore", receipt: UUID, rows: list[tuple[Any, ...]]) -> None:
        import polars as pl  # noqa: PLC0415

        name = f"{receipt}.parquet"
        if not rows:
            with suppress(FileNotFoundError):  # of a run that was lost, whose keys another has stored since
                store.delete(name)
            return
        body = BytesIO()
        frame = frame_of((*self.shape.columns, *_PLACE), rows, decimal=pl.Decimal(DIGITS, SCALE))
        frame.write_parquet(body)
        store.put(name, body.getvalue())


def _opened(url: str) -> "ObjectStore":
    from obstore.store import from_url  # noqa: PLC0415

    if url.startswith("file:"):
        Path(urlsplit(url).path).mkdir(parents=True, exist_ok=True)
        return from_url(url)
    return from_url(url, retry_config={"max_retries": 2, "retry_timeout": _RETRY})


@contextmanager
def _answering(url: str) -> Iterator[None]:
    """What the store does wrong is no payload's fault."""
    from obstore import exceptions as wrong  # noqa: PLC0415

    try:
        yield
    except (
        wrong.NotFoundError, wrong.PermissionDeniedError, wrong.UnauthenticatedError, FileNotFoundError, PermissionError,
    ) as error:  # fmt: skip
        raise NotYetError(f"{url} refuses what is to be stored: {_said(error)}") from error
    except wrong.BaseError as error:
        raise ConnectionError(f"{url} does not answer: {_said(error)}") from error


def _said(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]


def _shape_in(store: "ObjectStore") -> Shape | None:
    try:
        return msgspec.json.decode(bytes(store.get(_SHAPE).bytes()), type=Shape)
    except FileNotFoundError:
        return None
