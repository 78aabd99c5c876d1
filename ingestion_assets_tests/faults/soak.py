"""The long kill test: `python -m ingestion_assets_tests.faults.soak --kills 20 --target PostgreSQL --target Valkey`.

Starts a stack of its own in a temporary folder, prints each round and, at the end, a table.
"""

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ingestion_assets_tests.faults.campaign import Campaign, Round, campaign
from ingestion_assets_tests.faults.convergence import Audit
from ingestion_assets_tests.faults.targets import TARGETS

HEADER = (
    "| target | kills | acknowledged | lost | doubled | failed | tables | all done after, median | most | nothing held after, most |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def row(target: str, rounds: Sequence[Round], audit: Audit, acknowledged: int) -> str:
    """One line of the table, in seconds from the moment the target was back."""
    finished = [one.finished_s for one in rounds]
    quiet = [one.quiet_s for one in rounds]
    return (
        f"| {target} | {len(rounds)} | {acknowledged} | {len(audit.lost)} | {audit.doubled} | {len(audit.failed)} "
        f"| {'equal' if not audit.different else f'{len(audit.different)} differ'} "
        f"| {statistics.median(finished):.1f} s | {max(finished):.1f} s | {max(quiet):.1f} s |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 when something was lost, doubled, failed or differs."""
    parser = argparse.ArgumentParser(description="Kill parts of a stack under load, again and again.")
    parser.add_argument("--target", action="append", choices=[*TARGETS, "nothing"], help="default: each")
    parser.add_argument("--kills", type=int, default=20, help="per target (default %(default)s)")
    parser.add_argument("--lines", type=int, default=240, help="lines sent a round (default %(default)s)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="default: random")
    parser.add_argument("--home", type=Path, help="the stack's home; default: a temporary folder")
    chosen = parser.parse_args(arguments)
    print(f"seed {chosen.seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="ingestion-soak-") as temporary,
        campaign(chosen.home or Path(temporary) / "home", seed=chosen.seed * 1000) as running,
    ):
        return soak(running, targets=chosen.target or TARGETS, kills=chosen.kills, lines=chosen.lines)


def soak(running: Campaign, *, targets: Sequence[str], kills: int, lines: int) -> int:
    """Kill each target `kills` times; 1 when something was lost, doubled, failed or differs."""
    rows: list[str] = []
    bad = 0
    running.strike(None, lines=lines)
    for target in targets:
        before, first = len(running.acknowledged), len(running.rounds)
        for number in range(kills):
            done = running.strike(None if target == "nothing" else target, lines=lines)
            print(
                f"{target} {number + 1}/{kills}: all done {done.finished_s:.1f} s after it was back, nothing held "
                f"{done.quiet_s:.1f} s; answers {dict(done.answers)}",
                flush=True,
            )
        found = running.audit()
        for said in [*found.lost, *found.failed, *found.different][:10]:
            print(f"  {said}", flush=True)
        bad += len(found.lost) + abs(found.doubled) + len(found.failed) + len(found.different)
        rows.append(row(target, running.rounds[first:], found, len(running.acknowledged) - before))
        print(HEADER, *rows, sep="\n", flush=True)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
