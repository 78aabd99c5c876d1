"""What the benchmarks share: a stack of their own, payloads, processes' memory, and a verdict on each target."""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import psutil
from clients import one_by_one, request
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from ingestion_assets.samples.transcripts import messages  # noqa: E402
from ingestion_assets_tests.stacks import RunningStack, running_stack  # noqa: E402

BATCH = 1000
PAUSE_S = 0.3
DAGSTER_YAML = ROOT / "ingestion_assets" / "stack" / "dagster.yaml"
console = Console(width=130, highlight=False)


def arguments(description: str | None, **more: str) -> argparse.Namespace:
    """The command line that all benchmarks take, and options with a value that one has beside it: name and help."""
    parser = argparse.ArgumentParser(description=description)
    for name, said in more.items():
        parser.add_argument(f"--{name}", help=said)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, smaller amounts")
    return parser.parse_args()


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A folder for a stack, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="ingestion-bench-"))
    folder.chmod(0o755)  # the embedded PostgreSQL may run as another user
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def bench_stack(
    *, dagster_yaml: str | None = None, python: str = sys.executable, **settings: object
) -> Iterator[RunningStack]:
    """A whole stack without rate limits, in a temporary home. `dagster_yaml` replaces the one that ships, `python` the release."""
    with temporary_home() as folder:
        home = folder / "home"
        if dagster_yaml is not None:
            (home / "dagster").mkdir(parents=True)
            (home / "dagster" / "dagster.yaml").write_text(dagster_yaml, encoding="utf-8")
        with running_stack(
            home,
            python=python,
            **{"rate_limit": "", "workers_gpu": 0, "workers_batch": 0, "log_level": "WARNING", **settings},
        ) as stack:
            yield stack


def batches(*, count: int, seed: int, size: int = BATCH) -> list[bytes]:
    """Request bodies with `size` messages each, of sessions as real transcripts have them."""
    bodies: list[bytes] = []
    lines: list[object] = []
    for line in messages(lines=count * size, seed=seed):
        lines.append(line)
        if len(lines) == size:
            bodies.append(msgspec.json.encode({"messages": lines}))
            lines = []
    return bodies


def memory_mb(pid: int) -> float:
    """Memory of a process and its children in MB: a page that several processes share counts once, in equal parts."""
    process = psutil.Process(pid)
    return sum(one.memory_full_info().pss for one in (process, *process.children(recursive=True))) / 2**20


def quantile(values: Sequence[float], share: float) -> float:
    """The value that `share` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.4999) - 1))]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table whose columns after the first are figures."""
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        drawn.add_column(column, justify="right" if number else "left")
    for row in rows:
        drawn.add_row(*row)
    console.print()
    console.print(drawn)


def table_of_seconds(title: str, of: Mapping[str, Sequence[float]]) -> None:
    """Print median and 95th percentile of each row."""
    rows = [
        (name, f"{median(seconds):.3f}", f"{quantile(seconds, 0.95):.3f}") for name, seconds in of.items()
    ]
    table(title, ("", "median", "95th percentile"), rows)


def post_in_turn(stack: RunningStack, bodies: Sequence[bytes]) -> list[float]:
    """Seconds to the answer of each batch of messages, sent one after the other with a pause between."""
    requests = [request(stack.url, body, token=stack.admin_token) for body in bodies]
    answers = one_by_one(stack.url, requests, after_each=lambda _: time.sleep(PAUSE_S))
    assert {answer.status for answer in answers} == {200}, [answer.body[:300] for answer in answers]
    return [answer.seconds for answer in answers]


@dataclass(slots=True)
class Targets:
    """The verdicts of one benchmark."""

    lines: list[tuple[bool, str]] = field(default_factory=list)

    def at_most(self, what: str, value: float, limit: float, unit: str = "") -> None:
        """`value` must not exceed `limit`."""
        self.lines.append((value <= limit, f"{what}: {value:.2f}{unit} (at most {limit:g}{unit})"))

    def at_least(self, what: str, value: float, limit: float, unit: str = "") -> None:
        """`value` must reach `limit`."""
        self.lines.append((value >= limit, f"{what}: {value:.2f}{unit} (at least {limit:g}{unit})"))

    def verdict(self) -> int:
        """Print a line a target; the exit status."""
        console.print(f"\nload average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        for passed, text in self.lines:
            console.print(f"{'PASS' if passed else 'FAIL'}  {text}")
        return 0 if all(passed for passed, _ in self.lines) else 1


def as_rows(values: Mapping[str, float], pattern: str = "{:.3f}") -> list[tuple[str, str]]:
    """A mapping as rows of a table."""
    return [(name, pattern.format(value)) for name, value in values.items()]
