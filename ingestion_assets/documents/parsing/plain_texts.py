"""Texts that are taken as they are: notes, Markdown, comma-separated tables."""

import csv
from collections import Counter

from ingestion_assets.documents.parsing.kinds import MIMES
from ingestion_assets.documents.parsing.page_texts import PageText, Reading, Task

DELIMITERS = ",;\t|"


def read(task: Task, kind: str, text: str, encoding: str) -> Reading:
    """A text, already decoded."""
    if kind == "csv":
        _warn_of_uneven_rows(task, text)
    return Reading(mime=MIMES[kind], pages=[PageText(text, kind)], markdown=kind == "md", encoding=encoding)


def _warn_of_uneven_rows(task: Task, text: str) -> None:
    delimiter = max(DELIMITERS, key=text.partition("\n")[0].count)
    try:
        widths = Counter(
            len(row) for row in csv.reader(text.splitlines(keepends=True), delimiter=delimiter) if row
        )
    except csv.Error:
        task.warn("uneven_rows", "The rows cannot be told apart; they were kept as they are.")
        return
    if len(widths) > 1:
        usual = widths.most_common(1)[0][0]
        others = widths.total() - widths[usual]
        task.warn(
            "uneven_rows",
            f"{others:,} of {widths.total():,} rows do not have {usual} cells; they were kept as they are.",
        )
