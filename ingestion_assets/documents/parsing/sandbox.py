"""A file parsed in a child process with limits of memory and time; what the child dies of costs this file alone."""

from collections.abc import Callable
from pathlib import Path

from ingestion_assets.documents.parsing.shapes import Limits, ParsedFile, ParseOptions


def parse(
    path: Path,
    name: str,
    options: ParseOptions,
    *,
    limits: Limits,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda _page, _of: None,
    llm: Callable[[bytes, int], str] | None = None,
) -> ParsedFile:
    """The text of the file at `path`, called `name` at its source.

    `progress` is told pages done and pages in all. `llm` reads a page from its image (PNG bytes, page number); without it no page is
    shown to a model. Raises `FileError`: `cancelled` where `stopped` said so, all else by what is wrong with the file.
    """
    raise NotImplementedError(path, name, options, limits, stopped, progress, llm)
