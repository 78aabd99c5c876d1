"""The report at the end: a table of totals, every line that was not sent or was rejected."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ingestion_assets.conversations.sending.slices import Problem
from ingestion_assets.conversations.sending.tally import Tally
from ingestion_assets.sending.acknowledgement import one_line

LISTED_PROBLEMS = 200
_NOTES = {
    "invalid_utf8": "lines with bytes that are no UTF-8, sent with U+FFFD in their place",
    "nul_bytes": "lines with NUL bytes around what was sent",
    "shared_line": "objects that shared a line with others",
}


def as_json(tally: Tally, *, elapsed_s: float, ended: str) -> dict[str, Any]:
    """The whole tally as plain data; `ended` is `complete`, `stopped` or the reason it gave up."""
    told = {
        "files": "files", "files_unchanged": "files_unchanged", "bytes": "bytes_done", "requests": "requests",
        "lines_sent": "sent", "stored": "stored", "duplicate": "duplicate", "conflicts": "conflicts",
        "superseded": "superseded", "rejected": "rejected", "unsendable": "unsendable",
        "outcome_unknown": "unknown", "requests_in_work": "waiting_for", "todo_lists": "todos",
        "settings": "configs", "parts_rejected": "parts_rejected",
    }  # fmt: skip
    return {
        "ended": ended,
        "elapsed_s": round(elapsed_s, 3),
        **{name: getattr(tally, attribute) for name, attribute in told.items()},
        "incomplete": len(tally.incomplete),
        "notes": dict(tally.notes),
        "passed_over": dict(tally.passed_over),
        "problems": [asdict(problem) for problem in all_problems(tally)],
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
        if tally.conflicts:
            table.add_row("  conflict", f"{tally.conflicts:,}", "others came first and stay; kept as rejects")
        if tally.superseded:
            table.add_row("superseded", f"{tally.superseded:,}", "something newer is stored")
        table.add_row("  rejected", f"{tally.rejected:,}", "")
        known = tally.stored + tally.duplicate + tally.conflicts + tally.rejected
        open_lines = tally.sent - known
        if tally.waiting_for or tally.unknown or open_lines > 0:
            table.add_row("  accepted", f"{max(0, open_lines):,}", "outcome not asked for, or not known yet")
    table.add_row("lines that cannot be sent", f"{tally.unsendable:,}", "")
    if tally.incomplete:
        table.add_row("incomplete last lines", f"{len(tally.incomplete):,}", "tried again next time")
    if tally.todos:
        table.add_row("todo lists", f"{tally.todos:,}", "")
    if tally.configs:
        table.add_row("settings files", f"{tally.configs:,}", "")
    if tally.parts_rejected:
        table.add_row("  rejected", f"{tally.parts_rejected:,}", "of these")
    for note, count in sorted(tally.notes.items()):
        table.add_row(f"note: {note}", f"{count:,}", _NOTES.get(note, ""))
    console.print(table)


def print_problems(tally: Tally, *, console: Console) -> None:
    """`file:line (byte offset): code: reason`, one a line, so that editors and grep find the place."""
    for name, reason in sorted(tally.passed_over.items()):
        console.print(f"{name}: passed over: {reason}", soft_wrap=True, highlight=False, markup=False)
    problems = all_problems(tally)
    for problem in problems[:LISTED_PROBLEMS]:
        console.print(describe(problem), soft_wrap=True, highlight=False)
    if len(problems) > LISTED_PROBLEMS:
        console.print(
            f"… and {len(problems) - LISTED_PROBLEMS:,} more; --json lists them all", soft_wrap=True
        )


def describe(problem: Problem) -> str:
    """One problem as a line of text, safe to print with markup."""
    place = f"{problem.path}:{problem.line} (byte {problem.offset})" if problem.line else problem.path
    return escape(f"{place}: {problem.code}: {one_line(problem.reason)}")


def all_problems(tally: Tally) -> list[Problem]:
    """Those that will not be tried again, then those that will, each by place."""
    again = [*tally.unreadable.values(), *tally.incomplete.values()]
    return [*sorted(tally.problems, key=_place), *sorted(again, key=_place)]


def _place(problem: Problem) -> tuple[str, int]:
    return problem.path, problem.offset
