"""PHP: names that files declare, then PSR-4 of composer.json; files that are required."""

import re
from collections.abc import Iterator, Mapping

from ingestion_assets.repositories.resolution.links import Files, Link, Manifests
from ingestion_assets.repositories.resolution.namespaces import declared
from ingestion_assets.repositories.resolution.sources_read import strings, table
from ingestion_assets.repositories.resolution.tree import encoded, folder, joined, name, nearest

_PLACES = 100  # of one prefix
Prefixes = Mapping[str, list[bytes]]
_QUOTED = re.compile(r"['\"]([^'\"]*+)['\"]")


def links(files: Files, manifests: Manifests) -> Iterator[Link]:
    """A link for each import. A namespace of this repository's own counts as `relative`."""
    names, prefixes = declared(files, "\\"), _prefixes(manifests)
    for path, parsed in files.items():
        for one in parsed.imports:
            if one.kind != "use":
                yield _required(files, path, one.target)
                continue
            target = one.target.strip("\\")
            outer, _, last = target.rpartition("\\")
            file = names.file(path, outer, last) or _autoloaded(files, prefixes, path, target)
            if file:
                yield Link(path, "relative", ((file, (last,)),))
            elif target in names.by_namespace:
                yield Link(path, "relative", names.used(parsed, path, target))
            else:
                # Packages of others may begin as this one does: GuzzleHttp\Psr7 is not in guzzle.
                yield Link(path, "relative" if outer and outer in names.by_namespace else "package")


def _prefixes(manifests: Manifests) -> Prefixes:
    found: dict[str, list[bytes]] = {}
    for path in manifests:
        if name(path) != b"composer.json":
            continue
        composer = manifests[path]
        for group in ("autoload", "autoload-dev"):
            for prefix, places in table(table(composer.get(group)).get("psr-4")).items():
                below = [
                    place
                    for one in strings(places)[:_PLACES]
                    if (place := joined(folder(path), encoded(one))) is not None
                ]
                known = found.setdefault(prefix, [])
                known += below[: _PLACES - len(known)]
    return found


def _autoloaded(files: Files, prefixes: Prefixes, path: bytes, target: str) -> bytes | None:
    """Where PSR-4 has the class: below the longest prefix first."""
    end = len(target)
    while (end := target.rfind("\\", 0, end)) >= 0:
        rest = encoded(target[end + 1 :].replace("\\", "/")) + b".php"
        found = [
            place for one in prefixes.get(target[: end + 1], ()) if (place := joined(one, rest)) in files
        ]
        if found:
            return nearest(path, [one for one in found if one])
    return None


def _required(files: Files, path: bytes, written: str) -> Link:
    quoted = _QUOTED.findall(written)
    wanted = encoded(quoted[-1] if quoted else written)
    starts = [folder(path)]
    if wanted.startswith(b"/"):
        wanted = wanted.lstrip(b"/")  # __DIR__ . '/x.php'
    starts.append(b"")
    found = next((place for one in starts if (place := joined(one, wanted)) in files), None)
    return Link(path, "relative", ((found, ()),) if found else ())
