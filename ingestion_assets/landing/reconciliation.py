"""Making landing storage and ledger agree: segments without rows, and files that someone put into an inbox."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

import sqlalchemy as sa
import structlog
import uuid_utils.compat
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ingestion_assets.landing.dispatch import announce
from ingestion_assets.landing.drops import LandingUnavailableError, NewDrop
from ingestion_assets.landing.flows import Flow, RefusedError
from ingestion_assets.landing.registration import Landed, known_key, register
from ingestion_assets.landing.segments import CorruptSegmentError, Header, Packed, encode, entries, pack
from ingestion_assets.landing.storage import (
    InboxFile,
    LandingStorage,
    minute_folder,
    segment_path,
    written_at,
)
from ingestion_assets.landing.tables import drops, landing_watermark
from ingestion_assets.stores.error_text import text_of

SLACK = timedelta(minutes=2)
FIRST_LOOK_BACK = timedelta(days=2)
SETTLED = timedelta(seconds=2)
INBOX_PRINCIPAL = "inbox"
_REFUSED = {"22", "54"}  # SQLSTATE classes: data exception, program limit exceeded

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one reconciliation found: late drops registered, segments (by path) that are corrupt or hold a drop that
    PostgreSQL refuses."""

    registered: int
    corrupt: tuple[str, ...]


def register_late(
    engine: sa.Engine,
    storage: LandingStorage,
    *,
    now: datetime | None = None,
    settled: timedelta = timedelta(0),
) -> Reconciled:
    """Register the drops of segments that the ledger does not know.

    Looks from the watermark on (the minute up to which all is known), so the cost does not grow with what is stored. Segments
    younger than `settled`, whose drops may be about to get their rows, are left for the next time.
    A drop that can never be registered is told of in the log, and holds up no other. Raises
    `LandingUnavailableError` if a segment cannot be read now, after all the others: it is looked at again until it can.
    """
    now = now or datetime.now(UTC)
    with engine.connect() as connection:
        watermark = all_known_until(connection) or now - FIRST_LOOK_BACK
    registered = 0
    known_until = now - SLACK
    corrupt: list[str] = []
    unreadable: list[str] = []
    for minute in _minutes(watermark - SLACK, now + timedelta(minutes=1)):
        paths = list(storage.list(minute_folder(minute)))
        if not paths:
            continue
        with engine.connect() as connection:
            unknown = sorted(set(paths) - _known(connection, paths))
        for path in unknown:
            if settled and written_at(path) > now - settled:
                continue
            try:
                landed = [Landed(path, entry) for entry in entries(storage.read(path))]
            except FileNotFoundError:
                continue  # its payloads ended, and were kept for long enough
            except CorruptSegmentError as error:
                log.error("segment_corrupt", segment=path, error=str(error))
                corrupt.append(path)
                continue
            except LandingUnavailableError as error:
                storage.probe()
                log.error("segment_unreadable", segment=path, error=str(error))
                unreadable.append(path)
                known_until = min(known_until, minute)
                continue
            with (
                engine.begin() as connection
            ):  # for each by itself: whoever has just written it may be about to do the same
                taken = _register(connection, landed)
            registered += taken
            if taken < len(landed):
                corrupt.append(path)
    with engine.begin() as connection:
        statement = insert(landing_watermark).values(singleton=True, minute=known_until)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["singleton"], set_={"minute": statement.excluded.minute}
            )
        )
    if registered:
        log.info("registered_late", drops=registered)
    if unreadable:
        raise LandingUnavailableError(
            f"{len(unreadable)} segments cannot be read, {unreadable[0]} among them"
        )
    return Reconciled(registered, tuple(corrupt))


def all_known_until(connection: sa.Connection) -> datetime | None:
    """The watermark: the ledger knows what lies on landing storage up to this minute. None before the first look."""
    return connection.scalar(sa.select(landing_watermark.c.minute))


def _register(connection: sa.Connection, landed: list[Landed]) -> int:
    """The drops that have a row now: all of them, or all but those whose values PostgreSQL refuses."""
    try:
        with connection.begin_nested():
            register(connection, landed)
            announce(connection, [(one.header.flow, one.header.lane) for one in landed])
    except DBAPIError as error:
        if str(getattr(error.orig, "sqlstate", None))[:2] not in _REFUSED:
            raise
        if len(landed) > 1:
            return sum(_register(connection, [one]) for one in landed)
        log.error(
            "drop_refused", segment=landed[0].segment, drop=str(landed[0].header.id), error=str(error.orig)
        )
        return 0
    return len(landed)


