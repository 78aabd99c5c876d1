"""From a repository to the files of a snapshot: asked for its tip, cloned, each path of its tree given a state."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ingestion_assets.repositories import snapshots
from ingestion_assets.repositories.clone import CloneError, Snapshot, clone, tip
from ingestion_assets.repositories.file_states import FileState, states
from ingestion_assets.repositories.indexing import Indexing
from ingestion_assets.repositories.paths import stored
from ingestion_assets.repositories.snapshots import Published
from ingestion_assets.repositories.submissions import repository_in
from ingestion_assets.repositories.trees import entries, read


@dataclass(slots=True)
class Sourced:
    """A snapshot that is being built, with its clone and its files; where nothing has changed, the one that readers see."""

    repository_id: int
    snapshot_id: int
    commit: str | None
    unchanged: Published | None = None
    clone: Snapshot | None = None
    files: Sequence[FileState] = ()

    def cloned(self) -> Snapshot:
        """The clone of a snapshot that is being built. Raises `ValueError` where there is none, as nothing has changed."""
        if self.clone is None:
            raise ValueError("nothing was cloned: nothing has changed")
        return self.clone

    def read(self, indexing: Indexing, blobs: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """The content of each blob, see `trees.read`; ends where the work is to end. Raises `CloneError`."""
        return read(self.cloned(), blobs, indexing.settings, stopped=indexing.stopped)


def source(indexing: Indexing, *, afresh: bool) -> Sourced:
    """Clone the repository and begin its snapshot, unless nothing has changed since the one that readers see; `afresh`: even then.

    Raises `CloneError`, `StoppedError`.
    """
    submission, engine = indexing.submission, indexing.engine
    try:
        repository = repository_in(submission, indexing.settings)
    except ValueError as error:
        raise CloneError("not_allowed", f"The repository may not be cloned (any more): {error}") from error
    with engine.begin() as connection:
        repository_id = snapshots.repository_of(connection, submission)
        seen = snapshots.published(connection, submission.partition)
    comparable = seen is not None and not afresh and _made_alike(indexing, seen)
    with indexing.watch.stage("cloning"):
        if comparable and seen is not None and seen.commit is not None:
            newest = tip(repository, submission.ref, indexing.scratch, **indexing.git())
            if newest == seen.commit:
                return Sourced(repository_id, seen.id, seen.commit, unchanged=seen)
        cloned = clone(repository, submission.ref, indexing.scratch, **indexing.git())
        indexing.go_on()
    if comparable and seen is not None and cloned.tree == seen.tree:
        with engine.begin() as connection:
            snapshots.note_commit(
                connection, indexing.claim, seen.id, commit=cloned.commit, branch=cloned.branch
            )
        return Sourced(repository_id, seen.id, cloned.commit, unchanged=seen)
    with indexing.watch.stage("listing"):
        listed = list(entries(cloned, indexing.settings))
        found: list[FileState] = []
        for file in states(cloned, listed, indexing.settings):
            found.append(file)
            indexing.go_on()
            indexing.watch.note(len(found), len(listed))
        with engine.begin() as connection:
            snapshot_id = snapshots.begin_snapshot(
                connection, repository_id, commit=cloned.commit, tree=cloned.tree, branch=cloned.branch,
                models=indexing.models, files=map(_row, found),
            )  # fmt: skip
    return Sourced(repository_id, snapshot_id, cloned.commit, clone=cloned, files=found)


def _made_alike(indexing: Indexing, seen: Published) -> bool:
    return seen.models == indexing.models and seen.facts.get("limits") == indexing.stored_limits()


def _row(file: FileState) -> tuple[Any, ...]:
    measure = None if file.measure is None else str(file.measure)
    return stored(file.path), file.blob, file.size, file.language, file.state, file.reason, measure


def counted(files: Iterable[FileState]) -> dict[str, Any]:
    """How many files there are by state, of the embedded ones by language, of the skipped ones by reason."""
    by_state, languages, reasons = Counter[str](), Counter[str](), Counter[str]()
    for file in files:
        by_state[file.state] += 1
        if file.state == "embedded":
            languages[file.language or "none"] += 1
        else:
            reasons[file.reason or "none"] += 1
    return {
        "files": sum(by_state.values()),
        "embedded": by_state["embedded"],
        "skipped": by_state["skipped"],
        "languages": dict(sorted(languages.items())),
        "reasons": dict(sorted(reasons.items())),
    }
