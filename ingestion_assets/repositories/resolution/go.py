"""Go: modules of go.mod with `replace`; a package is a folder, and an import leads to the files that define what is used of it.

Methods do not count there: a `Render` may be that of any type.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from ingestion_assets.repositories.resolution.links import Files, Link, Manifests, Target
from ingestion_assets.repositories.resolution.namespaces import COMMON, common
from ingestion_assets.repositories.resolution.tree import above, encoded, folder, joined, name
from ingestion_assets.repositories.source_facts import Parsed


@dataclass(frozen=True, slots=True)
class _Module:
    path: str
    folder: bytes
    replaced: dict[str, bytes]  # module path to folder


def links(files: Files, manifests: Manifests) -> Iterator[Link]:
    """A link for each import; of a module of this repository it is `relative`."""
    modules = _modules(manifests)
    by_path = {module.path: place for place, module in sorted(modules.items(), reverse=True)}
    packages: dict[bytes, dict[str, list[bytes]]] = {}
    members: dict[bytes, list[bytes]] = {}
    for path, parsed in files.items():
        if not path.endswith(b"_test.go"):  # no other package sees what tests define
            members.setdefault(folder(path), []).append(path)
            package = packages.setdefault(folder(path), {})
            for one in sorted({symbol.name for symbol in parsed.symbols if symbol.kind != "method"}):
                package.setdefault(one, []).append(path)
    for path, parsed in files.items():
        own = next((modules[one] for one in above(folder(path)) if one in modules), None)
        used: dict[bytes, tuple[Target, ...]] = {}
        for one in parsed.imports:
            place = _place(by_path, own, one.target)
            if place is None or place not in members:
                yield Link(path, "package" if place is None else "relative")
            else:
                if place not in used:
                    used[place] = tuple(_used(parsed, packages[place], members[place]))
                yield Link(path, "relative", used[place])


def _modules(manifests: Manifests) -> dict[bytes, _Module]:
    found = {}
    for path, manifest in manifests.items():
        if name(path) == b"go.mod" and "module" in manifest:
            replaced = {
                old: place
                for old, new in manifest["replace"].items()
                if (place := joined(folder(path), encoded(new))) is not None
            }
            found[folder(path)] = _Module(manifest["module"], folder(path), replaced)
    return found


def _place(by_path: dict[str, bytes], own: _Module | None, target: str) -> bytes | None:
    """The folder of an import: the longest module that begins it, where one of this repository does."""
    end = len(target)
    while end > 0:
        called = target[:end]
        if own is not None and called == own.path:
            place = own.folder
        else:
            place = own.replaced.get(called) if own is not None else None
            place = by_path.get(called) if place is None else place
        if place is not None:
            return joined(place, encoded(target[end:].lstrip("/")))
        end = target.rfind("/", 0, end)
    return None


def _used(parsed: Parsed, package: dict[str, list[bytes]], members: list[bytes]) -> list[Target]:
    by_file: dict[bytes, list[str]] = {}
    for one in common(parsed.identifiers, package):
        if one[:1].isupper() and len(package[one]) <= COMMON:
            for file in package[one]:
                by_file.setdefault(file, []).append(one)
    if by_file:
        return [(file, tuple(sorted(names))) for file, names in sorted(by_file.items())]
    # Imported for its effects: the file called as the package speaks for it.
    called = name(folder(members[0])) + b".go"
    return [(next((one for one in members if name(one) == called), members[0]), ())]


def package(path: bytes, parsed: Parsed) -> tuple[bytes, str]:
    """The package a file is in; files of it see each other without an import."""
    return folder(path), parsed.package


def sees(source: bytes, target: bytes) -> bool:
    """What tests define, tests alone see."""
    return source.endswith(b"_test.go") or not target.endswith(b"_test.go")
