"""The links between the files of a snapshot: imports, and what of the imported files is used by name. A pure function of facts and manifests."""

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field

from ingestion_assets.repositories.resolution import (
    c,
    csharp,
    go,
    java,
    javascript,
    php,
    python,
    rust,
    scripts,
    tsconfig,
)
from ingestion_assets.repositories.resolution.links import Files, Link, Resolver
from ingestion_assets.repositories.resolution.namespaces import COMMON
from ingestion_assets.repositories.resolution.reexports import followed
from ingestion_assets.repositories.resolution.sources_read import read_all
from ingestion_assets.repositories.resolution.tree import folder, name
from ingestion_assets.repositories.source_facts import Parsed

Counts = dict[str, dict[str, int]]

_MANIFESTS = python.MANIFESTS | {
    b"package.json", b"pnpm-workspace.yaml", b"lerna.json", b"go.mod", b"Cargo.toml", b"composer.json",
}  # fmt: skip
_NAMES = 50  # shown of one edge


@dataclass(frozen=True, slots=True)
class Edge:
    """A link from the file that uses to the file that is used. `names` are the identifiers, rarest first for references and calls."""

    source: bytes
    target: bytes
    kind: str
    weight: float
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CodeGraph:
    """Edges in order of source, target and kind; how many imports lead somewhere, by language and by the way they are written
    (`relative`, `alias`, `package`, `asset`: see `links.Link`); and the manifests that could not be read."""

    edges: list[Edge]
    resolved: Counts
    unresolved: Counts
    unread: list[bytes] = field(default_factory=list)

    def unresolved_relative(self) -> dict[str, float]:
        """By language, the share of relative imports that lead nowhere."""
        shares = {}
        for language in sorted({*self.resolved, *self.unresolved}):
            lost = self.unresolved.get(language, {}).get("relative", 0)
            all_of_them = lost + self.resolved.get(language, {}).get("relative", 0)
            if all_of_them:
                shares[language] = lost / all_of_them
        return shares


def _no_package(_path: bytes, _parsed: Parsed) -> Hashable:
    return None


def _by_namespace(path: bytes, parsed: Parsed) -> Hashable:
    return parsed.package or folder(path)


def _always(_source: bytes, _target: bytes) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class _Family:
    """Languages that share names. Files of one package see each other without an import, as far as `sees` has it."""

    languages: frozenset[str]
    links: Resolver
    package: Callable[[bytes, Parsed], Hashable] = _no_package
    sees: Callable[[bytes, bytes], bool] = _always
    hands_on: bool = field(default=False)


_FAMILIES = (
    _Family(frozenset({"python"}), python.links, hands_on=True),
    _Family(frozenset({"javascript", "typescript", "tsx"}), javascript.links, hands_on=True),
    _Family(frozenset({"go"}), go.links, go.package, go.sees),
    _Family(frozenset({"rust"}), rust.links, hands_on=True),
    _Family(frozenset({"php"}), php.links, _by_namespace),
    _Family(frozenset({"java", "kotlin"}), java.links, _by_namespace),
    _Family(frozenset({"csharp"}), csharp.links, _by_namespace),
    _Family(frozenset({"c", "cpp"}), c.links),
    _Family(frozenset({"ruby"}), scripts.ruby),
    _Family(frozenset({"bash"}), scripts.bash),
)


def manifest(path: bytes) -> bool:
    """Whether `build` wants the content of a file."""
    return name(path) in _MANIFESTS or tsconfig.is_configuration(path)


def _always_on() -> None:
    return


def build(
    parsed: Mapping[bytes, Parsed],
    manifests: Mapping[bytes, bytes],
    go_on: Callable[[], object] = _always_on,
) -> CodeGraph:
    """The graph of a snapshot. The order of files changes nothing. `go_on` is called all the while; what it raises ends the work."""
    tables, unread = read_all(manifests, go_on)
    edges: list[Edge] = []
    resolved: dict[str, Counter[str]] = defaultdict(Counter)
    unresolved: dict[str, Counter[str]] = defaultdict(Counter)
    for family in _FAMILIES:
        files = {path: parsed[path] for path in sorted(parsed) if parsed[path].language in family.languages}
        links: list[Link] = []
        for link in family.links(files, tables):
            go_on()
            links.append(link)
            (resolved if link.targets else unresolved)[files[link.source].language][link.origin] += 1
        imports = _imports(family, files, links, go_on)
        edges += _import_edges(imports)
        edges += _uses(family, files, imports, go_on)
    edges.sort(key=lambda edge: (edge.source, edge.target, edge.kind))
    return CodeGraph(edges, _sorted(resolved), _sorted(unresolved), unread)


def _sorted(counts: Mapping[str, Counter[str]]) -> Counts:
    return {language: dict(sorted(counts[language].items())) for language in sorted(counts)}


Imports = Mapping[bytes, Mapping[bytes, set[str]]]


def _imports(family: _Family, files: Files, links: list[Link], go_on: Callable[[], object]) -> Imports:
    """The files that each file imports, with the names it takes from them."""
    found: dict[bytes, dict[bytes, set[str]]] = defaultdict(lambda: defaultdict(set))
    seen: set[tuple[bytes, int]] = set()
    for link in links:
        if (link.source, id(link.targets)) not in seen:
            seen.add((link.source, id(link.targets)))
            for target, names in link.targets:
                found[link.source][target].update(names)
        go_on()
    for source, target, one in followed(files, links) if family.hands_on else ():
        go_on()
        found[source][target].add(one)
    return found


def _import_edges(imports: Imports) -> Iterator[Edge]:
    for source, targets in imports.items():
        for target, names in targets.items():
            if target != source:
                yield Edge(source, target, "import", 1.0, tuple(sorted(names))[:_NAMES])


def _uses(family: _Family, files: Files, imports: Imports, go_on: Callable[[], object]) -> Iterator[Edge]:
    """References and calls: names used here and defined in files that this one imports, or in its package."""
    defined = {path: {one.name for one in each.symbols} for path, each in files.items()}
    definers: dict[str, list[bytes]] = defaultdict(list)
    for path, names in defined.items():
        for one in names:
            definers[one].append(path)
    packages = {path: family.package(path, each) for path, each in files.items()}
    for path, each in files.items():
        go_on()
        seen, package = imports.get(path, {}), packages[path]
        for kind, used in (("reference", each.identifiers), ("call", each.calls)):
            shared: dict[bytes, list[str]] = defaultdict(list)
            for one in used:
                holders = definers.get(one, ())
                if not 0 < len(holders) <= COMMON or one in defined[path]:
                    continue  # a name that is defined here means the one here
                for holder in holders:
                    beside = package is not None and packages[holder] == package and family.sees(path, holder)
                    if holder in seen or beside:
                        shared[holder].append(one)
            for holder, names in shared.items():
                names.sort(key=lambda one: (len(definers[one]), one))
                yield Edge(
                    path, holder, kind, sum(1 / len(definers[one]) for one in names), tuple(names[:_NAMES])
                )
