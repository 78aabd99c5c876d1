"""Each path of a tree has one state: embedded, or skipped for one reason, with the number that decided."""

import hashlib
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

from ingestion_assets.repositories import recognizing
from ingestion_assets.repositories.clone import Snapshot
from ingestion_assets.repositories.git import Limits
from ingestion_assets.repositories.marks import marks
from ingestion_assets.repositories.paths import stored
from ingestion_assets.repositories.trees import Entry, read

MOST_PATH_BYTES = 4096
INDEXED_BYTES, PACKED_BYTES = 2600, 600
"""An entry of an index of PostgreSQL has 2,704 bytes at most, compressed. Longer paths than that are taken where they compress so well
that PostgreSQL, which packs worse, gets below it by far."""
READ_AT_ONCE = 2000
_SHOWN_BYTES = 200  # of a path that is too long
_NO_NAMES = {b"", b".", b"..", b".git", b"git~1"}


@dataclass(frozen=True, slots=True)
class FileState:
    """`measure` is the number that decided: a size for `too_large`, `lfs_pointer` and `binary`, a length for `bad_path`, the limit for `over_limit`."""

    path: bytes
    blob: bytes
    size: int | None
    language: str | None
    state: str
    reason: str | None = None
    measure: int | None = None


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a file's content says of it."""

    language: str | None
    reason: str | None = None
    measure: int | None = None


def states(snapshot: Snapshot, entries: Iterable[Entry], limits: Limits) -> Iterator[FileState]:
    """The state of each entry, in their order. Only what may be embedded is read. Raises `CloneError`."""
    every = list(entries)
    bad = {one.path for one in every if _bad(one.path)}
    marked = marks(snapshot, (one for one in every if one.path not in bad), limits)
    embedded, waiting = 0, iter(every)
    while some := list(islice(waiting, READ_AT_ONCE)):
        named = [_named(one, marked.get(one.path, {}), limits, is_bad=one.path in bad) for one in some]
        verdicts: Mapping[tuple[bytes, str | None], _Verdict] = {}
        if embedded < limits.max_files:
            verdicts = _by_content(snapshot, [one for one in named if one.state == "embedded"], limits)
        for one in named:
            state = one
            if one.state == "embedded":
                state = _judged(one, verdicts.get((one.blob, one.language)), marked.get(one.path, {}))
            if state.state == "embedded" and embedded >= limits.max_files:
                state = _skipped(state, "over_limit", limits.max_files)
            embedded += state.state == "embedded"
            yield state


def _named(entry: Entry, mark: Mapping[str, bool], limits: Limits, *, is_bad: bool) -> FileState:
    """What name, mode, size and marks say; `embedded` without a language where the first line must tell it."""
    language = recognizing.language_by_name(entry.path)
    file = FileState(_shortened(entry.path), entry.blob, entry.size, language, "embedded")
    if entry.mode == "160000":
        return _skipped(file, "submodule")
    if entry.mode == "120000":
        return _skipped(file, "symlink")
    if is_bad:
        return _skipped(file, "bad_path", len(entry.path))
    for reason, by_name in (
        ("generated", recognizing.generated_name),
        ("vendored", recognizing.vendored_name),
    ):
        if mark.get(reason, by_name(entry.path)):
            return _skipped(file, reason)
    if file.language is None and recognizing.extension(entry.path):
        return _skipped(file, "unsupported_language")
    if entry.size is None or entry.size > limits.max_file_bytes:
        return _skipped(file, "too_large", entry.size)
    return file


def _by_content(
    snapshot: Snapshot, files: Iterable[FileState], limits: Limits
) -> dict[tuple[bytes, str | None], _Verdict]:
    languages: dict[bytes, set[str | None]] = {}
    for file in files:
        languages.setdefault(file.blob, set()).add(file.language)
    return {
        (blob, language): _verdict(content, language)
        for blob, content in (read(snapshot, languages, limits) if languages else ())
        for language in languages[blob]
    }


def _verdict(content: bytes, by_name: str | None) -> _Verdict:
    pointed = recognizing.lfs_size(content)
    if pointed is not None:
        return _Verdict(by_name, "lfs_pointer", pointed)
    if recognizing.is_binary(content):
        return _Verdict(by_name, "binary", len(content))
    language = recognizing.language_by_content(content, by_name)
    if language is None:
        return _Verdict(None, "unsupported_language")
    return _Verdict(language, "generated" if recognizing.generated_content(content, language) else None)


def _judged(file: FileState, verdict: _Verdict | None, mark: Mapping[str, bool]) -> FileState:
    if verdict is None:  # past the limit of files nothing is read
        return file if file.language else _skipped(file, "unsupported_language")
    if verdict.reason and not (verdict.reason == "generated" and mark.get("generated") is False):
        return _skipped(file, verdict.reason, verdict.measure)
    return FileState(file.path, file.blob, file.size, verdict.language, "embedded")


def _skipped(file: FileState, reason: str, measure: int | None = None) -> FileState:
    return FileState(file.path, file.blob, file.size, file.language, "skipped", reason, measure)


def _bad(path: bytes) -> bool:
    """Whether a path is none that git itself would check out, or longer than can be stored."""
    return _too_long(path) or any(part.lower() in _NO_NAMES for part in path.split(b"/"))


def _too_long(path: bytes) -> bool:
    kept = stored(path).encode()
    if max(len(path), len(kept)) > MOST_PATH_BYTES:
        return True
    return len(kept) > INDEXED_BYTES and len(zlib.compress(kept)) > PACKED_BYTES


def _shortened(path: bytes) -> bytes:
    """The path; in the place of one that is too long its beginning, a NUL, which no path of a tree has, and the hash of it all."""
    if not _too_long(path):
        return path
    return path[:_SHOWN_BYTES] + b"\0" + hashlib.sha256(path).hexdigest().encode()
