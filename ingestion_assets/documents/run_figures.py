"""What a run did with a job's files, in figures, for whoever looks at it in Dagster."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Done:
    """What a run did."""

    outcomes: dict[str, int] = field(default_factory=dict)
    took_ms: dict[str, list[int]] = field(default_factory=dict)
    failures: list[tuple[str, str, str, str]] = field(default_factory=list)
    pages: int = 0
    chunks: int = 0
    embedded: int = 0
    reused: int = 0
    contents: list[int] = field(default_factory=list)
    retried: int = 0
    outranked: bool = False


def percentiles(took_ms: Mapping[str, Sequence[int]]) -> Iterator[tuple[str, float]]:
    """Seconds a step, at the median and at the 95th of a hundred."""
    for step, spent in took_ms.items():
        ordered = sorted(spent)
        yield f"{step}_p50_s", round(ordered[len(ordered) // 2] / 1000, 3)
        yield f"{step}_p95_s", round(ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)] / 1000, 3)


def figures(done: Done) -> dict[str, Any]:
    """What a run did, as metadata."""
    return {
        "files": sum(done.outcomes.values()), **done.outcomes, "pages": done.pages, "chunks": done.chunks, "embedded": done.embedded,
        "embedded_before": done.reused, "attempts_repeated": done.retried, **dict(percentiles(done.took_ms)),
    }  # fmt: skip
