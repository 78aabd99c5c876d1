"""What Dagster's event log keeps of a run: all that its UI shows of assets, partitions, checks, steps and failures.

A run of seven steps said 57 things of 1 to 3 kB each: 74 kB in PostgreSQL, 6 GB a day at a run a second. What the ledger's own
runs say beside that is not kept: that a step yielded what its materialization or check says again, that resources were made, which
process it was; once it has succeeded, what it had planned. What a person's run says is kept whole.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from dagster import DagsterEventType, EventLogEntry

from ingestion_assets.orchestration.stages import CLAIM

COMPRESSED_FROM = 2048  # bytes of a row; an event of 1.2 kB takes 0.6 kB then
_NEVER_AGAIN = frozenset(
    {
        DagsterEventType.RESOURCE_INIT_STARTED,
        DagsterEventType.RESOURCE_INIT_SUCCESS,
        DagsterEventType.LOGS_CAPTURED,  # they are not; see compute_logs.py
    }
)


@dataclass(slots=True)
class _Sparing:
    """A run of the ledger at work in this process. Its outputs are needed only to re-execute it from a failure."""

    run_id: str
    outputs: list[EventLogEntry] = field(default_factory=list)


_at_work: _Sparing | None = None


@contextmanager
def sparing(run_id: str, *, spare: bool) -> Iterator[None]:
    """Within the block this process keeps only what is needed of the run, if it is one to `spare`."""
    global _at_work  # noqa: PLW0603
    _at_work = _Sparing(run_id) if spare else None
    try:
        yield
    finally:
        _at_work = None


def is_sparing() -> bool:
    """Whether this process is at work on a run of which little is kept."""
    return _at_work is not None


def to_keep(entry: EventLogEntry) -> list[EventLogEntry]:
    """What is to be stored now that a run has said this: nothing, it, or it with what was held back before a failure."""
    event = entry.dagster_event
    if event is None:
        return [entry]
    kind = event.event_type
    if kind == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED:
        # A claim's checks are told with their assets or not at all; planned, where no claim was worked through, they would stay so.
        return [] if (event.step_key or "").endswith(CLAIM) else [entry]
    if _at_work is None or entry.run_id != _at_work.run_id:
        return [entry]
    if kind == DagsterEventType.STEP_OUTPUT:
        _at_work.outputs.append(entry)
        return []
    if event.is_failure:
        held_back, _at_work.outputs = _at_work.outputs, []
        return [*held_back, entry]
    if kind in _NEVER_AGAIN or (
        kind == DagsterEventType.ENGINE_EVENT and event.engine_event_data.error is None
    ):
        return []
    return [entry]


def has_come_true(entry: EventLogEntry) -> bool:
    """Whether this tells the success of a run of which little is kept. What it planned is said by what it wrote from now on; until
    then, and where it fails, it is what the UI shows assets as being written, or as tried in vain, from."""
    event = entry.dagster_event
    return (
        event is not None
        and event.event_type == DagsterEventType.RUN_SUCCESS
        and _at_work is not None
        and entry.run_id == _at_work.run_id
    )


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