def _minutes(start: datetime, end: datetime) -> Iterator[datetime]:
    minute = start.replace(second=0, microsecond=0)
    while minute <= end:
        yield minute
        minute += timedelta(minutes=1)


def _known(connection: sa.Connection, paths: list[str]) -> set[str]:
    query = sa.select(drops.c.segment).distinct()
    return set(
        connection.scalars(query.where(drops.c.segment == sa.any_(sa.literal(paths, sa.ARRAY(sa.Text)))))
    )


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the files of an inbox: landed, refused, or left where they are because of an error, to be tried again."""

    landed: int = 0
    refused: int = 0
    left: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(self.landed + other.landed, self.refused + other.refused, self.left + other.left)


def take_inbox(
    engine: sa.Engine,
    storage: LandingStorage,
    flow: Flow,
    *,
    max_bytes: int,
    now: datetime | None = None,
    at_most: int = 20,
) -> Taken:
    """Land the files of a flow's inbox, each moved to `<flow>/accepted/` or, if it is no payload or larger than `max_bytes`,
    to `<flow>/refused/`.

    Files written to within the last two seconds wait for the next look. A file that cannot be taken is told of in the log
    and holds up no other. A crash between landing and moving lands nothing twice. Raises `LandingUnavailableError` and what
    SQLAlchemy raises while the ledger is away.
    """
    now = now or datetime.now(UTC)
    total = Taken()
    for file in storage.inbox(flow.name):
        if total.landed + total.refused >= at_most:
            break
        if now - file.modified < SETTLED:
            continue
        try:
            total += _take(engine, storage, flow, file, max_bytes=max_bytes, now=now)
        except (OperationalError, InterfaceError, PoolTimeout):
            raise
        except Exception as error:
            storage.probe()
            log.exception("inbox_file_left", file=_printable(file.path), error=text_of(error))
            total += Taken(left=1)
    return total


def _take(
    engine: sa.Engine, storage: LandingStorage, flow: Flow, file: InboxFile, *, max_bytes: int, now: datetime
) -> Taken:
    name = file.path.removeprefix(f"{flow.name}/inbox/")
    try:
        if _printable(name) != name:
            raise RefusedError(f"the file's name, {_printable(name)}, is not UTF-8")
        if file.size > max_bytes:
            raise RefusedError(f"{name} has {file.size} bytes, more than the {max_bytes} a payload may have")
        _land(engine, storage, _read_file(storage, flow, file, name, now), now=now)
    except RefusedError as error:
        log.error("inbox_refused", file=_printable(file.path), reason=str(error))
        storage.move(file.path, f"{flow.name}/refused/{name}")
        storage.write(f"{flow.name}/refused/{name}.reason.txt", f"{error}\n".encode())
        return Taken(refused=1)
    storage.move(file.path, f"{flow.name}/accepted/{now:%Y-%m-%d}/{name}")
    return Taken(landed=1)


def _printable(name: str) -> str:
    """The name, with escapes for what is not UTF-8 in it."""
    return os.fsencode(name).decode(errors="backslashreplace")


def _land(engine: sa.Engine, storage: LandingStorage, packed: list[Packed], *, now: datetime) -> None:
    if not packed or _is_landed(engine, packed[0].header):
        return
    data, entered = encode(packed)
    path = segment_path(uuid_utils.compat.uuid7(), now)
    storage.write(path, data)
    try:
        with engine.begin() as connection:
            if _register(connection, [Landed(path, entry) for entry in entered]) < len(packed):
                raise RefusedError("PostgreSQL refuses its name or what it says of itself; the log tells why")
    except RefusedError:
        storage.remove(path)
        raise


def _is_landed(engine: sa.Engine, header: Header) -> bool:
    """Whether the file was landed before and could not be moved."""
    with engine.connect() as connection:
        return known_key(connection, header) is not None


def _read_file(
    storage: LandingStorage, flow: Flow, file: InboxFile, name: str, now: datetime
) -> list[Packed]:
    content = storage.read(file.path)
    key = sha256(content).hexdigest()
    packed = []
    for index, (body, attributes) in enumerate(flow.read_inbox(name, content)):
        drop_id = uuid_utils.compat.uuid7()
        partition = flow.partition_of(now, body.subject)
        drop = NewDrop(
            flow=flow.name,
            partition=partition,
            lane=flow.lane_of(partition, drop_id.int),
            principal=INBOX_PRINCIPAL,
            subject=body.subject,
            body=body.data,
            records=body.records,
            idempotency_key=f"{name}:{key}:{index}",
            attributes={**attributes, "file": name},
        )
        packed.append(pack(drop, drop_id=drop_id, received_at=now))
    return packed
