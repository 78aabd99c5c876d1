"""Ruby and Bash: files that name other files."""

import re
from collections.abc import Iterator

from ingestion_assets.repositories.resolution.links import Files, Link, Manifests
from ingestion_assets.repositories.resolution.tree import above, encoded, folder, joined, under

_VARIABLE_FOLDER = re.compile(r"^(?:\$\{[^}]*+\}|\$\w++|\$\([^()]*+(?:\([^()]*+\)[^()]*+)?\)|`[^`]*+`)/")
_LIB = b"lib/"


def ruby(files: Files, _manifests: Manifests) -> Iterator[Link]:
    """A link for each require; `require` looks below `lib`."""
    below_lib: dict[bytes, list[bytes]] = {}
    for path in files:
        _, found, below = (b"/" + path).rpartition(b"/lib/")
        if found:
            below_lib.setdefault(below, []).append(path)
    for path, parsed in files.items():
        for one in parsed.imports:
            wanted = encoded(one.target.removesuffix(".rb")) + b".rb"
            if one.kind == "require_relative" or wanted.startswith(b"."):
                found = joined(folder(path), wanted)
                yield Link(path, "relative", ((found, ()),) if found in files and found else ())
                continue
            near = next(
                (place for place in above(folder(path)) if under(place, _LIB + wanted) in files), None
            )
            others = below_lib.get(wanted, [])
            found = (
                under(near, _LIB + wanted) if near is not None else others[0] if len(others) == 1 else None
            )
            yield Link(path, "package", ((found, ()),) if found else ())


def bash(files: Files, _manifests: Manifests) -> Iterator[Link]:
    """A link for each source; a folder in a variable is taken for the script's own, then for the root."""
    for path, parsed in files.items():
        for one in parsed.imports:
            wanted = encoded(_VARIABLE_FOLDER.sub("", one.target.strip("\"'").replace('"', "")))
            found = next(
                (place for base in (folder(path), b"") if (place := joined(base, wanted)) in files), None
            )
            yield Link(path, "relative", ((found, ()),) if found else ())
