"""Python: relative levels, packages below any root (`src` layouts, several projects), submodules before attributes."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ingestion_assets.repositories.resolution.links import Files, Link, Manifests, Target
from ingestion_assets.repositories.resolution.tree import (
    above,
    encoded,
    folder,
    folders,
    name,
    nearest,
    under,
)
from ingestion_assets.repositories.source_facts import Import

MANIFESTS = frozenset({b"pyproject.toml", b"setup.py", b"setup.cfg"})
_INITS = b"/__init__.py", b"/__init__.pyi"
_ROOTS_OF_A_NAME = 50


@dataclass(frozen=True, slots=True)
class _Modules:
    files: Files
    folders: set[bytes]
    packages: set[bytes]
    roots: dict[bytes, list[bytes]]  # by the first name of an import

    def file(self, base: bytes) -> bytes | None:
        """The file of the module at `base`, its path without an ending."""
        for ending in (b"/__init__.py", b".py", b"/__init__.pyi", b".pyi"):
            if base and base + ending in self.files:
                return base + ending
        return None


def links(files: Files, manifests: Manifests) -> Iterator[Link]:
    """A link for each import."""
    modules = _modules(files, manifests)
    for path, parsed in files.items():
        for one in parsed.imports:
            if one.level:
                yield Link(path, "relative", tuple(_taken(modules, _relative(path, one), one)))
            else:
                yield Link(path, "package", tuple(_taken(modules, _absolute(modules, path, one), one)))


def _modules(files: Files, manifests: Manifests) -> _Modules:
    packages = {folder(path) for path in files if path.endswith(_INITS)}  # the root is none
    projects = {b""} | {folder(path) for path in (*manifests, *files) if name(path) in MANIFESTS}
    tops = projects | {under(one, part) for one in projects for part in (b"src", b"lib")}
    roots: dict[bytes, set[bytes]] = {}
    every = folders(files)
    for one in every | packages:
        above_it = folder(one)
        if one and (above_it in tops or (one in packages and above_it not in packages)):
            roots.setdefault(name(one), set()).add(above_it)
    for path in files:
        if folder(path) in tops:
            roots.setdefault(name(path).rpartition(b".")[0], set()).add(folder(path))
    return _Modules(files, every, packages, {one: sorted(some) for one, some in roots.items()})


def _relative(path: bytes, one: Import) -> bytes | None:
    base = folder(path)
    for _ in range(one.level - 1):
        if not base:
            return None
        base = folder(base)
    return under(base, encoded(one.target).replace(b".", b"/"))


def _absolute(modules: _Modules, path: bytes, one: Import) -> bytes | None:
    wanted = encoded(one.target).replace(b".", b"/")
    first, _, rest = wanted.partition(b"/")
    if not first:
        return None
    standard = not rest and one.target in sys.stdlib_module_names
    bases = [under(root, wanted) for root in _roots(modules, path, first, standard=standard)]
    module = next((base for base in bases if modules.file(base)), None)
    return module or next((base for base in bases if base in modules.folders), None)


def _roots(modules: _Modules, path: bytes, first: bytes, *, standard: bool) -> Sequence[bytes]:
    """Where an absolute import may start: the folder of a script or above the package, those above it, then any other root that has the name."""
    outside = [one for one in above(folder(path)) if one not in modules.packages]
    if standard:
        return outside[:1]
    others = set(modules.roots.get(first, [])[:_ROOTS_OF_A_NAME]) - set(outside)
    return [*outside, nearest(path, others)] if others else outside


def _taken(modules: _Modules, base: bytes | None, one: Import) -> Iterator[Target]:
    if base is None:
        return
    attributes = []
    for each in one.names if one.kind == "from" else ():
        submodule = modules.file(under(base, encoded(each))) if each != "*" else None
        if submodule:
            yield submodule, ()
        else:
            attributes.append(each)
    module = modules.file(base)
    if module and (attributes or one.kind != "from"):
        yield module, tuple(attributes)
