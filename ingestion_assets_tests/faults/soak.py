"""The long kill test, of all flows at once: `python -m ingestion_assets_tests.faults.soak --kills 20 --target PostgreSQL --target Valkey`.

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


def row(target: str, rounds: Sequence[Round], audit: Audit) -> str:
    """One line of the table, in seconds from the moment the target was back."""
    finished = [one.finished_s for one in rounds]
    quiet = [one.quiet_s for one in rounds]
    return (
        f"| {target} | {len(rounds)} | {sum(one.acknowledged for one in rounds)} | {len(audit.lost)} | {audit.doubled} "
        f"| {len(audit.failed)} | {'equal' if not audit.different else f'{len(audit.different)} differ'} "
        f"| {statistics.median(finished):.1f} s | {max(finished):.1f} s | {max(quiet):.1f} s |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 when something was lost, doubled, failed or differs."""
    parser = argparse.ArgumentParser(description="Kill parts of a stack under load, again and again.")
    parser.add_argument("--target", action="append", choices=[*TARGETS, "nothing"], help="default: each")
    parser.add_argument("--kills", type=int, default=20, help="per target (default %(default)s)")
    parser.add_argument(
        "--payloads", type=int, default=12, help="payloads a round and flow, about (default %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="default: random")
    parser.add_argument("--home", type=Path, help="the stack's home; default: a temporary folder")
    chosen = parser.parse_args(arguments)
    print(f"seed {chosen.seed}", flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="ingestion-soak-") as temporary,
        campaign(chosen.home or Path(temporary) / "home", seed=chosen.seed) as running,
    ):
        return soak(running, targets=chosen.target or TARGETS, kills=chosen.kills, payloads=chosen.payloads)


def soak(running: Campaign, *, targets: Sequence[str], kills: int, payloads: int) -> int:
    """Kill each target `kills` times; 1 when something was lost, doubled, failed or differs."""
    table: list[str] = []
    clean = True
    running.strike(payloads=payloads)
    for target in targets:
        first = len(running.rounds)
        for number in range(kills):
            done = running.strike(*([] if target == "nothing" else [target]), payloads=payloads)
            print(
                f"{target} {number + 1}/{kills}: {done.acknowledged} acknowledged, all done {done.finished_s:.1f} s after "
                f"it was back, nothing held {done.quiet_s:.1f} s; last {done.last}; answers {dict(done.answers)}",
                flush=True,
            )
        found = running.audit()
        for said in [*found.lost, *found.failed, *found.different][:20]:
            print(f"  {said}", flush=True)
        clean = clean and found.is_clean
        table.append(row(target, running.rounds[first:], found))
        print(HEADER, *table, sep="\n", flush=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
