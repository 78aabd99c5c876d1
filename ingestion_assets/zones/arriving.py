"""Payloads as a front door's list of receipts tells of them: each when it comes, and when it ends."""

from collections.abc import Callable, Iterator
from heapq import nsmallest
from itertools import islice
from typing import Any
from uuid import UUID

from ingestion_assets.sending.front_door_client import RefusedError

Receipt = dict[str, Any]
Ask = Callable[[str, dict[str, Any]], Any]
"""Called with a path and parameters, gives the answer. Raises `NoAnswerError`, `RefusedError`."""

PAGE = 500
PAGES = 40
"""Pages that one look takes at most, so that it ends however many came."""
LATE_MS = 3000
"""How much younger a payload may be whose row is there before: a row is written up to a second after its payload was taken in."""
BY_ID = 20
"""Open payloads that are asked for by id at each look. Where a page holds more of them, the next is taken, too."""
FOLLOWED = 50_000
_ENDED = {"done", "failed"}


class Arriving:
    """The payloads of one flow, or of all, that come after this is made.

    It remembers the open ones, at most `followed`, and those that came within the last `LATE_MS`. `passed_over` says that more came
    between two looks than are listed, `given_up` how many open ones were forgotten, the oldest first.
    """

    def __init__(
        self, ask: Ask, flow: str | None, *, page: int = PAGE, pages: int = PAGES, followed: int = FOLLOWED
    ) -> None:
        self._ask = ask
        self._page_size, self._pages, self._followed = page, pages, followed
        self._parameters = {"flow": flow} if flow else {}
        self._since = self._newest = next((one["id"] for one in self._page(None, limit=1)["items"]), "")
        self._open: dict[str, None] = {}
        self._ended: set[str] = set()
        self.passed_over = False
        self.given_up = 0

    def look(self) -> Iterator[Receipt]:
        """What came or ended since the last look, oldest first. A look that raises is made again by the next."""
        floor = max(self._since, _before(self._newest))
        listed = self._listed(floor)
        yield from filter(lambda one: self._is_news(one, floor), reversed(listed))
        on_pages = {one["id"] for one in listed}
        for known in list(islice((one for one in self._open if one not in on_pages), BY_ID)):
            receipt = self._by_id(known)
            del self._open[known]
            if receipt is None:
                continue
            if receipt["state"] in _ENDED:
                yield receipt
            else:
                self._open[known] = None  # behind the others
        self._newest = max(self._newest, *on_pages) if on_pages else self._newest
        floor = _before(self._newest)
        self._ended = {one for one in self._ended if one >= floor}
        for oldest in nsmallest(len(self._open) - self._followed, self._open):
            del self._open[oldest]
            self.given_up += 1

    def _is_news(self, receipt: Receipt, floor: str) -> bool:
        """Whether that is to be told; it is known from now on."""
        known, ended = receipt["id"], receipt["state"] in _ENDED
        was_open = known in self._open
        if known in self._ended or not (was_open or known > floor) or (was_open and not ended):
            return False
        if ended:
            self._open.pop(known, None)
            self._ended.add(known)
        else:
            self._open[known] = None
        return True

    def _listed(self, floor: str) -> list[Receipt]:
        """Receipts from the newest back to the floor, and on where that tells of many open ones."""
        found: list[Receipt] = []
        missing = set(self._open)
        cursor: str | None = None
        for _ in range(self._pages):
            page = self._page(cursor, limit=self._page_size)
            found += page["items"]
            before = len(missing)
            missing.difference_update(one["id"] for one in page["items"])
            cursor = page["next"]
            if cursor is None or (found[-1]["id"] <= floor and before - len(missing) <= BY_ID):
                return found
        self.passed_over = self.passed_over or found[-1]["id"] > floor
        return found

    def _page(self, cursor: str | None, *, limit: int) -> Any:
        place = {} if cursor is None else {"cursor": cursor}
        return self._ask("/receipts", {**self._parameters, **place, "limit": limit})

    def _by_id(self, known: str) -> Receipt | None:
        try:
            return self._ask(f"/receipts/{known}", {})
        except RefusedError:  # it is deleted by now
            return None


def _before(receipt: str) -> str:
    """The least id of a payload that is `LATE_MS` older than this one; ids begin with the time in milliseconds."""
    if not receipt:
        return ""
    return str(UUID(int=max((UUID(receipt).int >> 80) - LATE_MS, 0) << 80))
