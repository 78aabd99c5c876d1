"""Rust: modules by where files stand, `use` of the crate and of crates of the repository."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ingestion_assets.repositories.resolution.links import Files, Link, Manifests, Target
from ingestion_assets.repositories.resolution.sources_read import table
from ingestion_assets.repositories.resolution.tree import above, encoded, folder, joined, name, under
from ingestion_assets.repositories.source_facts import Import, Symbol

_ROOTS = frozenset({b"lib.rs", b"main.rs"})
_MODULES = frozenset({"module", "mod", "namespace"})
_INLINE = 50  # modules written within a file
_ROOT_FOLDERS = frozenset({b"bin", b"tests", b"benches", b"examples"})


@dataclass(frozen=True, slots=True)
class _Crates:
    """`tables` are the manifests by folder; `library` the root file of each package; `named` its folder by the name used in code."""

    files: Files
    tables: dict[bytes, dict[str, Any]]
    library: dict[bytes, bytes]
    roots: frozenset[bytes]
    named: dict[str, bytes]


def links(files: Files, manifests: Manifests) -> Iterator[Link]:
    """A link for each `use` and each `mod`."""
    crates = _crates(files, manifests)
    for path, parsed in files.items():
        inline = [one for one in parsed.symbols if one.kind in _MODULES][:_INLINE]
        for one in parsed.imports:
            if one.kind == "mod":
                found = _child(files, _children(crates, path), one.target)
                yield Link(path, "relative", ((found, ()),) if found else ())
            else:
                origin, target = _used(crates, path, one, inline)
                yield Link(path, origin, (target,) if target else ())


def _crates(files: Files, manifests: Manifests) -> _Crates:
    tables = {folder(path): manifest for path, manifest in manifests.items() if name(path) == b"Cargo.toml"}
    library, named = {}, {}
    for place, manifest in tables.items():
        own = table(manifest.get("lib")).get("path", "src/lib.rs")
        root = joined(place, encoded(own)) if isinstance(own, str) else None
        if root is not None and root in files:
            library[place] = root
            called = table(manifest.get("lib")).get("name") or table(manifest.get("package")).get("name")
            if isinstance(called, str):
                named.setdefault(called.replace("-", "_"), place)
    return _Crates(files, tables, library, frozenset(library.values()), named)


def _is_root(crates: _Crates, path: bytes) -> bool:
    last, place = name(path), folder(path)
    if last in _ROOTS or path in crates.roots:
        return True
    if last == b"build.rs" and place in crates.tables:
        return True
    return name(place) in _ROOT_FOLDERS and (folder(place) in crates.tables or name(folder(place)) == b"src")


def _children(crates: _Crates, path: bytes) -> bytes:
    """The folder of the modules that a file declares."""
    if name(path) == b"mod.rs" or _is_root(crates, path):
        return folder(path)
    return path.removesuffix(b".rs")


def _child(files: Files, children: bytes, called: str) -> bytes | None:
    base = under(children, encoded(called.removeprefix("r#")))
    return next((one for one in (base + b".rs", base + b"/mod.rs") if one in files), None)


def _root(crates: _Crates, path: bytes) -> bytes | None:
    """The root file of the crate that a file is a module of: the nearest above it."""
    if _is_root(crates, path):
        return path
    for place in above(folder(path)):
        for last in (b"lib.rs", b"main.rs"):
            if under(place, last) in crates.files:
                return under(place, last)
        if place in crates.library:
            return crates.library[place]
    return None


def _used(crates: _Crates, path: bytes, one: Import, inline: list[Symbol]) -> tuple[str, Target | None]:
    parts = [part for part in one.target.split("::") if part]
    leaf = one.names[-1] if one.names else ""
    if leaf and parts and parts[-1] != leaf and leaf != "self":
        parts.append(leaf)
    if parts and parts[-1] == "self" and len(parts) > 1:
        parts.pop()
    if parts and parts[0] == "super":  # out of `mod tests { … }` is not out of the file
        within = sum(each.start_line < one.line <= each.end_line for each in inline)
        while within and parts and parts[0] == "super":
            parts, within = parts[1:], within - 1
        if not parts or parts[0] != "super":
            parts = ["self", *parts]
    if not parts:
        return "package", None
    first, start = parts[0], None
    if first in {"crate", "self", "super"}:
        start = _start(crates, path, parts)
        return "relative", None if start is None else _walked(crates, start, parts)
    if _child(crates.files, _children(crates, path), first):
        return "relative", _walked(crates, path, parts)
    start = _crate(crates, path, first)
    if start is None:
        return "package", None
    return "relative", _walked(crates, start, parts[1:])


def _start(crates: _Crates, path: bytes, parts: list[str]) -> bytes | None:
    """The file of the module where `crate::`, `self::` or `super::` begins, these taken off `parts`."""
    first = parts.pop(0)
    at: bytes | None = _root(crates, path) if first == "crate" else path
    if first == "super":
        parts.insert(0, first)
    while at is not None and parts and parts[0] == "super":
        parts.pop(0)
        at = _parent(crates, at)
    return at


def _parent(crates: _Crates, path: bytes) -> bytes | None:
    if _is_root(crates, path):
        return None
    holder = folder(folder(path)) if name(path) == b"mod.rs" else folder(path)
    candidates = [under(holder, one) for one in (b"mod.rs", b"lib.rs", b"main.rs")] + [holder + b".rs"]
    return next((one for one in candidates if one in crates.files), None) or _root(crates, path)


def _walked(crates: _Crates, start: bytes, parts: list[str]) -> Target:
    """The file of the last module that `parts` go through, and the name that is taken from it."""
    at = start
    for number, part in enumerate(parts):
        inner = _child(crates.files, _children(crates, at), part) if part != "*" else None
        if inner is None:
            return at, (part,)
        at = inner
        if number == len(parts) - 1:
            break
    return at, ()


def _crate(crates: _Crates, path: bytes, called: str) -> bytes | None:
    """The root file of a crate of this repository: a dependency by path, else a package by its name."""
    for place in above(folder(path)):
        manifest = crates.tables.get(place)
        if manifest is None or "package" not in manifest:
            continue
        for group in ("dependencies", "dev-dependencies", "build-dependencies"):
            for key in (called, called.replace("_", "-")):
                if (
                    found := _dependency(crates, place, table(manifest.get(group)).get(key), key)
                ) is not None:
                    return found
        break
    own = crates.named.get(called)
    return crates.library.get(own) if own is not None else None


def _dependency(crates: _Crates, place: bytes, written: object, key: str) -> bytes | None:
    declared, base = table(written), place
    if declared.get("workspace"):
        for base in above(place):
            workspace = table(crates.tables.get(base, {}).get("workspace"))
            if workspace:
                declared = table(table(workspace.get("dependencies")).get(key))
                break
    if isinstance(declared.get("path"), str):
        target = joined(base, encoded(declared["path"]))
        return crates.library.get(target) if target is not None else None
    if isinstance(declared.get("package"), str):
        own = crates.named.get(declared["package"].replace("-", "_"))
        return crates.library.get(own) if own is not None else None
    return None
