"""From the files of a snapshot to its graph: parsed in child processes, unless their content was parsed before, then linked."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from ingestion_assets.repositories import contents, snapshots
from ingestion_assets.repositories.contents import Content
from ingestion_assets.repositories.file_states import FileState
from ingestion_assets.repositories.graph import CodeGraph, build, manifest
from ingestion_assets.repositories.indexing import Indexing
from ingestion_assets.repositories.paths import stored
from ingestion_assets.repositories.source_facts import Parsed, Source
from ingestion_assets.repositories.source_parsing import VERSION, parse_all
from ingestion_assets.repositories.sourcing import Sourced

KEEP_AT_ONCE = 200


@dataclass(slots=True)
class Graphed:
    """What was parsed of each embedded file, by path, and the links between them."""

    files: Sequence[FileState]
    parsed: Mapping[bytes, Parsed]
    graph: CodeGraph
    symbols: int


def make_graph(indexing: Indexing, sourced: Sourced) -> Graphed:
    """Parse and link the files of a snapshot, and write that down. Raises `StoppedError`, `GoneError`."""
    with indexing.watch.stage("parsing"):
        parsed = _parse(indexing, sourced)
    with indexing.watch.stage("linking"):
        files, faults = _without_faults(sourced.files, parsed)
        good = {file.path: parsed[file.path] for file in files if file.state == "embedded"}
        graph = build(good, _manifests(indexing, sourced), indexing.go_on)
        indexing.go_on()
        symbols = list(_symbols(good))
        edges = [
            (stored(edge.source), stored(edge.target), edge.kind, edge.weight, list(edge.names))
            for edge in graph.edges
        ]
        with indexing.engine.begin() as connection:
            snapshots.write_graph(connection, sourced.snapshot_id, symbols=symbols, edges=edges)
            snapshots.skip_files(connection, sourced.snapshot_id, faults)
    return Graphed(files, good, graph, len(symbols))


def _parse(indexing: Indexing, sourced: Sourced) -> dict[bytes, Parsed]:
    """What was parsed of each file; of files with the same content, once."""
    by_content: dict[Content, list[FileState]] = {}
    for file in sourced.files:
        if file.state == "embedded" and file.language is not None:
            by_content.setdefault(Content(file.blob, file.language), []).append(file)
    parsed: dict[bytes, Parsed] = {}

    def note(content: Content, one: Parsed) -> None:
        for file in by_content[content]:
            parsed[file.path] = msgspec.structs.replace(one, path=file.path)
        indexing.watch.note(len(parsed), total)

    total = sum(map(len, by_content.values()))
    with indexing.engine.connect() as connection:
        for content, facts in contents.parsed_of(connection, list(by_content), version=VERSION):
            note(content, Parsed.from_bytes(facts))
    missing = [content for content, files in by_content.items() if files[0].path not in parsed]
    if not missing:
        return parsed
    fresh: dict[Content, bytes] = {}
    for one in parse_all(_sources(indexing, sourced, missing, by_content), indexing.stopped):
        content = Content(one.blob, one.language)
        note(content, one)
        if one.error is None:
            fresh[content] = msgspec.structs.replace(one, path=b"").to_bytes()  # of the content alone
        if len(fresh) >= KEEP_AT_ONCE:
            _keep(indexing, sourced, fresh)
        indexing.go_on()
    indexing.go_on()
    _keep(indexing, sourced, fresh)
    return parsed


def _sources(
    indexing: Indexing,
    sourced: Sourced,
    missing: Sequence[Content],
    by_content: Mapping[Content, Sequence[FileState]],
) -> Iterator[Source]:
    languages: dict[bytes, list[str]] = {}
    for content in missing:
        languages.setdefault(content.blob, []).append(content.language)
    for blob, data in sourced.read(indexing, list(languages)):
        for language in languages[blob]:
            yield Source(by_content[Content(blob, language)][0].path, blob, language, data)


def _keep(indexing: Indexing, sourced: Sourced, fresh: dict[Content, bytes]) -> None:
    with indexing.engine.begin() as connection:
        contents.keep_parsed(connection, fresh, snapshot=sourced.snapshot_id, version=VERSION)
    fresh.clear()


def _without_faults(
    files: Sequence[FileState], parsed: Mapping[bytes, Parsed]
) -> tuple[list[FileState], dict[str, tuple[str, str | None]]]:
    """The files as they are after parsing: those that could not be parsed are skipped, with the reason."""
    after: list[FileState] = []
    faults: dict[str, tuple[str, str | None]] = {}
    for file in files:
        error = parsed[file.path].error if file.path in parsed else None
        if error is None:
            after.append(file)
            continue
        after.append(replace(file, state="skipped", reason=error))
        faults[stored(file.path)] = error, None
    return after, faults


def _manifests(indexing: Indexing, sourced: Sourced) -> dict[bytes, bytes]:
    wanted: dict[bytes, list[bytes]] = {}
    for file in sourced.files:
        if manifest(file.path) and file.reason not in {
            "symlink",
            "submodule",
            "too_large",
            "bad_path",
            "over_limit",
        }:
            wanted.setdefault(file.blob, []).append(file.path)
    return {path: data for blob, data in sourced.read(indexing, list(wanted)) for path in wanted[blob]}


def _symbols(parsed: Mapping[bytes, Parsed]) -> Iterator[tuple[Any, ...]]:
    for path, one in parsed.items():
        for symbol in one.symbols:
            yield stored(path), symbol.name, symbol.kind, symbol.start_line, symbol.end_line


def edges_by_kind(graph: CodeGraph) -> dict[str, int]:
    """How many links there are of each kind."""
    return dict(sorted(Counter(edge.kind for edge in graph.edges).items()))
