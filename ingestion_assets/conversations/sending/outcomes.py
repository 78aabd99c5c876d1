"""Follows receipts until the outcome of every record is known, and says which line was rejected and why."""

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from ingestion_assets.conversations.sending.requests import Place
from ingestion_assets.conversations.sending.slices import Problem
from ingestion_assets.conversations.sending.tally import Tally
from ingestion_assets.conversations.sending.transcript_memory import OpenReceipt
from ingestion_assets.sending.delivery import UNKNOWN_PATIENCE_S, Delivery, ReceiptState
from ingestion_assets.sending.endings import GaveUpError, StoppedError

ASKED_WAIT_S = 5.0
CONFLICT = "conflict"


def settle(
    receipt: OpenReceipt, state: ReceiptState, *, record_outcomes: Callable[[], list[dict[str, Any]]]
) -> tuple[dict[str, int], list[Problem]]:
    """Totals (names of `Tally`) of a finished receipt, and the records to be told of: rejected ones, conflicts.

    `record_outcomes` is only asked where there are such. What a replayed receipt stored was stored before.
    """
    count = len(receipt.places)
    if state.state == "unknown":
        reason = f"the server knows no receipt {receipt.id} (any more), of {count} records from here on; --reset sends them again"
        return {"unknown": count}, [_problem(receipt.places[0], "outcome_unknown", reason)]
    if state.state == "failed":
        reason = (
            "; ".join(_sentence(error) for error in state.errors)
            or "the request failed and is kept as rejected"
        )
        return {"rejected": count}, [_problem(place, "request_failed", reason) for place in receipt.places]
    result = state.result or {}
    stats = result.get("stats") or {}
    stored, skipped = int(stats.get("messages_processed", 0)), int(stats.get("messages_skipped", 0))
    rejected = int(stats.get("messages_failed", 0))
    warnings, errors = _dicts(result.get("warnings")), _dicts(result.get("errors"))
    parts = [_part_problem(receipt, error) for error in errors if "part" in error]
    conflicts = sum(warning.get("code") == CONFLICT for warning in warnings)
    problems: list[Problem] = []
    if rejected or conflicts:
        told = record_outcomes() or _from_result(errors, warnings)
        problems = _problems(receipt, told)
        conflicts = sum(problem.code == CONFLICT for problem in problems)
        unnamed = rejected - (len(problems) - conflicts)
        if unnamed > 0:
            reason = f"{unnamed} records from here on were rejected, the server does not say which; see `ingestion rejects list`"
            problems.append(_problem(receipt.places[0], "rejected", reason))
    if receipt.replayed:
        stored, skipped = 0, stored + skipped
    totals = {"stored": stored, "duplicate": max(0, skipped - conflicts), "conflicts": conflicts}
    totals |= {"rejected": rejected, "parts_rejected": len(parts), "superseded": _superseded(stats, warnings)}
    return totals, [*problems, *parts]


def _part_problem(receipt: OpenReceipt, error: dict[str, Any]) -> Problem:
    """A todo list (`todos[3]`) or the configuration that cannot be stored: they have no outcomes of records."""
    number = int("".join(filter(str.isdecimal, str(error["part"]))) or 0)
    place = receipt.places[min(number, len(receipt.places) - 1)]
    return _problem(place, error.get("code") or "rejected", _sentence(error))


def _problems(receipt: OpenReceipt, outcomes: list[dict[str, Any]]) -> list[Problem]:
    return [
        _problem(place, outcome.get("code") or "rejected", outcome.get("reason") or "")
        for place, outcome in zip(receipt.places, outcomes, strict=False)
        if outcome.get("status") == "rejected" or outcome.get("code") == CONFLICT
    ]


