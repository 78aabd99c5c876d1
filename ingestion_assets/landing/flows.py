"""What the spine must know of a flow: how its payloads are named, cut and put together again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

LONGEST_S = 24 * 3600
TOO_LONG = 3  # times what is normal for the flow


@dataclass(frozen=True, slots=True)
class Body:
    """A payload made from something else (an inbox file, rejects): its bytes, the number of records in it, its subject."""

    data: bytes
    records: int
    subject: str | None = None


class RefusedError(Exception):
    """A file in the inbox that is no payload of the flow; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """How a flow's runs are executed.

    `queue` is the Celery queue whose workers take them, `at_once` how many of them run side by side (as many as the queue
    has workers where it is None), `longest_s` after how many seconds Dagster ends a run (a day at most), `waits_normally_s`
    how many seconds a payload may wait for its run before waiting counts as a fault (new ones are turned away from
    `TOO_LONG` times that on), `priority` what goes first where several wait (higher first, then the oldest).
    """

    queue: str = "default"
    at_once: int | None = None
    longest_s: float = 3600.0
    waits_normally_s: float = 300.0
    priority: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.longest_s <= LONGEST_S:
            raise ValueError(f"a run may take {LONGEST_S} s at most, not {self.longest_s} s")
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"at least one run must be able to go on at once, not {self.at_once}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """A flow's face towards the spine.

    `partition_of(received_at, subject)` names the Dagster partition; `lane_of(partition, number)` the lane within it, where
    numbers spread payloads over lanes; `read_inbox(name, content)` cuts an inbox file into payloads (raises `RefusedError`);
    `compose(records, attributes)` puts rejected records of one payload together for another try, but for those that must
    go `alone` lest they spoil it for the others. `dynamic_partitions` names the flow's dynamic partitions in Dagster, where
    it has those: their keys are added when a run first needs them.
    """

    name: str
    job: str
    partition_of: Callable[[datetime, str | None], str]
    lane_of: Callable[[str, int], str]
    read_inbox: Callable[[str, bytes], Sequence[tuple[Body, Mapping[str, str]]]]
    compose: Callable[[Sequence[bytes], Mapping[str, str]], Body]
    alone: Callable[[bytes], bool] = lambda _record: False
    dynamic_partitions: str | None = None
    runs: Runs = Runs()


def at_once(flows: Mapping[str, Flow]) -> dict[str, int]:
    """How many runs side by side a flow may have, of those where that is bounded."""
    return {name: flow.runs.at_once for name, flow in flows.items() if flow.runs.at_once is not None}
