"""Packages of a JavaScript workspace: their names, `exports`, `imports`, `main` and `module`."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any

from ingestion_assets.repositories.resolution.sources_read import Tables, strings, table
from ingestion_assets.repositories.resolution.tree import above, encoded, folder, joined, name, under

_GLOBS, _GLOB_CHARACTERS = 100, 200
_Glob = tuple[bool, list[str]]  # whether it takes in or leaves out, and its parts
_PATTERNS = 500
_PLACES = 100
_BUILT = frozenset({b"dist", b"build", b"lib", b"out", b"esm", b"cjs", b"es", b"types"})


@dataclass(frozen=True, slots=True)
class Package:
    """A package.json and where it is."""

    folder: bytes
    table: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Packages:
    """Packages by folder; `by_name` holds the members of workspaces alone."""

    by_folder: dict[bytes, Package]
    by_name: dict[bytes, Package]


def known(manifests: Tables) -> Packages:
    """The packages of a tree. One that no workspace takes in is nobody's but its own: its name may stand for another's package."""
    by_folder: dict[bytes, Package] = {}
    for path in manifests:
        if name(path) == b"package.json" and b"node_modules" not in path.split(b"/"):
            by_folder[folder(path)] = Package(folder(path), manifests[path])
    globs = {one: some for one in by_folder if (some := _globs(by_folder[one], manifests))}
    by_name: dict[bytes, Package] = {}
    for place, package in by_folder.items():
        own = package.table.get("name")
        if isinstance(own, str) and any(
            _takes(globs[root], root, place) for root in above(place) if root in globs
        ):
            by_name.setdefault(encoded(own), package)
    return Packages(by_folder, by_name)


def _globs(package: Package, manifests: Tables) -> list[_Glob]:
    workspaces = package.table.get("workspaces")
    found = strings(table(workspaces).get("packages") if isinstance(workspaces, dict) else workspaces)
    for one in (b"pnpm-workspace.yaml", b"lerna.json"):
        found += strings(manifests.get(under(package.folder, one), {}).get("packages"))
    return [_glob(one) for one in found[:_GLOBS] if len(one) <= _GLOB_CHARACTERS]


def _glob(written: str) -> _Glob:
    parts = written.removeprefix("!").split("/")
    return not written.startswith("!"), [one for one in parts if one not in {"", "."}]


def _takes(globs: list[_Glob], root: bytes, place: bytes) -> bool:
    if root == place:
        return True
    parts = [one.decode("utf-8", "replace") for one in place[len(root) :].strip(b"/").split(b"/")]
    taken = False
    for takes_in, pattern in globs:
        if _matches(pattern, parts):
            taken = takes_in
    return taken


def _matches(pattern: list[str], parts: list[str]) -> bool:
    """Whether all parts fit; `**` is any number of them."""
    reached = {0}
    for one in pattern:
        if one == "**":
            reached = set(range(min(reached), len(parts) + 1)) if reached else reached
        else:
            reached = {
                place + 1 for place in reached if place < len(parts) and fnmatchcase(parts[place], one)
            }
    return len(parts) in reached


def places(packages: Packages, base: bytes, wanted: bytes) -> Iterator[bytes]:
    """Where a file in the folder `base` finds `name` or `name/sub` of a workspace, of its own package, or its `#imports`."""
    own = next((packages.by_folder[one] for one in above(base) if one in packages.by_folder), None)
    if wanted.startswith(b"#"):
        if own is not None:
            for place in _targets(own, table(own.table.get("imports")), wanted):
                yield from _as_source(own, place)
        return
    parts = wanted.split(b"/")
    end = 2 if wanted.startswith(b"@") else 1
    called, sub = b"/".join(parts[:end]), b"/".join(parts[end:])
    package = packages.by_name.get(called)
    if package is None and own is not None:
        if own.table.get("name") == called.decode("utf-8", "replace"):
            package = own
        else:
            package = _beside(packages, own, called)
    if package is not None:
        yield from entries(package, sub)


def _beside(packages: Packages, own: Package, called: bytes) -> Package | None:
    """A package that is a dependency by its folder."""
    for group in ("dependencies", "devDependencies", "peerDependencies", "optionalDependencies"):
        written = table(own.table.get(group)).get(called.decode("utf-8", "replace"))
        if isinstance(written, str) and written.startswith(("file:", "link:", "portal:")):
            place = joined(own.folder, encoded(written.partition(":")[2]))
            if place is not None and place in packages.by_folder:
                return packages.by_folder[place]
    return None


def entries(package: Package, sub: bytes) -> Iterator[bytes]:
    """Where the entry `sub` of a package may be (the main one is empty): as declared, then in its sources, as built files are not in a tree."""
    exports = package.table.get("exports")
    if exports is not None:
        shown = (
            exports
            if isinstance(exports, dict) and any(str(one).startswith(".") for one in exports)
            else {".": exports}
        )
        for place in _targets(package, shown, b"./" + sub if sub else b"."):
            yield from _as_source(package, place)
        if sub:
            return  # what is not exported cannot be imported
    if not sub:
        for field in ("source", "module", "main", "types", "typings"):
            written = package.table.get(field)
            if isinstance(written, str) and (place := joined(package.folder, encoded(written))) is not None:
                yield from _as_source(package, place)
        yield from (under(package.folder, one) for one in (b"index", b"src/index", b"src/main", b"lib/index"))
    else:
        yield from (
            place for one in (sub, b"src/" + sub) if (place := joined(package.folder, one)) is not None
        )


def _targets(package: Package, declared: dict[str, Any], wanted: bytes) -> Iterator[bytes]:
    """What `exports` or `imports` declare for a name: itself, else the pattern with the longest beginning."""
    value, middle = declared.get(wanted.decode("utf-8", "replace")), b""
    if value is None:
        longest = -1
        for pattern, each in islice(declared.items(), _PATTERNS):
            before, star, after = encoded(pattern).partition(b"*")
            fits = (
                star
                and wanted.startswith(before)
                and wanted.endswith(after)
                and len(wanted) >= len(before) + len(after)
            )
            if fits and len(before) > longest:
                value, middle, longest = each, wanted[len(before) : len(wanted) - len(after)], len(before)
    for one in sorted(_leaves(value), key=_is_declaration):
        place = joined(package.folder, encoded(one).replace(b"*", middle))
        if one.startswith(".") and place is not None:
            yield place


def _is_declaration(written: str) -> bool:
    return written.endswith((".d.ts", ".d.mts", ".d.cts"))


def _leaves(value: object) -> Iterator[str]:
    """The strings of nested conditions, in the order in which they stand."""
    waiting = [value]
    for _ in range(_PLACES):
        if not waiting:
            return
        one = waiting.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, dict | list):
            inner = one.values() if isinstance(one, dict) else one
            waiting += reversed(list(islice(inner, _PLACES)))


def _as_source(package: Package, place: bytes) -> Iterator[bytes]:
    """A declared file; where it is built, the source it is most likely built from."""
    yield place
    inside = place[len(package.folder) :].strip(b"/").split(b"/")
    stem = inside[-1]
    for ending in (b".d.ts", b".d.mts", b".d.cts", b".js", b".mjs", b".cjs", b".ts"):
        if stem.endswith(ending):
            stem = stem[: -len(ending)]
            break
    if inside[0] in _BUILT and len(inside) > 1:
        below = [*inside[1:-1], stem]
        while below and below[0] in _BUILT:
            below = below[1:]
        yield under(package.folder, b"/".join([b"src", *below]))
        yield under(package.folder, b"/".join(below))
