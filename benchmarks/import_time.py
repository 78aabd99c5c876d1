"""How long the definitions take to import, as a ratio to bare `import dagster`: fresh interpreters in turns, medians.

Processor time is compared, which is the time it takes on an idle machine, however busy this one is.
"""

import resource
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
AT_MOST = 1.3


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportTimes:
    """Processor seconds that a fresh interpreter takes, medians."""

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
            before = _processor_seconds()
            subprocess.run((sys.executable, "-c", f"import {name}"), cwd=ROOT, check=True)
            measured.append(_processor_seconds() - before)
    return ImportTimes(
        module_s=statistics.median(seconds[module][1:]), dagster_s=statistics.median(seconds["dagster"][1:])
    )


def _processor_seconds() -> float:
    """What the children that ended have used so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


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
