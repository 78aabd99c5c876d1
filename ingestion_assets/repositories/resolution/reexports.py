"""Names that a module only hands on: an import of them leads to the file that defines them, too."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from ingestion_assets.repositories.resolution.links import Files, Link
from ingestion_assets.repositories.resolution.namespaces import common, importable
from ingestion_assets.repositories.resolution.tree import name

_FILES = 64  # that one name is followed through
_GATEWAYS = frozenset({b"__init__", b"index", b"mod", b"lib", b"prelude"})


class _Handed:
    """What each module takes from others, and so may hand on."""

    def __init__(self, files: Files, links: Iterable[Link]) -> None:
        self.defined = {path: importable(parsed) for path, parsed in files.items()}
        self.passed: dict[bytes, dict[str, bytes]] = {}
        self.whole: dict[bytes, list[bytes]] = {}
        for link in links:
            for target, names in link.targets:
                for one in names if target != link.source else ():
                    if one == "*":
                        self.whole.setdefault(link.source, []).append(target)
                    else:
                        self.passed.setdefault(link.source, {}).setdefault(one, target)
        self._definers: dict[tuple[bytes, str], bytes | None] = {}
        self._offered: dict[bytes, dict[str, bytes]] = {}

    def definer(self, module: bytes, wanted: str) -> bytes | None:
        """The file that defines a name which is taken from `module`."""
        key = module, wanted
        if key not in self._definers:
            self._definers[key] = self._search(module, wanted)
        return self._definers[key]

    def _search(self, module: bytes, wanted: str) -> bytes | None:
        waiting, seen = deque([module]), {module}
        while waiting:
            at = waiting.popleft()
            if wanted in self.defined.get(at, ()):
                return at
            onward = self.passed.get(at, {}).get(wanted)
            for one in [onward] if onward else self.whole.get(at, ()):
                if one not in seen and len(seen) < _FILES:
                    seen.add(one)
                    waiting.append(one)
        return None

    def offered(self, module: bytes) -> dict[str, bytes]:
        """What `module` hands on, with the files that define it."""
        if module not in self._offered:
            self._offered[module] = self._collect(module)
        return self._offered[module]

    def _collect(self, module: bytes) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        waiting, seen = deque([module]), {module}
        while waiting:
            at = waiting.popleft()
            for one in self.passed.get(at, ()):
                definer = self.definer(at, one) if one not in found else None
                if definer:
                    found[one] = definer
            if at != module:
                for one in self.defined.get(at, ()):
                    found.setdefault(one, at)
            for one in self.whole.get(at, ()):
                if one not in seen and len(seen) < _FILES:
                    seen.add(one)
                    waiting.append(one)
        return found


def followed(files: Files, links: Sequence[Link]) -> Iterator[tuple[bytes, bytes, str]]:
    """Source, file that defines, and name, for what reaches a file through another one. Whole modules count where they are made to hand on."""
    handed, whole = _Handed(files, links), set[tuple[bytes, bytes]]()
    for link in links:
        for target, names in link.targets:
            for one in names:
                definer = handed.definer(target, one) if one != "*" else None
                if definer and definer != target:
                    yield link.source, definer, one
            if (link.source, target) in whole or not (not names or "*" in names):
                continue
            if name(target).partition(b".")[0] in _GATEWAYS:
                whole.add((link.source, target))
                offered = handed.offered(target)
                for one in common(files[link.source].identifiers, offered):
                    yield link.source, offered[one], one
