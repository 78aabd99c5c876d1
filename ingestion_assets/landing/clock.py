"""The ledger's clock, read without asking it each time: what orders payloads and tells their ages, whatever wall clocks say.

A sample of PostgreSQL's clock bounds it from both sides: it was read after it was asked for and before it was answered. Between
samples the time since boot goes on, which neither a jump of the wall clock nor a stopped process touches. Ids are taken from
the upper bound, and a payload is acknowledged once the lower bound has passed its id: so what is sent after that gets a
greater id at any front door (the rule is Spanner's "commit wait"). Ids are also greater than all that were seen in the ledger.

A front door that has never reached the ledger has its wall clock only. What it accepts so is ordered by that until it is
registered; from then on all others are ahead of it.
"""

import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
import structlog
from sqlalchemy.exc import SQLAlchemyError

SAMPLE_S = 1.0
FIRST_SAMPLE_S = 2.0
DRIFT = 100e-6  # what two clocks may part in a second
LONGEST_WAIT_S = 2.0  # for the lower bound to pass an id; as a rule it has when the disk is done
AWAY_S = 600.0  # after which drift alone would cost each payload 0.1 s
OFF_S = 5.0  # between wall clock and ledger, from which on it is worth telling

_TICKS = (
    4096 * 1000
)  # a second in the ids' unit: a millisecond has 12 bits more, as RFC 9562 allows for UUIDv7
_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_NOW = sa.text("SELECT extract(epoch FROM clock_timestamp())::float8")
_SAMPLE = sa.text("""
    SELECT extract(epoch FROM clock_timestamp())::float8 AS now,
           (SELECT id FROM ingestion.drops ORDER BY id DESC LIMIT 1) AS newest
""")

log = structlog.get_logger(__name__)


def since_boot() -> float:
    """Seconds since boot, sleep included."""
    return time.clock_gettime(_BOOT)


def time_of(drop_id: UUID) -> datetime:
    """The time that a UUIDv7 begins with."""
    return datetime.fromtimestamp(min((drop_id.int >> 80) / 1000, 253402300799.0), UTC)


@dataclass(frozen=True, slots=True)
class Sample:
    """The ledger's clock said `now` (seconds since 1970) between `asked` and `answered` (seconds since boot)."""

    now: float
    asked: float
    answered: float

    def bounds(self, at: float) -> tuple[float, float]:
        """Between which times the ledger's clock is at `at` (seconds since boot)."""
        drift = DRIFT * abs(at - self.answered)
        return self.now + (at - self.answered) - drift, self.now + (at - self.asked) + drift

    def better_of(self, newer: "Sample") -> "Sample":
        """The one with the narrower bounds; the newer one where they contradict each other, for then the clock was set."""
        low, high = self.bounds(newer.answered)
        newer_low, newer_high = newer.bounds(newer.answered)
        if newer_low > high or newer_high < low:
            return newer
        return newer if newer_high - newer_low <= high - low else self

    def time(self) -> datetime:
        """The ledger's time by now."""
        return datetime.fromtimestamp(self.bounds(since_boot())[0], UTC)


def ledger_now(engine: sa.Engine) -> datetime:
    """The ledger's time, asked for: what is old is old by the clock that dated it, whatever that of this machine says."""
    with engine.connect() as connection:
        return take_sample(connection).time()


def take_sample(connection: sa.Connection) -> Sample:
    """Read the ledger's clock."""
    asked = since_boot()
    now = connection.execute(_NOW).scalar_one()
    return Sample(now, asked, since_boot())


class LedgerClock:
    """For any thread. `keep` samples the ledger until `stop`. `wall` is this machine's clock, in seconds since 1970."""

    def __init__(self, engine: sa.Engine, *, wall: Callable[[], float] = time.time) -> None:
        self._engine = engine
        self._wall = wall
        self._sample: Sample | None = None
        self._last = 0  # ticks of the greatest id that was made or seen
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._sampled = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="ledger-clock", daemon=True)

    def keep(self) -> None:
        """Sample from now on; returns after the first sample, or after `FIRST_SAMPLE_S` without one."""
        self._thread.start()
        self._sampled.wait(FIRST_SAMPLE_S)

    def stop(self) -> None:
        self._ended.set()

    def now(self) -> datetime:
        """The ledger's time."""
        return datetime.fromtimestamp(self._bounds()[1], UTC)

    def new_id(self) -> UUID:
        """A UUIDv7 greater than all before."""
        ticks = int(self._bounds()[1] * _TICKS)
        with self._lock:
            self._last = ticks = max(ticks, self._last + 1)
        return UUID(int=ticks >> 12 << 80 | 7 << 76 | (ticks & 4095) << 64 | 2 << 62 | random.getrandbits(62))

    def wait_past_ids(self) -> None:
        """Return once every front door's next id is greater than those made here so far.

        A ledger that took a second to tell its time costs that second: with a limit of 0.1 s, payloads lost their order on a machine
        so busy that the first sample took longer. Nobody can wait where the ledger has been away for minutes, or has seen an id
        of the future.
        """
        if self._sample is None or since_boot() - self._sample.answered > AWAY_S:
            return
        made = self._last / _TICKS
        while 0 < (ahead := made - self._bounds()[0]) < LONGEST_WAIT_S:
            time.sleep(ahead)

    def off_by(self) -> float | None:
        """Seconds by which this machine's wall clock is ahead of the ledger's; None while that is not known."""
        return None if self._sample is None else self._wall() - self._bounds()[0]

    def sample(self) -> None:
        """Ask the ledger. Raises `SQLAlchemyError`."""
        with self._engine.connect() as opened:
            connection = opened.execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(sa.text("SELECT 1"))  # what a connection does first is not part of the sample
            asked = since_boot()
            row = connection.execute(_SAMPLE).one()
            taken = Sample(row.now, asked, since_boot())
        self._sample = taken if self._sample is None else self._sample.better_of(taken)
        if row.newest is not None and row.newest.version == 7:
            seen = row.newest.int >> 80 << 12 | row.newest.int >> 64 & 4095
            with self._lock:
                self._last = max(self._last, seen)

    def _bounds(self) -> tuple[float, float]:
        sample = self._sample
        if sample is None:
            wall = self._wall()
            return wall, wall
        return sample.bounds(since_boot())

    def _keep(self) -> None:
        while not self._ended.is_set():
            with suppress(SQLAlchemyError, OSError):  # who needs the ledger says that it is away
                self.sample()
                self._sampled.set()
            self._ended.wait(SAMPLE_S)
