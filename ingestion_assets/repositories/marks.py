"""What `.gitattributes` files say of paths: `linguist-generated` and `linguist-vendored`, read by git from an index of these files alone."""

import tempfile
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ingestion_assets.repositories.clone import Snapshot
from ingestion_assets.repositories.git import CloneError, Limits, stream
from ingestion_assets.repositories.trees import Entry, lines_for

MATCHING_S = 20.0  # stars upon stars in a pattern take git for ever
_ASKED = {"linguist-generated": "generated", "linguist-vendored": "vendored"}
_NO = {b"unset", b"false"}


def marks(snapshot: Snapshot, entries: Iterable[Entry], limits: Limits) -> dict[bytes, dict[str, bool]]:
    """For each path that is marked: whether it is `generated`, `vendored`. Raises `CloneError`."""
    entries = list(entries)
    naming = [
        one
        for one in entries
        if one.path.rpartition(b"/")[2] == b".gitattributes"
        and one.size is not None
        and one.mode[:3] == "100"
    ]
    if not naming:
        return {}
    with tempfile.TemporaryDirectory(dir=snapshot.folder.parent, prefix="marks-") as folder:
        environment = {"GIT_INDEX_FILE": str(Path(folder) / "index"), "GIT_DIR": str(snapshot.folder)}
        lines = (b"%s %s\t%s" % (one.mode.encode(), one.blob.hex().encode(), one.path) for one in naming)
        seconds = min(MATCHING_S, limits.clone_s)

        def git(arguments: Sequence[str], fields: Iterable[bytes]) -> Iterator[bytes]:
            with lines_for(snapshot, fields, end=b"\0") as given:
                yield from stream(
                    arguments,
                    limits,
                    folder=snapshot.folder,
                    environment=environment,
                    given=given,
                    seconds=seconds,
                )

        try:
            deque(git(["update-index", "-z", "--index-info"], lines), maxlen=0)
            paths = (one.path for one in entries)
            return _told(git(["check-attr", "--cached", "-z", "--stdin", *_ASKED], paths))
        except CloneError as error:
            if error.code != "clone_timeout":
                raise
            raise CloneError(
                "attributes_timeout",
                f"The patterns in the repository's .gitattributes take git longer than {seconds:g} s.",
            ) from error


def _told(pieces: Iterator[bytes]) -> dict[bytes, dict[str, bool]]:
    """What `check-attr -z` says: path, attribute and value, one after the other."""
    found: dict[bytes, dict[str, bool]] = {}
    rest = b""
    fields: list[bytes] = []
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\0")
        fields += whole
        end = len(fields) - len(fields) % 3
        for path, name, value in zip(fields[0:end:3], fields[1:end:3], fields[2:end:3], strict=True):
            if value != b"unspecified":
                found.setdefault(path, {})[_ASKED[name.decode()]] = value not in _NO
        del fields[:end]
    return found
