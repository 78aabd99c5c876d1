"""Files that someone put straight into `<flow>/inbox/`: landed as payloads, or refused with the reason beside them.

What the front door takes in is no matter of this module; nor are segments without rows (`late_segments`).
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ingestion_assets.landing.clock import LedgerClock, since_boot
from ingestion_assets.landing.drops import Header, NewDrop
from ingestion_assets.landing.flows import Flow, RefusedError
from ingestion_assets.landing.late_segments import register_payloads
from ingestion_assets.landing.registration import Landed, known_key
from ingestion_assets.landing.segments import Packed, encode, pack
from ingestion_assets.landing.storage import InboxFile, LandingStorage, segment_path
from ingestion_assets.stores.error_text import text_of

SETTLED_S = 2.0
BUSY_S = 600.0
INBOX_PRINCIPAL = "inbox"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the files of an inbox: landed, refused, or left where they are because of an error, to be tried again."""

    landed: int = 0
    refused: int = 0
    left: int = 0

    def __add__(self, other: "Taken") -> "Taken":
        return Taken(self.landed + other.landed, self.refused + other.refused, self.left + other.left)


class Inboxes:
    """The inboxes on one landing storage. Keep one for a process: it remembers which files it has seen, and how.

    A file is taken when two looks at least `settled_s` apart find it the same; its own time says nothing, for that is the
    clock of whoever keeps the files.
    """

    def __init__(self, engine: sa.Engine, storage: LandingStorage, *, settled_s: float = SETTLED_S) -> None:
        self._engine = engine
        self._storage = storage
        self._settled_s = settled_s
        self._clock = LedgerClock(engine)
        self._seen: dict[str, dict[str, tuple[InboxFile, float]]] = {}
        self._filled_at: dict[str, float] = {}
        self._known: set[str] = set()
        self._turns: list[str] = []

    def to_look_at(self, flows: Iterable[str]) -> list[str]:
        """Those of these flows whose inboxes this look is for.

        In an object store each inbox costs a LIST a look, and to ask which are used another. So those take turns in which no file
        was seen for ten minutes: a look then is one LIST, however many inboxes there are.
        """
        flows = list(flows)
        if not self._storage.remote:
            return list(self._storage.used_inboxes(flows))
        since = since_boot() - BUSY_S
        busy = [flow for flow in flows if self._filled_at.get(flow, since) > since]
        if self._turns:
            return list({*busy, self._turns.pop()} & set(flows))
        used = self._storage.used_inboxes(flows)
        new = set(used) - self._known
        self._known |= new
        self._turns = [flow for flow in used if flow not in new]
        return list({*busy, *new})

    def take(self, flow: Flow, *, max_bytes: int, at_most: int = 20) -> Taken:
        """Land the files of a flow's inbox, each moved to `<flow>/accepted/` or, if it is no payload or larger than `max_bytes`,
        to `<flow>/refused/`.

        A file that cannot be taken is told of in the log and holds up no other. A crash between landing and moving lands
        nothing twice. Raises `LandingUnavailableError` and what SQLAlchemy raises while the ledger is away.
        """
        total = Taken()
        for file in self._settled(flow.name):
            if total.landed + total.refused >= at_most:
                break
            self._clock.sample()
            try:
                total += _take(
                    self._engine, self._storage, flow, file, max_bytes=max_bytes, clock=self._clock
                )
            except (OperationalError, InterfaceError, PoolTimeout):
                raise
            except Exception as error:
                self._storage.probe()
                log.exception("inbox_file_left", file=_printable(file.path), error=text_of(error))
                total += Taken(left=1)
        return total

    def _settled(self, flow: str) -> list[InboxFile]:
        """The files that have not changed since an earlier look, or cannot change."""
        if self._storage.remote:
            if files := list(self._storage.inbox(flow)):
                self._filled_at[flow] = since_boot()
            return files
        now, before = since_boot(), self._seen.get(flow, {})
        seen = self._seen[flow] = {}
        for file in self._storage.inbox(flow):
            known, since = before.get(file.path, (file, now))
            seen[file.path] = (file, since if known == file else now)
        return [
            file
            for file, since in seen.values()
            if file.path in before and before[file.path][0] == file and now - since >= self._settled_s
        ]


def _take(
    engine: sa.Engine,
    storage: LandingStorage,
    flow: Flow,
    file: InboxFile,
    *,
    max_bytes: int,
    clock: LedgerClock,
) -> Taken:
    name = file.path.removeprefix(f"{flow.name}/inbox/")
    try:
        if _printable(name) != name:
            raise RefusedError(f"the file's name, {_printable(name)}, is not UTF-8")
        if file.size > max_bytes:
            raise RefusedError(f"{name} has {file.size} bytes, more than the {max_bytes} a payload may have")
        land(engine, storage, _read_file(storage, flow, file, name, clock), clock)
    except RefusedError as error:
        log.error("inbox_refused", file=_printable(file.path), reason=str(error))
        storage.move(file.path, f"{flow.name}/refused/{name}")
        storage.write(f"{flow.name}/refused/{name}.reason.txt", f"{error}\n".encode())
        return Taken(refused=1)
    storage.move(file.path, f"{flow.name}/accepted/{clock.now():%Y-%m-%d}/{name}")
    return Taken(landed=1)


def _printable(name: str) -> str:
    """The name, with escapes for what is not UTF-8 in it."""
    return os.fsencode(name).decode(errors="backslashreplace")


def land(engine: sa.Engine, storage: LandingStorage, packed: list[Packed], clock: LedgerClock) -> None:
    """Payloads with idempotency keys, durable and with their rows. Raises `RefusedError` for what cannot be stored."""
    if not packed or _is_landed(engine, packed[0].header):
        return
    path = segment_path(clock.new_id(), clock.now())
    data, entered = encode(packed, path)
    storage.write(path, data)
    try:
        with engine.begin() as connection:
            faults: list[str] = []
            if register_payloads(connection, [Landed(path, entry) for entry in entered], faults) < len(
                packed
            ):
                raise RefusedError(f"its name, or what it says of itself, cannot be stored: {faults[0]}")
    except RefusedError:
        storage.remove(path)
        raise


def _is_landed(engine: sa.Engine, header: Header) -> bool:
    """Whether the file was landed before and could not be moved."""
    with engine.connect() as connection:
        return known_key(connection, header) is not None


def _read_file(
    storage: LandingStorage, flow: Flow, file: InboxFile, name: str, clock: LedgerClock
) -> list[Packed]:
    content = storage.read(file.path)
    key = sha256(content).hexdigest()
    packed, now = [], clock.now()
    for index, (body, attributes) in enumerate(flow.read_inbox(name, content)):
        drop_id = clock.new_id()
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
