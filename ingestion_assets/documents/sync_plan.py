"""What has become of a connection's files: a listing beside what is known of them. Pure; decides, and does nothing."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ingestion_assets.documents.sources.source import Entry

Wanted = Callable[[str], bool]
HELD_FROM = 10
"""Files that must be about to go before a sync waits for a person's word, if they are more than half."""
_UNREADABLE = frozenset({"access_denied", "download_failed"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A file that was seen before. `digests` are all hashes of its bytes that are known, `document` whether it is stored or was,
    `removed` whether that was taken out of the search."""

    file_id: str
    path: str
    size: int | None = None
    digests: frozenset[str] = frozenset()
    version: str | None = None
    document: bool = False
    removed: bool = False

    @property
    def is_there(self) -> bool:
        return not self.removed


@dataclass(slots=True)
class Plan:
    """What is to be done. A file is in one list at most, but for `renamed`, which says that the path of an unchanged one is another."""

    new: list[Entry] = field(default_factory=list)
    changed: list[Entry] = field(default_factory=list)
    touched: list[Entry] = field(default_factory=list)
    renamed: list[Entry] = field(default_factory=list)
    moved: list[tuple[Known, Entry]] = field(default_factory=list)
    restored: list[Entry] = field(default_factory=list)
    removed: list[Known] = field(default_factory=list)
    unchanged: int = 0
    held: str | None = None

    @property
    def to_process(self) -> list[Entry]:
        return [*self.new, *self.changed]

    def counts(self) -> dict[str, int]:
        lists = ("new", "changed", "touched", "renamed", "moved", "restored", "removed")
        return {name: len(getattr(self, name)) for name in lists} | {"unchanged": self.unchanged}


def _all(_path: str) -> bool:
    return True


def plan(
    entries: Iterable[Entry],
    known: Mapping[str, Known],
    *,
    digest: Callable[[str], str | None],
    gone: Collection[str] | None = None,
    wanted: Wanted = _all,
    confirmed: bool = False,
) -> Plan:
    """Compare. `entries` are all of the source, or, where `gone` names what has left it, those that have changed. `digest` reads a file
    to hash it, for sources that give no hash; None where that would be a download. A file whose path is not `wanted` is as one that is not
    there."""
    made = Plan()
    listed = {one.file_id: one for one in entries}
    offered = {id_: one for id_, one in listed.items() if one.offered and wanted(one.path)}
    for id_, entry in offered.items():
        before = known.get(id_)
        if before is None:
            made.new.append(entry)
        else:
            _compare(made, entry, before, digest)
    if gone is None:
        missing = [one for id_, one in known.items() if one.is_there and id_ not in offered]
    else:
        left = {*gone, *listed, *(id_ for id_, one in known.items() if not wanted(one.path))} - offered.keys()
        missing = [known[id_] for id_ in left if id_ in known and known[id_].is_there]
    removed_before = [one for id_, one in known.items() if one.removed and id_ not in offered]
    _find_moved(made, missing, removed_before, digest)
    there = sum(one.is_there for one in known.values())
    if not confirmed:
        made.held = _why_held(made.removed, there, listed.values(), wanted)
    return made


def _compare(made: Plan, entry: Entry, before: Known, digest: Callable[[str], str | None]) -> None:
    same = _is_same(entry, before)
    touched = same is None
    if same is None:
        hashed = digest(entry.file_id) if entry.size == before.size or before.size is None else None
        same = hashed is not None and hashed in before.digests
    if not same:
        made.changed.append(entry)
        return
    if before.removed:
        made.restored.append(entry)
    elif touched or entry.version != before.version:
        made.touched.append(entry)
    else:
        made.unchanged += 1
    if entry.path != before.path and not before.removed:
        made.renamed.append(entry)


def _is_same(entry: Entry, before: Known) -> bool | None:
    """Whether the bytes are the same; None where only reading them tells."""
    if entry.digest is not None:
        if entry.digest in before.digests:
            return True
        kind = entry.digest.partition(":")[0]
        if any(one.partition(":")[0] == kind for one in before.digests):
            return False
    if entry.version is not None and entry.version == before.version:
        return True
    return None


def _find_moved(
    made: Plan, missing: list[Known], removed_before: list[Known], digest: Callable[[str], str | None]
) -> None:
    """A file that came while one with the same bytes went is that one, at another place."""
    by_digest: dict[str, list[Known]] = {}
    sizes = set()
    for one in [*removed_before, *missing]:  # taken from the end: what goes now is likelier
        if one.document:
            sizes.add(one.size)
            for known in one.digests:
                by_digest.setdefault(known, []).append(one)
    taken: set[str] = set()
    still_new: list[Entry] = []
    for entry in made.new:
        found = None
        if by_digest and (entry.size in sizes or entry.size is None or None in sizes):
            hashed = entry.digest if entry.digest in by_digest else digest(entry.file_id)
            found = _last(by_digest, hashed, taken)
        if found is None:
            still_new.append(entry)
        else:
            taken.add(found.file_id)
            made.moved.append((found, entry))
    made.new = still_new
    made.removed = [one for one in missing if one.file_id not in taken]


def _last(by_digest: Mapping[str, list[Known]], hashed: str | None, taken: set[str]) -> Known | None:
    candidates = by_digest.get(hashed or "", [])
    return next((one for one in reversed(candidates) if one.file_id not in taken), None)


def _why_held(removed: list[Known], there: int, listed: Iterable[Entry], wanted: Wanted) -> str | None:
    unread = [one.path for one in listed if one.refused in _UNREADABLE]
    hidden = [
        one
        for one in removed
        if any(one.path == path or one.path.startswith(f"{path}/") for path in unread) and wanted(one.path)
    ]
    if hidden:
        return f"{len(hidden)} files lie where the source could not be read: {unread[0]}"
    if len(removed) >= HELD_FROM and 2 * len(removed) > there:
        return f"{len(removed)} of {there} files would be removed"
    return None
