"""The long fault tests, of all flows at once: `python -m ingestion_assets_tests.faults.soak --rounds 20 --target PostgreSQL`, or
`--kind clocks --kind syncs`.

Starts a stack of its own in a temporary folder, prints each round and, at the end, a table.
"""

import argparse
import random
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ingestion_assets_tests.faults.campaign import Campaign, Round, campaign, campaign_with_late_writes
from ingestion_assets_tests.faults.convergence import Audit
from ingestion_assets_tests.faults.kinds import KINDS, Kind
from ingestion_assets_tests.faults.stopping import STOPPABLE, STOPPED_S, stop_each
from ingestion_assets_tests.faults.targets import TARGETS

KILL, STOP, NOTHING = "kill", "stop", "nothing"
HEADER = (
    "| what | rounds | acknowledged | lost | doubled | failed | tables | not told | all done after, median | most | nothing held after, most |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def row(name: str, number: int, rounds: Sequence[Round], audit: Audit, silent: Sequence[str]) -> str:
    """One line of the table, in seconds from the moment the harm was over."""
    finished = [one.finished_s for one in rounds]
    quiet = [one.quiet_s for one in rounds]
    return (
        f"| {name} | {number} | {sum(one.acknowledged for one in rounds)} | {len(audit.lost)} | {audit.doubled} "
        f"| {len(audit.failed)} | {'equal' if not audit.different else f'{len(audit.different)} differ'} | {len(silent)} "
        f"| {statistics.median(finished):.1f} s | {max(finished):.1f} s | {max(quiet):.1f} s |"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 when something was lost, doubled, failed, differs or was not told."""
    parser = argparse.ArgumentParser(description="Hurt a stack under load, again and again.")
    parser.add_argument("--kind", action="append", choices=[KILL, STOP, *KINDS], help="default: kill")
    parser.add_argument(
        "--target", action="append", choices=list(dict.fromkeys([*TARGETS, *STOPPABLE, NOTHING])),
        help="what is killed or stopped (default: each)",
    )  # fmt: skip
    parser.add_argument(
        "--rounds", "--kills", type=int, default=20, help="of each target or kind (default %(default)s)"
    )
    parser.add_argument(
        "--payloads", type=int, default=12, help="payloads a round and flow, about (default %(default)s)"
    )
    parser.add_argument(
        "--stopped", type=float, nargs=2, default=STOPPED_S, metavar=("FROM", "TO"),
        help="seconds for which a process stands still (default: 5 to 120)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="default: random")
    parser.add_argument("--home", type=Path, help="the stack's home; default: a temporary folder")
    chosen = parser.parse_args(arguments)
    print(f"seed {chosen.seed}", flush=True)
    kinds = chosen.kind or [KILL]
    start = campaign if kinds == [KILL] else campaign_with_late_writes
    with (
        tempfile.TemporaryDirectory(prefix="ingestion-soak-") as temporary,
        start(chosen.home or Path(temporary) / "home", seed=chosen.seed) as running,
    ):
        acts = list(_acts(kinds, chosen.target, payloads=chosen.payloads, stopped=tuple(chosen.stopped)))
        return soak(running, acts, rounds=chosen.rounds, payloads=chosen.payloads)


Act = Callable[[Campaign], list[str]]


def _acts(
    kinds: Sequence[str], targets: Sequence[str] | None, *, payloads: int, stopped: tuple[float, float]
) -> Iterator[tuple[str, Act]]:
    """What a round does, by the name it has in the table."""

    def killing(target: str) -> Act:
        def act(running: Campaign) -> list[str]:
            running.strike(*([] if target == NOTHING else [target]), payloads=payloads)
            return []

        return act

    def stopping(target: str) -> Act:
        def act(running: Campaign) -> list[str]:
            stop_each(running, target, payloads=payloads, seconds=stopped)
            return []

        return act

    def hurting(kind: Kind) -> Act:
        return lambda running: kind(running, payloads)

    for kind in kinds:
        if kind == KILL:
            others = {*TARGETS, NOTHING} if kinds == [KILL] else {*TARGETS, NOTHING} - {"MongoDB"}
            yield from ((one, killing(one)) for one in targets or TARGETS if one in others)
        elif kind == STOP:
            yield from (
                (f"{one}, stopped", stopping(one)) for one in targets or STOPPABLE if one in STOPPABLE
            )
        else:
            yield kind, hurting(KINDS[kind])


def soak(running: Campaign, acts: Sequence[tuple[str, Act]], *, rounds: int, payloads: int) -> int:
    """Do each of it `rounds` times; 1 when something was lost, doubled, failed, differs or was not told."""
    table: list[str] = []
    clean = True
    running.strike(payloads=payloads)
    for name, act in acts:
        first, silent = len(running.rounds), list[str]()
        for number in range(rounds):
            before = len(running.rounds)
            silent += act(running)
            for done in running.rounds[before:]:
                print(
                    f"{name} {number + 1}/{rounds} ({', '.join(done.targets)}): {done.acknowledged} acknowledged, all done "
                    f"{done.finished_s:.1f} s after it was over, nothing held {done.quiet_s:.1f} s; last {done.last}; "
                    f"answers {dict(done.answers)}",
                    flush=True,
                )
        found = running.audit()
        for said in [*silent, *found.lost, *found.failed, *found.different][:20]:
            print(f"  {said}", flush=True)
        clean = clean and found.is_clean and not silent
        table.append(row(name, rounds, running.rounds[first:], found, silent))
        print(HEADER, *table, sep="\n", flush=True)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
