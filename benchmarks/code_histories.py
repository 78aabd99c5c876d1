"""What the vectors of files are judged by: repositories at an older commit as the product sees them, and what people did next.

The clones are read and never changed or run. What takes long, parsing and the text model, is kept by commit in a folder if one is given.
"""

import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from ingestion_assets.embedding import text
from ingestion_assets.embedding.structural import Edges
from ingestion_assets.repositories import graph, recognizing
from ingestion_assets.repositories.clone import Snapshot
from ingestion_assets.repositories.embedding_structure import links
from ingestion_assets.repositories.file_states import FileState, states
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.repositories.source_facts import Chunk, Parsed, Source
from ingestion_assets.repositories.source_parsing import VERSION, parse_all
from ingestion_assets.repositories.trees import entries, read

SHARE, MOST_COMMITS, FEWEST_COMMITS = 0.4, 300, 20
CHANGED = range(2, 11)  # code files of a commit that says something
_MOST_CHUNKS = (
    8  # of a file that the text model reads, from its beginning to its end: it takes nearly all of the time
)
_READ = {None, "unsupported_language", "generated", "vendored"}  # states of manifests that the product reads


@dataclass(frozen=True, slots=True)
class Case:
    """A repository at an older commit. `commits` are the numbers of the files that each later commit changed, `imports` pairs of files."""

    name: str
    paths: list[bytes]
    parsed: dict[bytes, Parsed]
    manifests: Mapping[bytes, bytes]
    edges: Edges
    imports: set[tuple[int, int]]
    commits: list[list[int]]
    text: np.ndarray | None = None

    @property
    def identifiers(self) -> list[Mapping[str, int]]:
        """What each file names."""
        return [self.parsed[path].identifiers for path in self.paths]


class _Kept(msgspec.Struct, array_like=True):
    parsed: list[Parsed]
    manifests: dict[bytes, bytes]


def case_of(folder: Path, *, cache: Path | None, with_text: bool) -> Case | None:
    """The case of a bare clone with its history; None where too few later commits change several files."""
    commits = list(_commits(folder))
    later = min(int(len(commits) * SHARE), MOST_COMMITS)
    if later < FEWEST_COMMITS:
        return None
    commit = commits[later][0]
    kept = msgspec.msgpack.decode(_once(cache, f"{commit}.{VERSION}.parsed", lambda: _parsed(folder, commit)), type=_Kept)  # fmt: skip
    parsed = {one.path: one for one in kept.parsed}
    paths = sorted(parsed)
    number = {path: index for index, path in enumerate(paths)}
    built = graph.build(parsed, kept.manifests)
    asked = [[number[path] for path in changed if path in number] for _, changed in commits[:later]]
    vectors = None
    if with_text:
        made = _once(cache, f"{commit}.{VERSION}.{text.MODEL}", lambda: _texts(folder, commit, parsed))
        vectors = np.frombuffer(made, dtype=np.float32).reshape(len(paths), text.WIDTH)
    return Case(
        name=(folder.parent if folder.name in {"repo", ".git"} else folder).name,
        paths=paths,
        parsed=parsed,
        manifests=kept.manifests,
        edges=links(built, paths),
        imports={
            tuple(sorted((number[edge.source], number[edge.target])))
            for edge in built.edges
            if edge.kind == "import"
        },
        commits=[files for files in asked if len(files) > 1],
        text=vectors,
    )


def _once(cache: Path | None, name: str, make: Callable[[], bytes]) -> bytes:
    if cache is None:
        return make()
    file = cache / name
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part")
        part.write_bytes(make())
        part.rename(file)
    return file.read_bytes()


def _commits(folder: Path) -> Iterator[tuple[str, list[bytes]]]:
    """The commits that change a few code files, newest first, and these files."""
    log = _git(folder, "log", "--no-merges", "--no-renames", "--name-only", "-z", "--format=%x01%H", "HEAD")
    for entry in log.split(b"\x01")[1:]:
        commit, _, names = entry.partition(b"\0")
        changed = [name for name in names.lstrip(b"\n").split(b"\0") if recognizing.language_by_name(name)]
        if len(changed) in CHANGED:
            yield commit.strip().decode(), changed


def _git(folder: Path, *arguments: str) -> bytes:
    options = ["-c", "core.hooksPath=/dev/null", "-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    command = ["git", *options, "--git-dir", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


class _Clone:
    """A temporary bare repository that borrows the objects of a clone, so that nothing is written there."""

    def __init__(self, folder: Path, commit: str) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="quality-")
        own = Path(self._scratch.name) / "repository.git"
        subprocess.run(["git", "init", "--quiet", "--bare", "--template=", str(own)], check=True)  # noqa: S607 - as the product does
        (own / "objects" / "info").mkdir(exist_ok=True)
        (own / "objects" / "info" / "alternates").write_text(f"{(folder / 'objects').resolve()}\n")
        tree = _git(folder, "rev-parse", f"{commit}^{{tree}}").decode().strip()
        self._snapshot = Snapshot(own, commit, tree, None)

    def __enter__(self) -> Snapshot:
        return self._snapshot

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()


def _parsed(folder: Path, commit: str) -> bytes:
    """The facts of each file that the product embeds, and the manifests."""
    limits = RepositoriesSettings()
    with _Clone(folder, commit) as cloned:
        found = list(states(cloned, entries(cloned, limits), limits))
        blobs = _by_blob(file for file in found if file.state == "embedded")
        sources = (
            Source(file.path, blob, file.language or "", data)
            for blob, data in read(cloned, list(blobs), limits)
            for file in blobs[blob]
        )
        parsed = [one for one in parse_all(sources, lambda: False) if one.error is None]
        named = _by_blob(file for file in found if graph.manifest(file.path) and file.reason in _READ)  # fmt: skip
        manifests = {
            file.path: data for blob, data in read(cloned, list(named), limits) for file in named[blob]
        }
    return msgspec.msgpack.encode(_Kept(parsed, manifests))


def _by_blob(files: Iterator[FileState]) -> dict[bytes, list[FileState]]:
    by_blob: dict[bytes, list[FileState]] = defaultdict(list)
    for file in files:
        by_blob[file.blob].append(file)
    return by_blob


def _texts(folder: Path, commit: str, parsed: Mapping[bytes, Parsed]) -> bytes:
    """The mean of the vectors of each file's chunks, by the order of paths; of long files, of chunks that are evenly spread."""
    paths = sorted(parsed)
    with _Clone(folder, commit) as cloned:
        contents = dict(read(cloned, list({one.blob for one in parsed.values()}), RepositoriesSettings()))
    words = [
        (file, contents[parsed[path].blob][chunk.start_byte : chunk.end_byte].decode(errors="replace"))
        for file, path in enumerate(paths)
        for chunk in _some(parsed[path].chunks)
    ]
    vectors = np.zeros((len(paths), text.WIDTH), dtype=np.float32)
    of_chunks = text.TextModel.load().encode([chunk for _, chunk in words])
    np.add.at(vectors, [file for file, _ in words], of_chunks)
    return vectors.tobytes()


def _some(chunks: Sequence[Chunk]) -> list[Chunk]:
    wanted = min(len(chunks), _MOST_CHUNKS)
    return [chunks[number * len(chunks) // wanted] for number in range(wanted)]
