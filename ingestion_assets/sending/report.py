"""The report at the end: a table of totals, every line that was not sent or was rejected, the exit status."""

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ingestion_assets.sending.acknowledgement import one_line
from ingestion_assets.sending.slices import Problem
from ingestion_assets.sending.tally import Tally

EXIT_PROBLEMS, EXIT_USAGE, EXIT_GAVE_UP, EXIT_INTERRUPTED = 1, 2, 3, 130
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
        "conflicts": tally.conflicts,
        "superseded": tally.superseded,
        "rejected": tally.rejected,
        "unsendable": tally.unsendable,
        "incomplete": len(tally.incomplete),
        "outcome_unknown": tally.unknown,
        "requests_in_work": tally.waiting_for,
        "todo_lists": tally.todos,
        "settings": tally.configs,
        "notes": dict(tally.notes),
        "passed_over": dict(tally.passed_over),
        "problems": [asdict(problem) for problem in all_problems(tally)],
    }


@contextlib.contextmanager
def printing(console: Console) -> Iterator[None]:
    """Around what goes to standard output, whose disk may be full as well: a sentence and exit status 2."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # who reads has had enough
    except OSError as error:
        with contextlib.suppress(OSError, ValueError):  # else Python tries again when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        said = f"what became of it cannot be printed: {error.strerror}"
        console.print(said, soft_wrap=True, highlight=False, markup=False)
        raise typer.Exit(EXIT_USAGE) from error


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
