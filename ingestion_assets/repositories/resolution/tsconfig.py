"""`paths` and `baseUrl` of tsconfig and jsconfig files, with what they extend."""

from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ingestion_assets.repositories.resolution.node_packages import Packages
from ingestion_assets.repositories.resolution.sources_read import Tables, strings, table
from ingestion_assets.repositories.resolution.tree import above, encoded, folder, joined, name

_MAIN = frozenset({b"tsconfig.json", b"jsconfig.json"})
_CHAIN = 20  # configurations that extend one another
_PATTERNS, _PLACES = 500, 50


@dataclass(frozen=True, slots=True)
class Configuration:
    """`base` is the folder of baseUrl; `exact` and `starred` are the paths, the longest beginning first."""

    base: bytes | None = None
    exact: dict[bytes, list[bytes]] = field(default_factory=dict)
    starred: list[tuple[bytes, bytes, list[bytes]]] = field(default_factory=list)


Configurations = dict[bytes, Configuration]


def is_configuration(path: bytes) -> bool:
    """Whether a file may configure a compiler."""
    last = name(path)
    return last.startswith((b"tsconfig", b"jsconfig")) and last.endswith(b".json")


def known(manifests: Tables, packages: Packages) -> Configurations:
    """The configuration of each folder that has a tsconfig.json or jsconfig.json; where it leaves names open, that of a file beside it."""
    read = {path: content for path, content in manifests.items() if is_configuration(path)}
    found: Configurations = {}
    for path in sorted(read, key=lambda one: (name(one) not in _MAIN, one)):
        before = found.get(folder(path))
        if before == Configuration() or (before is None and name(path) in _MAIN):
            found[folder(path)] = _configuration(read, packages, path)
    return found


def _configuration(read: dict[bytes, dict[str, Any]], packages: Packages, path: bytes) -> Configuration:
    base: bytes | None = None
    paths: dict[str, Any] | None = None
    origin: bytes | None = None
    waiting, seen = [path], set()
    while waiting and len(seen) < _CHAIN:
        one = waiting.pop()
        if one in seen or one not in read:
            continue
        seen.add(one)
        options = table(read[one].get("compilerOptions"))
        if base is None and isinstance(options.get("baseUrl"), str):
            base = joined(folder(one), encoded(options["baseUrl"]))
        if paths is None and isinstance(options.get("paths"), dict):
            paths, origin = options["paths"], folder(one)
        # What is extended last wins over what is extended first.
        waiting += [
            place
            for each in strings(read[one].get("extends"))[:_CHAIN]
            if (place := _extended(read, packages, one, each)) is not None
        ]
    return _with_paths(base, paths or {}, base if base is not None else origin or b"")


def _extended(
    read: dict[bytes, dict[str, Any]], packages: Packages, path: bytes, written: str
) -> bytes | None:
    wanted = encoded(written)
    if wanted.startswith(b"."):
        place = joined(folder(path), wanted)
    else:
        parts = wanted.split(b"/")
        end = 2 if wanted.startswith(b"@") else 1
        package = packages.by_name.get(b"/".join(parts[:end]))
        place = (
            None if package is None else joined(package.folder, b"/".join(parts[end:]) or b"tsconfig.json")
        )
    if place is None:
        return None
    return next((one for one in (place, place + b".json", place + b"/tsconfig.json") if one in read), None)


def _with_paths(base: bytes | None, paths: dict[str, Any], start: bytes) -> Configuration:
    exact: dict[bytes, list[bytes]] = {}
    starred: list[tuple[bytes, bytes, list[bytes]]] = []
    for pattern, places in islice(paths.items(), _PATTERNS):
        wanted = [
            place for one in strings(places)[:_PLACES] if (place := joined(start, encoded(one))) is not None
        ]
        before, star, after = encoded(pattern).partition(b"*")
        if star:
            starred.append((before, after, wanted))
        else:
            exact[before] = wanted
    starred.sort(key=lambda one: (-len(one[0]), one))
    return Configuration(base, exact, starred)


def places(configurations: Configurations, base: bytes, wanted: bytes) -> tuple[bool, list[bytes]]:
    """Whether an alias has the name, and where a file in the folder `base` finds it: the paths that match best, then baseUrl."""
    if not configurations:
        return False, []
    configuration = next((configurations[one] for one in above(base) if one in configurations), None)
    if configuration is None:
        return False, []
    aliased, found = False, list(configuration.exact.get(wanted, ()))
    if found:
        aliased = True
    else:
        for before, after, some in configuration.starred:
            if (
                len(wanted) >= len(before) + len(after)
                and wanted.startswith(before)
                and wanted.endswith(after)
            ):
                middle = wanted[len(before) : len(wanted) - len(after)]
                found, aliased = [one.replace(b"*", middle, 1) for one in some], bool(before)
                break
    if configuration.base is not None:
        below = joined(configuration.base, wanted)
        found += [below] if below is not None else []
    return aliased, [one for place in found if (one := joined(b"", place)) is not None]
