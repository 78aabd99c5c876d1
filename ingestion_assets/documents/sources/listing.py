"""Entries of a source page by page, and which of them a selection means. Works with every source."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ingestion_assets.documents import file_paths
from ingestion_assets.documents.sources.source import Entry, Source

ALL = "*"


@dataclass(frozen=True, slots=True)
class Selection:
    """The entries that a selection means, and what of it means nothing: ids that the source does not have, globs without a match."""

    entries: list[Entry]
    missing: list[str]


def page(source: Source, *, after: tuple[str, str] | None, limit: int) -> list[Entry]:
    """The `limit` entries after the one with this path and id, all of them, offered or not."""
    found: list[Entry] = []
    behind = None if after is None else (tuple(after[0].split("/")), after[1])
    for entry in source.entries():
        if behind is not None and entry.place <= behind:
            continue
        found.append(entry)
        if len(found) == limit:
            break
    return found


def select(
    source: Source, wanted: Sequence[str], *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Selection:
    """What `wanted` means: ids of files, globs of paths, `*` for all. An id is taken as it stands, refused or ignored: then its file fails
    with the reason; globs take what is offered, which may be nothing where all is wanted, and fits `include` and `exclude`. Raises `FileError` when the source cannot be had."""
    ids = [one for one in dict.fromkeys(wanted) if not file_paths.is_glob(one)]
    globs = [one for one in dict.fromkeys(wanted) if file_paths.is_glob(one)]
    taken: dict[str, Entry] = {}
    missing: list[str] = []
    for one in ids:
        entry = source.entry(one)
        if entry is None:
            missing.append(one)
        else:
            taken[entry.file_id] = entry
    if globs:
        used: set[str] = set()
        for entry in source.entries():
            if entry.offered and _fits(entry.path, include, exclude):
                hit = [one for one in globs if file_paths.matches(entry.path, [one])]
                used.update(hit)
                if hit:
                    taken.setdefault(entry.file_id, entry)
        missing += [one for one in globs if one not in used and one != ALL]
    return Selection(sorted(taken.values(), key=lambda one: one.place), missing)


def _fits(path: str, include: Collection[str], exclude: Collection[str]) -> bool:
    return (not include or file_paths.matches(path, list(include))) and not file_paths.matches(
        path, list(exclude)
    )
