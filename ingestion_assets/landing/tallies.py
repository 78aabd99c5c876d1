"""The records of a finished payload by kind and outcome, counted from what its flow says of it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol


class Finished(Protocol):
    """What is read of a finished payload's receipt."""

    @property
    def state(self) -> str: ...
    @property
    def records(self) -> int: ...
    @property
    def result(self) -> Mapping[str, Any] | None: ...


Tally = Callable[[Finished], Mapping[tuple[str, str], int]]

KIND = "message"
OUTCOMES: Mapping[str, str] = {name: name for name in ("stored", "duplicate", "superseded", "rejected")}


def tally_by(
    names: Mapping[str, str] = OUTCOMES,
    *,
    counts: Callable[[Mapping[str, Any]], Mapping[str, Mapping[str, Any]]] = lambda result: {KIND: result},
    stored: str = "stored",
    rejected: str = "rejected",
) -> Tally:
    """A tally by the result's own counts: `counts` finds them in it, by kind of record; `names` says which outcome each is.

    Where a result counts nothing, all records are `stored`, or all `rejected` in a payload that failed.
    """

    def tally(receipt: Finished) -> Mapping[tuple[str, str], int]:
        tallied: dict[tuple[str, str], int] = {}
        counted = False
        for kind, numbers in counts(receipt.result or {}).items():
            for name in numbers.keys() & names.keys():
                counted = True
                if number := int(numbers[name] or 0):
                    outcome = kind, names[name]
                    tallied[outcome] = tallied.get(outcome, 0) + number
        if counted:
            return tallied
        return {(KIND, rejected if receipt.state == "failed" else stored): receipt.records}

    return tally


BY_OUTCOME = tally_by()
