"""What `ingestion demo` shows of a flow. A flow names its own (`Flow.demonstration`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Demonstration:
    """Commands of `ingestion send`, each called with a folder: `make` fills it, `send` sends it, `again` sends all of it once more.

    `statistics` and `post_to` are paths of the API: where the rows are counted, and where `payload(seed)` is posted to and
    waited for. `jobs` are what otherwise runs by the hour.
    """

    what: str
    make: Sequence[str]
    send: Sequence[str]
    again: Sequence[str]
    statistics: str
    post_to: str
    payload: Callable[[int], Any]
    payload_is: str
    jobs: Sequence[str] = ()
