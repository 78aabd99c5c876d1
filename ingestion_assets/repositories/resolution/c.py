"""C and C++: a file that is included stands beside, below an include folder, or is the only one whose path ends so."""

from collections.abc import Iterator

from ingestion_assets.repositories.resolution.links import Files, Link, Manifests
from ingestion_assets.repositories.resolution.tree import above, encoded, folder, joined, name, under

_FOLDERS = b"", b"include", b"inc", b"src"
_ALIKE = 50


def links(files: Files, _manifests: Manifests) -> Iterator[Link]:
    """A link for each include; in quotes it is `relative`."""
    by_name: dict[bytes, list[bytes]] = {}
    for path in files:
        by_name.setdefault(name(path), []).append(path)
    for path, parsed in files.items():
        for one in parsed.imports:
            found = _found(files, by_name, path, encoded(one.target), quoted=one.level == 1)
            yield Link(path, "relative" if one.level else "package", ((found, ()),) if found else ())


def _found(
    files: Files, by_name: dict[bytes, list[bytes]], path: bytes, wanted: bytes, *, quoted: bool
) -> bytes | None:
    alike = by_name.get(name(wanted))
    if not alike:
        return None
    if quoted and (beside := joined(folder(path), wanted)) in files:
        return beside
    for place in above(folder(path)):
        for one in _FOLDERS if quoted or b"/" in wanted else _FOLDERS[1:3]:
            if (found := joined(under(place, one), wanted)) in files:
                return found
    if len(alike) > _ALIKE or not (quoted or b"/" in wanted):
        return None
    ending = [one for one in alike if one.endswith(b"/" + wanted)]
    return ending[0] if len(ending) == 1 else None
