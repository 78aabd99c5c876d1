"""How long the definitions take to import, as a ratio to bare `import dagster`: fresh interpreters in turns, medians."""

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AT_MOST = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTimes:
    """Seconds that a fresh interpreter takes, medians."""

    module_s: float
    dagster_s: float

    @property
    def ratio(self) -> float:
        return self.module_s / self.dagster_s


def ratio_to_dagster(module: str, *, pairs: int) -> ImportTimes:
    """Import `module` and bare dagster in turns, `pairs` times each, after once each to warm the disk."""
    seconds: dict[str, list[float]] = {module: [], "dagster": []}
    for _ in range(pairs + 1):
        for name, measured in seconds.items():
            started = time.perf_counter()
            subprocess.run((sys.executable, "-c", f"import {name}"), cwd=ROOT, check=True)
            measured.append(time.perf_counter() - started)
    return ImportTimes(
        module_s=statistics.median(seconds[module][1:]), dagster_s=statistics.median(seconds["dagster"][1:])
    )


def main() -> int:
    from measuring import Targets, arguments, console  # noqa: PLC0415  # the test of this ratio needs no stack

    pairs = 5 if arguments(__doc__).quick else 15
    times = ratio_to_dagster("ingestion_assets.definitions", pairs=pairs)
    console.print(
        f"definitions {times.module_s:.2f} s, bare dagster {times.dagster_s:.2f} s, medians of {pairs}"
    )
    targets = Targets()
    targets.at_most("import of the definitions against bare dagster", times.ratio, AT_MOST, "x")
    return targets.verdict()


if __name__ == "__main__":
    sys.exit(main())
