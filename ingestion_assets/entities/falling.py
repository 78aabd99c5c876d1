"""Rows that fall because what they need has fallen: in memory, each row looked at once for each of its references. Pure."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edge:
    """A staged row that needs a key, or (`reference` is negative) belongs to the payload that the key stands for."""

    own: str
    entity: int
    reference: int
    at: int
    record: int
    sees: int


class Offers:
    """The places of the rows that have a key."""

    def __init__(self) -> None:
        self._number: Counter[int] = Counter()
        self._places: list[int] = []

    def add(self, at: int) -> None:
        """One more; the places come from the last to the first."""
        if not self._number[at]:
            self._places.append(at)
        self._number[at] += 1

    def remove(self, at: int) -> None:
        self._number[at] -= 1

    def first(self) -> int | None:
        """The first place, None when no row is left."""
        while self._places and not self._number[self._places[-1]]:
            self._places.pop()
        return self._places[-1] if self._places else None


def payload_key(at: int) -> str:
    """What stands for a whole payload among the keys."""
    return f"@{at}"


def fall(
    falling: Sequence[str],
    offers: Mapping[str, Offers],
    edges: Mapping[str, list[Edge]],
    allowed: Mapping[int, int],
    errors: Counter[int],
    refused: set[int],
) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """Let rows fall until none more does: by entity and reference the places and records. Adds to `errors` and `refused`.

    Each row is looked at once for each of its references: the rows that need a key lie with the one that sees least last.
    """
    fallen: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    out: set[tuple[int, int, int]] = set()
    keys = deque(falling)
    while keys:
        key = keys.popleft()
        for edge in _unsupported(edges.get(key, []), offers.get(key)):
            row = edge.entity, edge.at, edge.record
            if row in out:
                continue
            out.add(row)
            offers[edge.own].remove(edge.at)
            keys.append(edge.own)
            if edge.reference < 0:
                continue
            fallen[edge.entity, edge.reference].append((edge.at, edge.record))
            errors[edge.at] += 1
            if edge.at not in refused and errors[edge.at] > allowed.get(edge.at, errors[edge.at]):
                refused.add(edge.at)
                keys.append(payload_key(edge.at))
    return fallen


def _unsupported(needing: list[Edge], offers: Offers | None) -> Iterator[Edge]:
    """The rows that no row with the key they need supports any more, each given once."""
    while needing:
        first = offers.first() if offers is not None else None
        if first is not None and needing[-1].sees >= first:
            return
        yield needing.pop()
