"""A flow: all that the spine must know of one kind of payload.

What would import Dagster or FastAPI is named (`"package.module:attribute"`) and loaded by the process that needs it. How
flows are found is not said here but in `ingestion_assets/installed_flows.py`.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from ingestion_assets.landing.run_tags import LOCATION
from ingestion_assets.landing.scopes import Scope
from ingestion_assets.landing.tallies import BY_OUTCOME, Tally

logger = logging.getLogger(__name__)

LONGEST_S = 24 * 3600
TOO_LONG = 3  # times what is normal for the flow
PRIORITY_STEP = 10


@dataclass(frozen=True, slots=True)
class Body:
    """A payload made from something else (an inbox file, rejects): its bytes, the number of records in it, its subject."""

    data: bytes
    records: int
    subject: str | None = None


FLOW_NAME = r"^[a-z][a-z0-9_]{0,62}$"

Compose = Callable[[Sequence[bytes], Mapping[str, str]], Body]


class RefusedError(Exception):
    """A file in the inbox that is no payload of the flow; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """How a flow's runs are executed.

    `queue` is the Celery queue whose workers take them, `at_once` how many of them run side by side (as many as the queue
    has workers where it is None; a function where a setting says it), `longest_s` after how many seconds Dagster ends a run (a day at most), `waits_normally_s`
    how many seconds a payload may wait for its run before waiting counts as a fault (new ones are turned away from
    `TOO_LONG` times that on), `priority` what goes first where several wait (higher first, then the oldest; a payload may have a priority of its own beside it,
    `drops.PRIORITY`, and after each `aging_s` seconds of waiting one of `PRIORITY_STEP` more). A run takes what
    has landed in its lane together, `claim_at_most` payloads where that is bounded: one where each is work of hours.
    """

    queue: str = "default"
    at_once: int | Callable[[], int] | None = None
    longest_s: float = 3600.0
    waits_normally_s: float = 300.0
    priority: int = 0
    claim_at_most: int | None = None
    aging_s: Callable[[], float] | None = None

    def __post_init__(self) -> None:
        if not 0 < self.longest_s <= LONGEST_S:
            raise ValueError(f"a run may take {LONGEST_S} s at most, not {self.longest_s} s")
        if self.claim_at_most is not None and self.claim_at_most < 1:
            raise ValueError(f"a run must be able to take at least one payload, not {self.claim_at_most}")
        if isinstance(self.at_once, int) and self.at_once < 1:
            raise ValueError(f"at least one run must be able to go on at once, not {self.at_once}")

    def bound(self) -> int | None:
        """How many go on side by side at most, None where nothing bounds them. One where the flow's own function fails: all flows'
        bounds are read together, so that would hold up the others."""
        try:
            return self.at_once() if callable(self.at_once) else self.at_once
        except Exception:
            logger.exception(
                "at_once of a flow's runs on the queue %s failed; one goes on at a time", self.queue
            )
            return 1


