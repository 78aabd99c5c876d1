"""What `.gitattributes` files say of paths: `linguist-generated` and `linguist-vendored`, read by git from an index of these files alone."""

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ingestion_assets.repositories.clone import Snapshot
from ingestion_assets.repositories.git import Limits, stream
from ingestion_assets.repositories.trees import Entry

_ASKED = {b"linguist-generated": "generated", b"linguist-vendored": "vendored"}
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
        with _terminated(lines, snapshot) as given:
            asked = ["update-index", "-z", "--index-info"]
            for _ in stream(asked, limits, folder=snapshot.folder, environment=environment, given=given):
                pass
        found: dict[bytes, dict[str, bool]] = {}
        with _terminated((one.path for one in entries), snapshot) as given:
            asked = ["check-attr", "--cached", "-z", "--stdin", *map(os.fsdecode, _ASKED)]
            rest = b""
            fields: list[bytes] = []
            for piece in stream(asked, limits, folder=snapshot.folder, environment=environment, given=given):
                *whole, rest = (rest + piece).split(b"\0")
                fields += whole
                end = len(fields) - len(fields) % 3
                for path, name, value in zip(fields[0:end:3], fields[1:end:3], fields[2:end:3], strict=True):
                    if value != b"unspecified":
                        found.setdefault(path, {})[_ASKED[name]] = value not in _NO
                del fields[:end]
    return found


def _terminated(fields: Iterable[bytes], snapshot: Snapshot) -> Any:
    """A file, without a name, of fields that end with NUL."""
    given = tempfile.TemporaryFile(dir=snapshot.folder)  # noqa: SIM115 - its user closes it
    given.writelines(field + b"\0" for field in fields)
    given.seek(0)
    return given
