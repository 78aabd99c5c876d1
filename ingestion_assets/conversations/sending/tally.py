"""Counts what a sender has done so far; written by its threads, read by whoever shows it."""

import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ingestion_assets.conversations.sending.slices import Problem
from ingestion_assets.sending.display import Figures


@dataclass(slots=True)
class Tally:
    """Totals of one run. `sent` are records the front door accepted; `stored`, `duplicate`, `conflicts`, `superseded` and
    `rejected` are those whose outcome is known; `parts_rejected` are todo lists and settings. Bytes are bytes of
    files. `problems` will not be tried again,
    `incomplete` and `unreadable` (by file or folder) will. What is `passed_over` is no file; it fails nothing.
    """

    files: int = 0
    files_unchanged: int = 0
    bytes_total: int = 0
    bytes_done: int = 0
    requests: int = 0
    sent: int = 0
    stored: int = 0
    duplicate: int = 0
    conflicts: int = 0
    superseded: int = 0
    rejected: int = 0
    unknown: int = 0
    todos: int = 0
    configs: int = 0
    parts_rejected: int = 0
    unsendable: int = 0
    waiting_for: int = 0
    problems: list[Problem] = field(default_factory=list)
    incomplete: dict[str, Problem] = field(default_factory=dict)
    unreadable: dict[str, Problem] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
    began: float = field(default_factory=time.monotonic)
    _guard: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **amounts: int) -> None:
        """Add to the named totals."""
        with self._guard:
            for name, amount in amounts.items():
                setattr(self, name, getattr(self, name) + amount)

    def found(self, total: str, problems: Iterable[Problem]) -> None:
        """Problems, each counted in the named total."""
        problems = list(problems)
        self.settled({total: len(problems)}, problems)

    def settled(self, totals: Mapping[str, int], problems: Iterable[Problem]) -> None:
        """What became of records: totals, and the problems among them."""
        self.add(**totals)
        with self._guard:
            self.problems.extend(problems)

    def noted(self, notes: Counter[str]) -> None:
        with self._guard:
            self.notes.update(notes)

    def figures(self) -> Figures:
        """What is shown while it is sent."""
        rate = self.sent / max(0.001, time.monotonic() - self.began)
        words = (
            f"{self.sent:,} lines, {rate:,.0f}/s, {self.stored:,} stored, "
            f"{self.duplicate:,} duplicate, {self.rejected:,} rejected"
        )
        waiting = f", {self.waiting_for:,} open" if self.waiting_for else ""
        return Figures(self.bytes_done, self.bytes_total, words + waiting)

    @property
    def failed(self) -> bool:
        return bool(self.problems or self.incomplete or self.unreadable)
