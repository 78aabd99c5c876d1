"""Segments that the ledger does not know yet: found by lying on landing storage, whatever a clock called them.

Three ways lead to them: the minutes since the last look, which is where nearly all are; a walk over all folders, a little at
each look, which finds what was written late or filed under a wrong time; and the list of segments that could not be
read, which are tried until they are whole or a person discards them. Files in inboxes are no segments: `inbox`.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple, cast

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from ingestion_assets.landing.channels import announce
from ingestion_assets.landing.drops import LandingUnavailableError
from ingestion_assets.landing.registration import Landed, hold_segment, is_registered, register
from ingestion_assets.landing.segments import contents
from ingestion_assets.landing.storage import LandingStorage, written_at
from ingestion_assets.landing.tables import drops, landing_watermark, unreadable_segments

SLACK = timedelta(minutes=2)
FIRST_LOOK_BACK = timedelta(days=2)
SETTLED = timedelta(seconds=2)
SWEEP_S = 0.25
PATHS_AT_ONCE = 1000
UNREADABLE_AT_ONCE = 20
_REFUSED = {"22", "54"}  # SQLSTATE classes: data exception, program limit exceeded
_UNKNOWN = sa.text("""
    SELECT path FROM unnest(CAST(:paths AS text[])) AS path
    WHERE NOT EXISTS (SELECT FROM ingestion.drops WHERE drops.segment = path)
      AND NOT EXISTS (SELECT FROM ingestion.retired_segments retired WHERE retired.path = path.path)
      AND NOT EXISTS (SELECT FROM ingestion.unreadable_segments unreadable WHERE unreadable.path = path.path)
    ORDER BY path
""")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What one look found: late payloads registered, segments (by path) that cannot be read, wholly or in part."""

    registered: int
    unreadable: tuple[str, ...]


class _Step(NamedTuple):
    """Some paths of a folder, and what is to be remembered of it once all of them were looked at."""

    folder: str
    paths: Sequence[str]
    seen: tuple[int, int] | None = None


class Sweep:
    """A walk over all segments, a little at a time and again and again, newest folders first.

    A folder that has not changed since it was listed twice is passed over: an entry may be added within the same tick of
    the file system's clock as the first listing. Between two walks it rests for `rest_s` seconds: object stores have no such
    marks, and take money for each listing. Keep one for a process: it remembers what it has seen.
    """

    def __init__(self, storage: LandingStorage, *, rest_s: float = 0.0) -> None:
        self._storage = storage
        self._rest_s = rest_s
        self._rests_until = 0.0
        self._seen: dict[str, tuple[int, int]] = {}  # by folder: its mark, how often it was listed since
        self._walk: Iterator[_Step] | None = None

    def go_on(self, look: Callable[[Sequence[str]], None], *, seconds: float = SWEEP_S) -> None:
        """Have `look` take the paths that come next, until the time is over or all were seen; what it raises begins the walk anew."""
        if self._walk is None and time.monotonic() < self._rests_until:
            return
        end = time.monotonic() + seconds
        walk = self._walk = self._walk or self._all()
        try:
            for step in walk:
                look(step.paths)
                if step.seen is not None:
                    self._seen[step.folder] = step.seen
                if time.monotonic() > end:
                    return
        except BaseException:
            self._walk = None
            raise
        self._walk = None
        self._rests_until = time.monotonic() + self._rest_s

    def _all(self) -> Iterator[_Step]:
        there: set[str] = set()
        for folder, mark in self._storage.segment_folders():
            there.add(folder)
            known, listed = self._seen.get(folder, (mark, 0))
            if mark is not None and known == mark and listed >= 2:
                yield _Step(folder, [])
                continue
            batch: list[str] = []
            for path in self._storage.list(folder):
                batch.append(path)
                if len(batch) == PATHS_AT_ONCE:
                    yield _Step(folder, batch)
                    batch = []
            yield _Step(folder, batch, None if mark is None else (mark, listed + 1 if known == mark else 1))
        self._seen = {folder: seen for folder, seen in self._seen.items() if folder in there}


def register_late(
    engine: sa.Engine,
    storage: LandingStorage,
    *,
    now: datetime | None = None,
    around: datetime | None = None,
    settled: timedelta = timedelta(0),
    sweep: Sweep | None = None,
) -> Reconciled:
    """Register the payloads of segments that the ledger does not know.

    Looks through the minutes since the last look by the ledger's clock, so the cost does not grow with what is stored; at
    some of the segments that could not be read before; at the minutes `around` a time; and, with `sweep`, at some of all others. Segments younger than
    `settled`, whose payloads may be about to get their rows, are left for the next time. A payload that can never be registered is
    told of in `ingestion.unreadable_segments`, and holds up no other. Raises `LandingUnavailableError` if a segment cannot be
    read now, after all the others.
    """
    with engine.connect() as connection:
        now = now or cast("datetime", connection.scalar(sa.select(sa.func.clock_timestamp())))
        watermark = all_known_until(connection) or now - FIRST_LOOK_BACK
        again = connection.scalars(
            sa.select(unreadable_segments.c.path)
            .order_by(unreadable_segments.c.looked_at)
            .limit(UNREADABLE_AT_ONCE)
        ).all()
    look = _Look(engine, storage, now=now, settled=settled)
    spans = [(min(watermark, now) - SLACK, now + timedelta(minutes=1))]
    if around is not None:
        spans.append((around - SLACK, around + SLACK))
    for first, last in spans:
        paths = storage.minutes(first, last)
        while some := list(islice(paths, PATHS_AT_ONCE)):
            look.at_unknown(some)
    for path in again:
        look.at(path)
    if sweep is not None:
        sweep.go_on(look.at_unknown)
    with engine.begin() as connection:
        statement = insert(landing_watermark).values(singleton=True, minute=now - SLACK)
        connection.execute(
            statement.on_conflict_do_update(
                index_elements=["singleton"], set_={"minute": statement.excluded.minute}
            )
        )
    if look.registered:
        log.info("registered_late", payloads=look.registered)
    if look.unreadable_now:
        raise LandingUnavailableError(
            f"{len(look.unreadable_now)} segments cannot be read, {look.unreadable_now[0]} among them"
        )
    return Reconciled(look.registered, tuple(look.unreadable))


