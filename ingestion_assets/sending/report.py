"""The report at the end: a table of totals, and every line that was not sent or was rejected."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ingestion_assets.sending.slices import Problem
from ingestion_assets.sending.tally import Tally

LISTED_PROBLEMS = 200
_NOTES = {
    "invalid_utf8": "lines with bytes that are no UTF-8, sent with U+FFFD in their place",
    "nul_bytes": "lines with NUL bytes around what was sent",
    "shared_line": "objects that shared a line with others",
}


def as_json(tally: Tally, *, elapsed_s: float, ended: str) -> dict[str, Any]:
    """The whole tally as plain data; `ended` is `complete`, `stopped` or the reason it gave up."""
    return {
        "ended": ended,
        "elapsed_s": round(elapsed_s, 3),
        "files": tally.files,
        "files_unchanged": tally.files_unchanged,
        "bytes": tally.bytes_done,
        "requests": tally.requests,
        "lines_sent": tally.sent,
        "stored": tally.stored,
        "duplicate": tally.duplicate,
        "rejected": tally.rejected,
        "unsendable": tally.unsendable,
        "incomplete": len(tally.incomplete),
        "outcome_unknown": tally.unknown,
        "requests_in_work": tally.waiting_for,
        "todo_lists": tally.todos,
        "settings": tally.configs,
        "notes": dict(tally.notes),
        "problems": [
            asdict(problem) for problem in (*tally.problems, *sorted_by_place(tally.incomplete.values()))
        ],
    }


def print_summary(tally: Tally, *, console: Console, elapsed_s: float, dry_run: bool = False) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_column(style="dim")
    rate = f"{tally.sent / max(0.001, elapsed_s):,.0f} lines/s in {elapsed_s:.1f} s"
    table.add_row("files", f"{tally.files:,}", f"{tally.files_unchanged:,} with nothing new")
    table.add_row("lines that would be sent" if dry_run else "lines sent", f"{tally.sent:,}", rate)
    if not dry_run:
        table.add_row("  stored", f"{tally.stored:,}", "new to the store")
        table.add_row("  duplicate", f"{tally.duplicate:,}", "stored before")
        table.add_row("  rejected", f"{tally.rejected:,}", "")
        open_lines = tally.sent - tally.stored - tally.duplicate - tally.rejected
        if tally.waiting_for or tally.unknown or open_lines > 0:
            table.add_row("  accepted", f"{max(0, open_lines):,}", "outcome not asked for, or not known yet")
    table.add_row("lines that cannot be sent", f"{tally.unsendable:,}", "")
    if tally.incomplete:
        table.add_row("incomplete last lines", f"{len(tally.incomplete):,}", "tried again next time")
    if tally.todos:
        table.add_row("todo lists", f"{tally.todos:,}", "")
    if tally.configs:
        table.add_row("settings files", f"{tally.configs:,}", "")
    for note, count in sorted(tally.notes.items()):
        table.add_row(f"note: {note}", f"{count:,}", _NOTES.get(note, ""))
    console.print(table)


def print_problems(tally: Tally, *, console: Console) -> None:
    """`file:line (byte offset): code: reason`, one a line, so that editors and grep find the place."""
    problems = [*sorted_by_place(tally.problems), *sorted_by_place(tally.incomplete.values())]
    for problem in problems[:LISTED_PROBLEMS]:
        console.print(describe(problem), soft_wrap=True, highlight=False)
    if len(problems) > LISTED_PROBLEMS:
        console.print(
            f"… and {len(problems) - LISTED_PROBLEMS:,} more; --json lists them all", soft_wrap=True
        )


def describe(problem: Problem) -> str:
    """One problem as a line of text, safe to print with markup."""
    return escape(f"{problem.path}:{problem.line} (byte {problem.offset}): {problem.code}: {problem.reason}")


def sorted_by_place(problems: Any) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.path, problem.offset))
