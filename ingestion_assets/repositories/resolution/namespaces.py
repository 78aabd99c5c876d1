"""Names that files declare, by namespace: what Java, Kotlin, C# and PHP import, and what a whole package gives to a file that uses it."""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from ingestion_assets.repositories.resolution.links import Files, Target
from ingestion_assets.repositories.resolution.tree import nearest
from ingestion_assets.repositories.source_facts import Parsed

COMMON = 25  # a name that more files define says nothing
_MEMBERS = frozenset({"method", "field", "property", "variable", "constructor", "enum_member"})
_HOLDERS = frozenset({"module", "namespace"})  # of names that can be imported


@dataclass(frozen=True, slots=True)
class Names:
    """The files that define each name of each namespace."""

    by_namespace: dict[str, dict[str, list[bytes]]]
    _used: dict[tuple[bytes, str], tuple[Target, ...]] = field(default_factory=dict)

    def file(self, source: bytes, namespace: str, name: str) -> bytes | None:
        """The file that defines a name; of several, the nearest to `source`."""
        found = self.by_namespace.get(namespace, {}).get(name)
        return nearest(source, found[:COMMON]) if found else None

    def used(self, source: Parsed, path: bytes, namespace: str) -> tuple[Target, ...]:
        """The files of a namespace that define what a file uses, with these names; looked for once, however often it is imported."""
        if (path, namespace) not in self._used:
            self._used[path, namespace] = self._search(source, path, namespace)
        return self._used[path, namespace]

    def _search(self, source: Parsed, path: bytes, namespace: str) -> tuple[Target, ...]:
        defined = self.by_namespace.get(namespace, {})
        by_file: dict[bytes, list[str]] = defaultdict(list)
        for name in common(source.identifiers, defined):
            if len(defined[name]) <= COMMON:
                by_file[nearest(path, defined[name])].append(name)
        return tuple((file, tuple(sorted(names))) for file, names in sorted(by_file.items()))


def declared(files: Files, separator: str) -> Names:
    """What the files declare, members aside. Nested types stand beside those that hold them: the file is the same."""
    found: dict[str, dict[str, list[bytes]]] = defaultdict(lambda: defaultdict(list))
    for path, parsed in files.items():
        namespace = found[parsed.package.strip(separator)]
        for name in sorted({one.name for one in parsed.symbols if one.kind not in _MEMBERS}):
            namespace[name].append(path)
    return Names({namespace: dict(names) for namespace, names in found.items()})


def importable(parsed: Parsed) -> set[str]:
    """The names of a file that another one can import: none that stands within a class or a function."""
    found: set[str] = set()
    start = end = 0
    for one in parsed.symbols:  # in order, the outer before the inner
        within = start < one.start_line and one.end_line <= end
        if not within and one.kind not in _MEMBERS:
            found.add(one.name)
            if one.kind not in _HOLDERS:
                start, end = one.start_line, one.end_line
    return found


def common(some: Collection[str], others: Collection[str]) -> Iterator[str]:
    """The names in both tables, at the cost of the smaller one."""
    small, large = (some, others) if len(some) <= len(others) else (others, some)
    return (one for one in small if one in large)
