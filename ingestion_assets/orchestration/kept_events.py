"""What Dagster's event log keeps of a run: all that its UI shows of assets, partitions, checks, steps and failures.

A run of seven steps said 57 things of 1 to 3 kB each: 74 kB in PostgreSQL, 6 GB a day at a run a second. What the ledger's own
runs say beside that is not kept: that a step yielded what its materialization or check says again, that resources were made, which
process it was; once it has succeeded, what it had planned; and that a check has passed that did so within the last minute, and has
not failed since on that partition. What a person's run says is kept whole.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from dagster import AssetCheckEvaluation, AssetCheckKey, DagsterEventType, EventLogEntry

from ingestion_assets.orchestration.stages import CLAIM

COMPRESSED_FROM = 2048  # bytes of a row; an event of 1.2 kB takes 0.6 kB then
_NEVER = frozenset(
    {
        DagsterEventType.STEP_OUTPUT,
        DagsterEventType.RESOURCE_INIT_STARTED,
        DagsterEventType.RESOURCE_INIT_SUCCESS,
        DagsterEventType.LOGS_CAPTURED,  # they are not; see compute_logs.py
    }
)
_at_work: str | None = None
_checks_come_often = True


@contextmanager
def sparing(run_id: str, *, spare: bool, checks: bool = True) -> Iterator[None]:
    """Within the block this process keeps only what is needed of the run, if it is one to `spare`; all that its `checks` say, if not
    these: runs of hours come seldom, and the newest of each partition is what the UI shows them of."""
    global _at_work, _checks_come_often  # noqa: PLW0603
    _at_work, _checks_come_often = (run_id if spare else None), checks
    try:
        yield
    finally:
        _at_work = None


def is_sparing() -> bool:
    """Whether this process is at work on a run of which little is kept."""
    return _at_work is not None


def is_kept(entry: EventLogEntry) -> bool:
    """Whether to store what a run has said."""
    event = entry.dagster_event
    if event is None:
        return True
    kind = event.event_type
    if kind == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
        # A claim's checks are told with their assets or not at all; planned, where no claim was worked through, they would stay so.
        return event.step_key != f"{event.asset_check_planned_data.asset_key.path[0]}{CLAIM}"
    if entry.run_id != _at_work:
        return True
    return kind not in _NEVER and not (
        kind == DagsterEventType.ENGINE_EVENT and event.engine_event_data.error is None
    )


Failed = Iterable[tuple[AssetCheckKey, str | None]]
PARTITIONS_KNOWN = 20_000  # of all checks together, by one process


class PassedChecks:
    """The checks whose passing this process has stored: on which partitions, and which of late on whatever partition.

    A partition's first pass is stored, so that it is green; then a check's, of all partitions, once in a while. So many partitions
    cost no more than one."""

    def __init__(self, *, again_after_s: float) -> None:
        self._again_after_s = again_after_s
        self._stored_at: dict[AssetCheckKey, float] = {}
        self._green: set[tuple[AssetCheckKey, str | None]] = set()
        self._run_id: str | None = None

    def are_known(self, entry: EventLogEntry, *, failed: Callable[[], Failed]) -> bool:
        """Whether `entry` says no more than that a check passes again. `failed()`, asked once a run, gives what any process has
        stored as failed since it was asked last: that it passes is news."""
        check = _evaluation(entry)
        if check is None or not check.passed or entry.run_id != _at_work or not _checks_come_often:
            return False
        if self._run_id != _at_work:
            self._run_id = _at_work
            self._green.difference_update(failed())
        if (check.asset_check_key, check.partition) not in self._green:
            return False
        stored_at = self._stored_at.get(check.asset_check_key)
        return stored_at is not None and time.monotonic() - stored_at < self._again_after_s

    def remember(self, entry: EventLogEntry) -> None:
        """`entry` is stored. Not before: what could not be stored is tried again."""
        check = _evaluation(entry)
        if check is None:
            return
        of = (check.asset_check_key, check.partition)
        if not check.passed:
            self._green.discard(of)
            return
        if len(self._green) >= PARTITIONS_KNOWN:
            self._green.clear()
        self._green.add(of)
        self._stored_at[check.asset_check_key] = time.monotonic()


def _evaluation(entry: EventLogEntry) -> AssetCheckEvaluation | None:
    event = entry.dagster_event
    if event is None or event.event_type != DagsterEventType.ASSET_CHECK_EVALUATION:
        return None
    return event.asset_check_evaluation_data


def has_come_true(entry: EventLogEntry) -> bool:
    """Whether this tells the success of a run of which little is kept. What it planned is said by what it wrote from now on; until
    then, and where it fails, it is what the UI shows assets as being written, or as tried in vain, from."""
    event = entry.dagster_event
    return event is not None and event.event_type == DagsterEventType.RUN_SUCCESS and entry.run_id == _at_work


def compact(serialized: str) -> str:
    """The same event without the spaces in its JSON, without its tags for Python's logging, which nothing reads back, and
    without the handle of its step where reading makes the same of that of its node; but with as many at its end that PostgreSQL
    compresses it."""
    event = json.loads(serialized)
    if isinstance(of_dagster := event.get("dagster_event"), dict):
        of_dagster["logging_tags"] = {}
        step, node = of_dagster.get("step_handle"), of_dagster.get("solid_handle")
        if node is not None and step == {
            "__class__": "StepHandle",
            "key": node["name"],
            "solid_handle": node,
        }:
            del of_dagster["step_handle"]
    return json.dumps(event, separators=(",", ":")).ljust(COMPRESSED_FROM)
