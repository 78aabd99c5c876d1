"""`GET /metrics`: counts of this process's requests, and the ledger's figures at the time of asking."""

from bisect import bisect_left
from collections import Counter as Counts
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

from ingestion_assets.landing.drops import Receipt
from ingestion_assets.landing.flows import Flow
from ingestion_assets.landing.ledger import LedgerStatistics
from ingestion_assets.landing.tallies import BY_OUTCOME
from ingestion_assets.stores.disk import Disk

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
log = structlog.get_logger(__name__)
_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120)


class RequestMetrics:
    """All metrics of one front door.

    Counters of outcomes (`ingestion_messages_total`, `ingestion_duration_seconds`) are fed by the notifications that
    every front door gets of every finished drop: over several front doors take their maximum, not their sum. The `flows` count
    the records of their payloads.
    """

    def __init__(self, flows: Mapping[str, Flow]) -> None:
        self.registry = CollectorRegistry()
        self._flows = flows
        self._requests = _Requests()
        self.registry.register(self._requests)
        self.count = self._requests.count
        self.count_accepted = self._requests.count_accepted
        self._messages = Counter(
            "ingestion_messages",
            "Records by their outcome.",
            ("flow", "entity", "status"),
            registry=self.registry,
        )
        self._outcome_seconds = Histogram(
            "ingestion_duration_seconds", "Time from acceptance of a payload to its outcome.", ("flow",),
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.inflight = Gauge(
            "ingestion_inflight_bytes", "Request bytes held in memory.", registry=self.registry
        )
        self.waiting = Gauge(
            "ingestion_waiting_requests", "Requests waiting for an outcome.", registry=self.registry
        )
        self.streams = Gauge(
            "ingestion_open_streams", "WebSockets and event streams of receipts that are open.", registry=self.registry
        )  # fmt: skip
        self.limiter = Gauge(
            "ingestion_rate_limiter_shared",
            "1 while rate limits are shared, 0 while local.",
            registry=self.registry,
        )
        self._outside: dict[str, Metric] = {}
        self.registry.register(_Outside(self._outside))

    def count_outcomes(self, receipts: Iterable[Receipt]) -> None:
        """Finished drops: their records by outcome and the time they took. Others, held ones too, count nothing yet."""
        for receipt in receipts:
            if receipt.state not in _FINISHED or receipt.finished_at is None:
                continue
            seconds = (receipt.finished_at - receipt.received_at).total_seconds()
            self._outcome_seconds.labels(receipt.flow).observe(max(0.0, seconds))
            for (entity, status), number in self._tallied(receipt).items():
                self._messages.labels(receipt.flow, entity, status).inc(number)

    def _tallied(self, receipt: Receipt) -> Mapping[tuple[str, str], int]:
        flow = self._flows.get(receipt.flow)
        try:
            return (BY_OUTCOME if flow is None else flow.tally)(receipt)
        except Exception:
            log.exception("tally_failed", flow=receipt.flow, receipt=str(receipt.id))
            return BY_OUTCOME(receipt)

    def show_ledger(
        self,
        statistics: LedgerStatistics | None,
        *,
        flows: Mapping[str, Flow],
        without_worker: Mapping[str, str],
    ) -> None:
        """The ledger's figures, and what of them is normal; None while the ledger is down.

        `without_worker`: flows whose payloads wait for a queue that no worker takes, and which.
        """
        if statistics is None:
            for name in (
                "ingestion_drops",
                "ingestion_queue_depth",
                "ingestion_oldest_unprocessed_seconds",
                "ingestion_normal_wait_seconds",
                "ingestion_expected_wait_seconds",
                "ingestion_flow_without_worker",
                "ingestion_rejects",
                "ingestion_unreadable_segments",
            ):
                self._outside.pop(name, None)
            return
        states = {**statistics.unfinished, **statistics.finished_last_hour}
        self._show(
            "ingestion_drops", "Payloads by state; finished ones of the last hour.", ("flow", "state"), states
        )
        depth: dict[tuple[str, ...], float] = {}
        for (flow, state), number in statistics.unfinished.items():
            depth[(flow,)] = depth.get((flow,), 0) + (number if state == "landed" else 0)
        self._show("ingestion_queue_depth", "Payloads that no run has claimed yet.", ("flow",), depth)
        self._show(
            "ingestion_oldest_unprocessed_seconds",
            "For how long a flow's oldest payload has been waiting for its run.",
            ("flow",),
            {(name,): statistics.waiting_s.get(name, 0.0) for name in flows},
        )
        self._show(
            "ingestion_normal_wait_seconds",
            "For how long a flow's payload may wait before that counts as a fault.",
            ("flow",),
            {(name,): flow.runs.waits_normally_s for name, flow in flows.items()},
        )
        waits = {(flow,): seconds for flow, seconds in statistics.expected_wait_s.items()}
        self._show(
            "ingestion_expected_wait_seconds",
            "How long a new payload will wait, of flows that are behind.",
            ("flow",),
            waits,
        )
        self._show(
            "ingestion_flow_without_worker", "1 if a flow's payloads wait for a queue that no worker takes.",
            ("flow", "queue"), {(name, flow.runs.queue): float(name in without_worker) for name, flow in flows.items()},
        )  # fmt: skip
        self._show("ingestion_rejects", "Rejects not redriven.", ("flow", "kind"), statistics.open_rejects)

        self._show(
            "ingestion_unreadable_segments", "Segments on landing storage that cannot be read as a whole.", (),
            {(): len(statistics.unreadable)},
        )  # fmt: skip

    def show_ages(self, ages_s: Mapping[str, float] | None) -> None:
        """How old each flow's newest payload is; None while the ledger is down."""
        self._show(
            "ingestion_newest_payload_age_seconds",
            "Seconds since a flow's newest payload was acknowledged; of flows and drop zones that ever had one.",
            ("flow",),
            {(flow,): age_s for flow, age_s in (ages_s or {}).items()},
        )

    def show_clock(self, off_s: float | None) -> None:
        """How far this machine's clock is ahead of the ledger's; None while that is not known."""
        self._show(
            "ingestion_clock_off_seconds", "Seconds by which this machine's clock is ahead of the ledger's.", (),
            {} if off_s is None else {(): off_s},
        )  # fmt: skip

    def show_dependencies(self, up: dict[str, bool]) -> None:
        """Whether each dependency answers."""
        values = {(name,): float(answers) for name, answers in up.items()}
        self._show("ingestion_dependency_up", "1 if the dependency answers.", ("dependency",), values)

    def show_disk(self, disk: Disk) -> None:
        """The disk that holds the state of this machine, and how fast it fills, once that is known."""
        self._show(
            "ingestion_disk_free_bytes",
            "Bytes left on the disk of INGESTION_HOME.",
            (),
            {(): disk.free_bytes},
        )
        if disk.bytes_a_day is not None and disk.days_left is not None:
            self._show(
                "ingestion_disk_growth_bytes_per_day", "How much more of that disk is used each day, by the last days, without their fullest two hours.",
                (), {(): disk.bytes_a_day},
            )  # fmt: skip
            self._show(
                "ingestion_disk_days_left",
                "Days until that disk is full, if it goes on like this.",
                (),
                {(): disk.days_left},
            )

    def text(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def _show(self, name: str, text: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> None:
        family = GaugeMetricFamily(name, text, labels=labels)
        for key, value in values.items():
            family.add_metric([str(part) for part in key], value)
        self._outside[name] = family


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FINISHED = frozenset({"done", "failed"})


class _Requests:
    """What is counted with every request: in plain numbers, as the client library's own counters lock each by itself."""

    def __init__(self) -> None:
        self._answered: dict[tuple[str, str, int], list[float]] = {}  # a number for each bucket, then seconds
        self._accepted: Counts[str] = Counts()

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        """One answered request."""
        if method not in _METHODS:
            method = "other"
        numbers = self._answered.get((method, path, status))
        if numbers is None:
            numbers = self._answered[method, path, status] = [0] * (len(_SECONDS) + 1) + [0.0]
        numbers[bisect_left(_SECONDS, seconds)] += 1
        numbers[-1] += seconds

    def count_accepted(self, flow: str) -> None:
        """One payload acknowledged."""
        self._accepted[flow] += 1

    def collect(self) -> Iterable[Metric]:
        answered = CounterMetricFamily(
            "ingestion_http_requests", "Requests answered.", labels=("method", "path", "status")
        )
        durations = HistogramMetricFamily(
            "ingestion_http_request_duration_seconds", "Time from request to answer.", labels=("method", "path")
        )  # fmt: skip
        by_path: dict[tuple[str, str], list[float]] = {}
        for (method, path, status), numbers in list(self._answered.items()):
            answered.add_metric([method, path, str(status)], sum(numbers[:-1]))
            others = by_path.get((method, path), [0] * len(numbers))
            by_path[method, path] = [one + other for one, other in zip(numbers, others, strict=True)]
        bounds = [*map(floatToGoString, _SECONDS), "+Inf"]
        for key, numbers in by_path.items():
            durations.add_metric(key, list(zip(bounds, accumulate(numbers[:-1]), strict=True)), numbers[-1])
        accepted = CounterMetricFamily(
            "ingestion_drops_accepted", "Payloads acknowledged by this process.", labels=("flow",)
        )
        for flow, number in list(self._accepted.items()):
            accepted.add_metric([flow], number)
        return answered, durations, accepted


class _Outside:
    """Values read elsewhere and shown as they were last."""

    def __init__(self, families: dict[str, Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return list(self._families.values())
