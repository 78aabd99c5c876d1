"""Small trees written in one text, parsed for real, and the edges that are expected of them."""

from ingestion_assets.repositories.extraction import extract
from ingestion_assets.repositories.graph import CodeGraph, build, manifest
from ingestion_assets.repositories.recognizing import language_by_name
from ingestion_assets.repositories.source_facts import Parsed, Source


def files(text: str) -> dict[bytes, bytes]:
    """Contents by path; each file begins with a line `== path`."""
    found: dict[bytes, bytes] = {}
    for part in ("\n" + text.strip("\n")).split("\n== ")[1:]:
        path, _, content = part.partition("\n")
        found[path.strip().encode()] = content.encode() + b"\n"
    return found


def facts(text: str) -> tuple[dict[bytes, Parsed], dict[bytes, bytes]]:
    """What `build` takes, of such a tree."""
    tree = files(text)
    sources = ((path, language_by_name(path), content) for path, content in tree.items())
    parsed = {
        path: extract(Source(path, b"", language, content)) for path, language, content in sources if language
    }
    return parsed, {path: content for path, content in tree.items() if manifest(path)}


def graph(text: str) -> CodeGraph:
    return build(*facts(text))


def edges(found: CodeGraph, kind: str = "import") -> set[str]:
    """The edges of a kind, as `source > target`."""
    return {f"{one.source.decode()} > {one.target.decode()}" for one in found.edges if one.kind == kind}


def lines(text: str) -> set[str]:
    """Expected edges, one a line."""
    return {one.strip() for one in text.strip().splitlines() if one.strip()}