def _from_result(errors: list[dict[str, Any]], warnings: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outcomes as far as the result names them, where those of the records are not to be had."""
    named: dict[int, dict[str, Any]] = {}
    for one in [*(w for w in warnings if w.get("code") == CONFLICT), *errors]:
        if isinstance(one.get("index"), int) and one["index"] >= 0:
            named[one["index"]] = {"code": "rejected", "status": "rejected", **one, "reason": _sentence(one)}
    return [named.get(index, {}) for index in range(max(named, default=-1) + 1)]


def _superseded(stats: dict[str, Any], warnings: list[dict[str, Any]]) -> int:
    """How many messages, todo lists and settings changed nothing because something newer is stored already."""
    counted = [int(value) for name, value in stats.items() if "superseded" in name]
    return sum(counted) if counted else sum(warning.get("code") == "superseded" for warning in warnings)


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _problem(place: Place, code: str, reason: str) -> Problem:
    path, line, offset = place
    return Problem(path=path, line=line, offset=offset, code=code, reason=reason)


def _sentence(error: Any) -> str:
    if isinstance(error, dict):
        for key in ("reason", "detail", "message", "error", "msg"):
            if error.get(key):
                return str(error[key])
    return str(error)


class OutcomeFollower:
    """A thread that asks for open receipts, oldest first. `closed` is called for each one settled.

    `failure` is set when it gave up; what is still open then stays open in the sender's memory.
    """

    def __init__(
        self,
        *,
        delivery: Delivery,
        tally: Tally,
        stop: threading.Event,
        closed: Callable[[OpenReceipt], None],
        patience_s: float,
    ) -> None:
        self._delivery = delivery
        self._tally = tally
        self._stop = stop
        self._closed = closed
        self._patience_s = patience_s
        self._open: deque[OpenReceipt] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self.failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="outcomes", daemon=True)
        self._thread.start()

    def follow(self, receipt: OpenReceipt) -> None:
        with self._changed:
            self._open.append(receipt)
            self._tally.waiting_for = len(self._open)
            self._changed.notify_all()

    def wait_below(self, most: int) -> None:
        """Return once fewer than `most` receipts are open. Raises StoppedError."""
        with self._changed:
            while len(self._open) >= most:
                if self._stop.is_set():
                    raise StoppedError
                self._changed.wait(0.2)

    def finish(self) -> None:
        """End once nothing is open any more (or at once when stopped)."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def join(self, timeout_s: float | None = None) -> bool:
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def idle(self) -> bool:
        return not self._open or not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._follow_all()
        except Exception as error:  # handed to the sender, which reports it
            self.failure = error

    def _follow_all(self) -> None:
        pause_s, finished_at = 0.02, time.monotonic()
        missed: dict[str, float] = {}
        while not self._stop.is_set():
            with self._changed:
                if not self._open:
                    if self._closing:
                        return
                    self._changed.wait(0.2)
                    finished_at = time.monotonic()
                    continue
                receipt = self._open[0]
            state = self._delivery.receipt(receipt.id, wait_s=ASKED_WAIT_S)
            if state.state == "unknown":
                first_missed = missed.setdefault(receipt.id, time.monotonic())
                waiting = time.monotonic() - first_missed < UNKNOWN_PATIENCE_S
            else:
                waiting = not state.finished
            if waiting:
                if time.monotonic() - finished_at > self._patience_s:
                    raise GaveUpError(
                        f"accepted, but the outcome of {len(self._open)} requests is not known after "
                        f"{self._patience_s:.0f} s; run the same command again to learn it"
                    )
                with self._changed:
                    self._open.rotate(-1)
                self._stop.wait(pause_s)
                pause_s = min(1.0, pause_s * 2)
                continue
            totals, problems = settle(
                receipt, state, record_outcomes=partial(self._delivery.record_outcomes, receipt.id)
            )
            self._tally.settled(totals, problems)
            self._closed(receipt)
            pause_s, finished_at = 0.02, time.monotonic()
            with self._changed:
                self._open.remove(receipt)
                self._tally.waiting_for = len(self._open)
                self._changed.notify_all()
