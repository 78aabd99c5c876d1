"""Entries of a source page by page, and which of them a selection means. Works with every source."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.file_globs import MOST_CHARACTERS, Glob, Globs, is_glob
from ingestion_assets.documents.sources.source import Entry, Source

ALL = "*"
MOST_GLOBS = 100
NO_FILE = frozenset({"not_found", "unsafe_path", "unsupported_type"})
"""What an id is refused with that can never be fetched. All else that is refused, for a password say, fails when its time comes."""


class TooManyGlobsError(ValueError):
    """A selection has so many globs."""

    def __init__(self, globs: int) -> None:
        super().__init__(f"{globs:,} globs")
        self.globs = globs


@dataclass(frozen=True, slots=True)
class Selection:
    """The entries that a selection means; what of it means nothing, with the reason where there is more to say than that; and how many of
    it are globs."""

    entries: list[Entry]
    missing: dict[str, str | None]
    globs: int = 0


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


def position_of(entry: Entry) -> tuple[int, str]:
    """The path and the id of an entry as a number and a text, without a separator that one of them might hold: the path is so many
    characters of the text, which is the id where that begins with the path, else (an odd number tells it) both."""
    beside = not entry.file_id.startswith(entry.path)
    return 2 * len(entry.path) + beside, entry.path + entry.file_id if beside else entry.file_id


def place_after(position: tuple[int, str]) -> tuple[str, str]:
    """The path and the id that a position stands for."""
    characters, beside = divmod(position[0], 2)
    return position[1][:characters], position[1][characters:] if beside else position[1]


def select(
    source: Source,
    wanted: Sequence[str],
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    most_globs: int = MOST_GLOBS,
) -> Selection:
    """What `wanted` means: ids of files; of what is none, globs of paths; `*` for all. An id is taken as it stands, ignored or refused, if
    it can ever be fetched; globs take what is offered, which may be nothing where all is wanted, and fits `include` and `exclude`.

    Raises `TooManyGlobsError`, and `FileError` when the source cannot be had.
    """
    taken: dict[str, Entry] = {}
    missing: dict[str, str | None] = {}
    named = dict.fromkeys(wanted)
    for one in named:
        if not is_glob(one):
            entry = source.entry(one)
            if entry is None or entry.refused in NO_FILE:
                missing[one] = None if entry is None else _why(entry)
            else:
                taken[entry.file_id] = entry
    files = _files_among(source, [one for one in named if is_glob(one) and one != ALL])
    taken |= {entry.file_id: entry for entry in files.values()}
    globs = [one for one in named if is_glob(one) and one not in files]
    if len(globs) > most_globs:
        raise TooManyGlobsError(len(globs))
    too_long = f"it is no file, and a glob has {MOST_CHARACTERS:,} characters at most"
    missing |= {one: too_long for one in globs if len(one) > MOST_CHARACTERS}
    looked_for = [one for one in globs if len(one) <= MOST_CHARACTERS]
    if looked_for:
        _take(list(source.entries()), looked_for, Globs(include), Globs(exclude), taken, missing)
    return Selection(sorted(taken.values(), key=lambda one: one.place), missing, len(globs))


def _files_among(source: Source, texts: Sequence[str]) -> dict[str, Entry]:
    """What could be globs and is files all the same. Of a source that is away only the first is asked for: the listing tells why."""
    found: dict[str, Entry] = {}
    with suppress(FileError):
        for one in texts:
            entry = source.entry(one)
            if entry is not None and entry.refused not in NO_FILE:
                found[one] = entry
    return found


def _take(
    listed: Sequence[Entry],
    wanted: Sequence[str],
    include: Globs,
    exclude: Globs,
    taken: dict[str, Entry],
    missing: dict[str, str | None],
) -> None:
    """Add what is listed by such an id, else what the globs mean, to `taken`; what is neither, to `missing`."""
    ids = set(wanted) - {ALL}
    named = {entry.file_id: entry for entry in listed if entry.file_id in ids}
    for one, entry in named.items():
        if entry.refused in NO_FILE:
            missing[one] = _why(entry)
        else:
            taken[one] = entry
    chosen = Globs(one for one in wanted if one not in named)
    unused = [Glob(one) for one in wanted if one not in named and one != ALL]
    for entry in listed:
        if not (entry.offered and chosen.match(entry.path)) or exclude.match(entry.path):
            continue
        if not include or include.match(entry.path):
            taken.setdefault(entry.file_id, entry)
            unused = [one for one in unused if not one.matches(entry.path)]
    missing |= dict.fromkeys(one.text for one in unused)


def _why(entry: Entry) -> str | None:
    return entry.sentence and entry.sentence.removeprefix(f"{entry.path}: ").rstrip(".")
