"""What a family's resolver gives for each import: the files it leads to, if any."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ingestion_assets.repositories.resolution.sources_read import Tables
from ingestion_assets.repositories.source_facts import Parsed

Files = Mapping[bytes, Parsed]
Manifests = Tables
Target = tuple[bytes, tuple[str, ...]]  # a file, and the names taken from it; none where it is taken whole


@dataclass(frozen=True, slots=True)
class Link:
    """One import. `origin` says how it was written: `relative` (names a place in this repository), `alias`, `package` (may well be somebody
    else's) or `asset` (a file that is no source). Without targets it did not resolve."""

    source: bytes
    origin: str
    targets: tuple[Target, ...] = ()


Resolver = Callable[[Files, Manifests], Iterator[Link]]