def all_known_until(connection: sa.Connection) -> datetime | None:
    """The watermark: up to this minute of the ledger's clock all was looked through. None before the first look."""
    return connection.scalar(sa.select(landing_watermark.c.minute))


class _Look:
    """One look at landing storage, and what it found."""

    def __init__(
        self, engine: sa.Engine, storage: LandingStorage, *, now: datetime, settled: timedelta
    ) -> None:
        self.registered = 0
        self.unreadable: list[str] = []
        self.unreadable_now: list[str] = []
        self._engine = engine
        self._storage = storage
        self._now = now
        self._settled = settled

    def at_unknown(self, paths: Sequence[str]) -> None:
        """Look at those of these segments that the ledger knows nothing of."""
        if not paths:
            return
        with self._engine.connect() as connection:
            unknown = connection.scalars(_UNKNOWN, {"paths": list(paths)}).all()
        for path in unknown:
            # A young one may be about to be registered by whoever wrote it.
            if abs(self._now - written_at(path)) >= self._settled:
                self.at(path)

    def at(self, path: str) -> None:
        """Register what can be read of a segment, and note whether that was all.

        It is held from before it is read: whoever wrote it may be about to take it back.
        """
        with self._engine.begin() as connection:
            hold_segment(connection, path)
            try:
                data = self._storage.read(path)
            except FileNotFoundError:
                _note(connection, path, "it is gone", only_known=True)  # somebody may still put it back
                return
            except LandingUnavailableError as error:
                self._storage.reach()
                log.error("segment_unreadable", segment=path, error=str(error))
                self.unreadable_now.append(path)
                faults = [f"it cannot be read: {error}"]
            else:
                found = contents(data, path)
                faults = [f"corrupt: {fault}" for fault in found.faults]
                ids = [entry.header.id for entry in found.entries]
                known = set(connection.scalars(sa.select(drops.c.id).where(drops.c.id.in_(ids))))
                landed = [Landed(path, entry) for entry in found.entries if entry.header.id not in known]
                self.registered += register_payloads(connection, landed, faults)
            if faults:
                self.unreadable.append(path)
                _note(
                    connection,
                    path,
                    "; ".join(faults[:3]) + (f"; {len(faults) - 3} more" if faults[3:] else ""),
                )
            else:
                connection.execute(sa.delete(unreadable_segments).where(unreadable_segments.c.path == path))


def _note(connection: sa.Connection, path: str, reason: str, *, only_known: bool = False) -> None:
    """Write down that a segment cannot be read; says it in the log when that is new."""
    known = sa.update(unreadable_segments).where(unreadable_segments.c.path == path)
    known = known.values(reason=reason, looked_at=sa.func.clock_timestamp())
    if connection.execute(known).rowcount or only_known:
        return
    log.error("segment_unreadable", segment=path, reason=reason)
    connection.execute(insert(unreadable_segments).values(path=path, reason=reason).on_conflict_do_nothing())


def register_payloads(connection: sa.Connection, landed: list[Landed], faults: list[str]) -> int:
    """Give payloads their rows; how many got one. Those whose values PostgreSQL refuses are added to the faults."""
    if not landed:
        return 0
    try:
        with connection.begin_nested():
            register(connection, landed)
            announce(connection, [(one.header.flow, one.header.lane) for one in landed])
    except DBAPIError as error:
        if str(getattr(error.orig, "sqlstate", None))[:2] not in _REFUSED:
            raise
        if len(landed) > 1:
            return sum(register_payloads(connection, [one], faults) for one in landed)
        faults.append(
            f"payload {landed[0].header.id}: PostgreSQL refuses what its header says ({type(error.orig).__name__})"
        )
        return 0
    return len(landed)


def list_unreadable(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
    """Segments that cannot be read as a whole (path, reason, since), longest first."""
    return connection.execute(sa.select(unreadable_segments).order_by(unreadable_segments.c.since)).all()


def discard(connection: sa.Connection, storage: LandingStorage, path: str) -> bool:
    """Give up what cannot be read of a segment; False if it is not known as unreadable. A file that no payload needs is put aside."""
    gone = sa.delete(unreadable_segments).where(unreadable_segments.c.path == path)
    if not connection.execute(gone).rowcount:
        return False
    if is_registered(connection, path):
        return True
    with suppress(FileNotFoundError):
        storage.move(path, f"discarded/{path}")
    return True