@dataclass(frozen=True, slots=True)
class Days:
    """A partition is the UTC day of arrival. It closes: old payloads may be deleted, and a rebuild may find fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A partition is a key, such as a site or a repository, that is added to Dagster's dynamic partitions `name` when a run
    first needs it. It never closes.

    Beyond `at_most` keys, those that were idle the longest are archived: they leave Dagster's list, and come back with their
    next payload. `needs_all`: a rebuild needs every payload since the first, so none is ever deleted; without it they go by
    their age, as everywhere.

    A key may say more than the ledger's partition does, such as a name beside a number: `named` is the function
    (`"package.module:function"`, called with a connection and partitions) that gives their keys, `partition_of` gives the partition
    of a key. The key of a partition must never change: what Dagster knows, it knows of that key.
    """

    name: str
    at_most: int = 5000
    needs_all: bool = False
    named: str | None = None
    partition_of: Callable[[str], str] = str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A sub-command of `ingestion`: the module whose Typer `app` it is, and the line shown in the list."""

    name: str
    module: str
    help: str


def day_of_arrival(received_at: datetime, _subject: str | None = None) -> str:
    """The UTC day."""
    return received_at.astimezone(UTC).date().isoformat()


def partition_itself(partition: str, _number: int) -> str:
    """One lane a partition: its runs come one after the other."""
    return partition


def no_inbox(name: str, _content: bytes) -> Sequence[tuple[Body, Mapping[str, str]]]:
    """Raises `RefusedError`: the flow takes no files."""
    raise RefusedError(f"{name} cannot be taken: this flow takes no files")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A flow's face towards the spine. Its assets, its job and the metrics go by its `name`.

    Its job is `location`'s: the Dagster code location that its definitions are in, and there the `repository`.

    Where payloads go: `partition_of(received_at, subject)` names the Dagster partition, `lane_of(partition, number)` the lane
    within it, where numbers spread payloads over lanes.

    Other ways in: `read_inbox(name, content)` cuts an inbox file into payloads (raises `RefusedError`); `compose(records,
    attributes)` puts rejected records of one payload together for another try, but for those that must be `redriven_alone` lest they
    spoil it for the others. A flow without `compose` has only whole payloads redriven.

    Where one payload may stand for what several keys have sent, `receipts_shared` has every key with the flow's scope read its receipts.

    `tally(receipt)` counts the records of a finished payload by kind and outcome. `assets` are the names of the first and
    last asset: the one that claims payloads, the one that writes their outcomes.

    Parts by name: `definitions` is a `dagster.Definitions` or makes one, and `definitions_version` gives what changes when it
    would make another; `http` is a `frontdoor.flow_http.FlowHttp` or makes one; `work` are the modules that workers load
    before their first run, `warm` the functions (`"package.module:function"`) that each process of a worker calls then, for
    what must not be forked, such as a model on a GPU; `settings` is a class of the flow's own settings; `migrations` is the
    folder, within a package, of the Alembic revisions of its tables (`"package:folder"`); `prepare` is called once these are
    there, before anything uses them: indexes in other stores; `sealed` names the columns that hold sealed secrets, `schema.table.column`,
    so that they can be sealed anew; `histories` names its tables, `schema.table`, whose rows tell what became of a payload and go after it: each has a
    `drop_id` and an `ended_at`; `demonstration` is a `sending.demonstration.Demonstration`; a flow
    that is sent nothing names a command of `ingestion` that shows it, `shown_by`, and the settings that a stack which is started to show it
    has, `shown_with` (`{home}` stands for the stack's folder). `commands` are sub-commands of `ingestion`, `senders`
    those of `ingestion send`. `location` and `repository` say where Dagster finds its job.
    """

    name: str
    location: str = LOCATION
    repository: str = "__repository__"
    scope: Scope | None = None
    receipts_shared: bool = False
    partitions: Days | Keys = Days()
    partition_of: Callable[[datetime, str | None], str] = day_of_arrival
    lane_of: Callable[[str, int], str] = partition_itself
    runs: Runs = Runs()
    read_inbox: Callable[[str, bytes], Sequence[tuple[Body, Mapping[str, str]]]] = no_inbox
    compose: Compose | None = None
    redriven_alone: Callable[[bytes], bool] = lambda _record: False
    tally: Tally = BY_OUTCOME
    assets: tuple[str, str] = ("raw_batches", "ingestion_log")
    definitions: str | None = None
    definitions_version: str | None = None
    http: str | None = None
    work: Sequence[str] = ()
    warm: Sequence[str] = ()
    commands: Sequence[Command] = ()
    senders: Sequence[Command] = ()
    demonstration: str | None = None
    shown_by: Sequence[str] = ()
    shown_with: Mapping[str, str] = field(default_factory=dict)
    settings: str | None = None
    migrations: str | None = None
    prepare: str | None = None
    sealed: Sequence[str] = ()
    histories: Sequence[str] = ()


class LiveFlows(Mapping[str, Flow]):
    """The flows that this process was started with, and those that come and go while it runs."""

    def __init__(self, installed: Mapping[str, Flow]) -> None:
        self._installed = dict(installed)
        self._all = self._installed

    @property
    def installed(self) -> Mapping[str, Flow]:
        """Those that stay."""
        return self._installed

    def take(self, others: Mapping[str, Flow]) -> None:
        """Have these beside the installed ones, and no others; one of the name of an installed one is left out."""
        self._all = {
            **others,
            **self._installed,
        }  # a whole other dict: threads that go through the old one go on with it

    def __getitem__(self, name: str) -> Flow:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def at_once(flows: Mapping[str, Flow]) -> dict[str, int]:
    """How many runs side by side a flow may have, of those where that is bounded."""
    return {name: bound for name, flow in flows.items() if (bound := flow.runs.bound()) is not None}
