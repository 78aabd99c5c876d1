"""Jobs over documents beside the bare steps that they are made of, and search in a large collection, through the whole stack.

In turns, in one run: 200 text documents from `start` to the last stored file, and the floor, which reads, cuts, embeds, copies and indexes
the same texts with the same model on the same server and knows nothing of jobs. Then the same job again, jobs of one page, PDF beside bare
pypdfium2, and questions to 50,000 chunks.
"""

import hashlib
import itertools
import random
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
from documents_stack import Documents, documents_of
from measuring import Targets, arguments, bench_stack, median, quantile, table
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from ingestion_assets.documents.parsing.parsed_files import Limits, ParseOptions
from ingestion_assets.documents.parsing.sandbox import parse
from ingestion_assets.documents.sample_documents import FORMATS
from ingestion_assets.embedding.models import Model, text_model
from ingestion_assets.settings import Settings
from ingestion_assets_tests.stacks import RunningStack

DOCUMENTS, ROUNDS, ONE_PAGE_JOBS, PDF_PAGES, CHUNKS, QUESTIONS = 200, 3, 10, 1000, 50_000, 200
_FIRST = ("ba", "ko", "li", "mu", "ne", "sa", "ti", "vo", "ra", "du")
_LAST = (
    "rin",
    "tal",
    "mek",
    "son",
    "vis",
    "lor",
    "pan",
    "dex",
    "gul",
    "hem",
    "jot",
    "kur",
    "nas",
    "por",
    "quil",
    "rus",
    "sem",
    "tur",
    "wal",
    "zed",
)
WORDS = ["".join(parts) for parts in itertools.product(_FIRST, _LAST, _LAST)]
OFTEN = [1 / place for place in range(1, len(WORDS) + 1)]
"""Words are as frequent as in a language (Zipf)."""


def prose(chance: random.Random, paragraphs: int) -> list[str]:
    """Paragraphs of about 1,000 characters, no two alike."""
    return [" ".join(chance.choices(WORDS, OFTEN, k=130)) + "." for _ in range(paragraphs)]


def main() -> int:
    given = arguments(__doc__)
    size, rounds = (20, 1) if given.quick else (DOCUMENTS, ROUNDS)
    targets = Targets()
    model = text_model(None, Settings())
    model.encode(["warm"])
    with bench_stack(workers_gpu=1, workers_batch=2, document_roots="/tmp") as stack:  # noqa: S108 - the temporary home lies there
        ours, bare, again = [], [], []
        for number in range(rounds):
            documents = documents_of(stack, f"speed-{number}")
            folder = written(stack.home / f"speed-{number}", size, seed=number)
            connection = documents.connect(folder)
            job, seconds = documents.run(documents.job(connection))
            assert job["completed_files"] == size, job
            ours.append(seconds)
            bare.append(
                floor(stack, model, written(stack.home / f"floor-{number}", size, seed=1000 + number))
            )
            job, seconds = documents.run(documents.job(connection))
            assert job["skipped_files"] == size, job
            again.append(seconds)
        one_page = list(jobs_of_one_page(stack, 2 if given.quick else ONE_PAGE_JOBS))
        pdf_ours, pdf_bare = pages_a_second(stack.home, 50 if given.quick else PDF_PAGES)
        searches = list(questions(stack, 2000 if given.quick else CHUNKS, 20 if given.quick else QUESTIONS))
    rows = [
        (f"{size} text documents, start to last file", f"{median(ours):.2f} s"), ("the floor", f"{median(bare):.2f} s"),
        ("the same job again", f"{median(again):.2f} s"), ("a job of one page", f"{median(one_page):.2f} s"),
        ("PDF, pages a second", f"{pdf_ours:.0f}"), ("bare pypdfium2, pages a second", f"{pdf_bare:.0f}"),
        ("search, p50", f"{1000 * median(searches):.0f} ms"), ("search, p95", f"{1000 * quantile(searches, 0.95):.0f} ms"),
    ]  # fmt: skip
    table("Documents", ("", "median"), rows)
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    targets.at_most("beside the floor of the same round, median", median(ratios), 1.3)
    targets.at_most("the same job again", median(again), 2.0, " s")
    targets.at_most("a job of one page, p50", median(one_page), 3.0, " s")
    targets.at_least("PDF beside bare pypdfium2", pdf_ours / pdf_bare, 0.5)
    targets.at_most(f"search in {CHUNKS} chunks, p95", 1000 * quantile(searches, 0.95), 100, " ms")
    return targets.verdict()


def written(folder: Path, number: int, *, seed: int) -> Path:
    chance = random.Random(seed)
    folder.mkdir()
    for place in range(number):
        (folder / f"{place}.txt").write_text("\n\n".join(prose(chance, 3)), encoding="utf-8")
    return folder


@contextmanager
def database(stack: RunningStack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
        yield connection


def floor(stack: RunningStack, model: Model, folder: Path) -> float:
    """Seconds to read, cut, embed, copy and index the texts of a folder, file by file, in this process."""
    with database(stack) as connection:
        register_vector(connection)
        connection.execute(
            "CREATE TEMP TABLE floor (text text, embedding halfvec(384),"
            " tsv tsvector GENERATED ALWAYS AS (to_tsvector('simple', text)) STORED)"
        )
        connection.execute("CREATE INDEX ON floor USING hnsw (embedding halfvec_cosine_ops)")
        connection.execute("CREATE INDEX ON floor USING gin (tsv)")
        began = time.perf_counter()
        for path in sorted(folder.iterdir()):
            text = path.read_text(encoding="utf-8")
            pieces = [text[start : start + 1000] for start in range(0, max(1, len(text) - 200), 800)]
            vectors = model.encode(pieces)
            with connection.cursor().copy("COPY floor (text, embedding) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(["text", "halfvec"])
                for piece, vector in zip(pieces, vectors, strict=True):
                    copy.write_row((piece, HalfVector(vector)))
        seconds = time.perf_counter() - began
        connection.execute("DROP TABLE floor")
    return seconds


def jobs_of_one_page(stack: RunningStack, number: int) -> Iterator[float]:
    documents = documents_of(stack, "one-page")
    for place in range(number):
        folder = stack.home / f"page-{place}"
        folder.mkdir()
        content = prose(random.Random(5000 + place), 1)
        (folder / "page.pdf").write_bytes(FORMATS["pdf"]((f"Page {place}", content)))
        job, seconds = documents.run(documents.job(documents.connect(folder)))
        assert job["completed_files"] == 1, job
        yield seconds


def pages_a_second(home: Path, pages: int) -> tuple[float, float]:
    """Of one PDF in one process: as we parse it, and by pypdfium2 alone."""
    path = home / "long.pdf"
    path.write_bytes(FORMATS["pdf"](("Long", prose(random.Random(1), pages * 4))))
    with ProcessPoolExecutor(1) as other:
        other.submit(bare_pages, path).result()
        began = time.perf_counter()
        found = other.submit(bare_pages, path).result()
        bare = found / (time.perf_counter() - began)
    parse(path, path.name, ParseOptions(), limits=Limits())
    began = time.perf_counter()
    parsed = parse(path, path.name, ParseOptions(), limits=Limits())
    assert len(parsed.pages) == found
    return found / (time.perf_counter() - began), bare


def bare_pages(path: Path) -> int:
    import pypdfium2  # noqa: PLC0415 - in the other process

    with pypdfium2.PdfDocument(path) as document:
        for page in document:
            page.get_textpage().get_text_bounded()
        return len(document)


def questions(stack: RunningStack, number: int, asked: int) -> Iterator[float]:
    """Seconds of searches among so many chunks of one user, with random vectors, put into the tables directly."""
    documents = documents_of(stack, "large")
    fill(stack, documents, number)
    chance = random.Random(7)
    for place in range(asked + 5):
        question = "What " + " ".join(chance.sample(WORDS[50:], 4)) + "?"
        began = time.perf_counter()
        found = documents.search(question, limit=10)
        if place >= 5:
            assert found["by"] == ["vector", "text"] and found["items"], found["by"]
            yield time.perf_counter() - began


def fill(stack: RunningStack, documents: Documents, number: int) -> None:
    chance, vectors = random.Random(3), np.random.default_rng(3)
    model = text_model(None, Settings())
    with database(stack) as connection:
        for start in range(0, number, 500):
            texts = prose(chance, min(500, number - start))
            text = "\n\n".join(texts)
            (content,) = connection.execute(
                "INSERT INTO documents.contents (user_id, sha256, options, model, pipeline, mime, language, config, quality, pages, "
                "characters, chunks, text) VALUES (%s, %s, '', %s, '1', 'text/plain', 'en', 'english', 1, 1, %s, %s, %s) RETURNING id",
                (documents.user, hashlib.sha256(text.encode()).digest(), model.id, len(text), len(texts), text),
            ).fetchone() or (0,)  # fmt: skip
            connection.execute(
                "INSERT INTO documents.documents (id, user_id, connection_id, file_id, name, path, source_type, content_id, job_id) "
                "VALUES (%s, %s, 'conn', %s, %s, %s, 'local_directory', %s, 'job')",
                (uuid.uuid4(), documents.user, *[str(start)] * 3, content),
            )
            place, rows = 0, []
            for count, one in enumerate(texts):
                digest = hashlib.sha256(one.encode()).digest()
                vector = str(vectors.standard_normal(384).astype(np.float16).tolist())
                rows.append((content, count, one, digest, place, place + len(one), one, vector, model.id))
                place += len(one) + 2
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(
                    "WITH chunk AS (INSERT INTO documents.chunks (content_id, number, text, text_digest, start_at, end_at, tokens, page_first, "
                    "page_last, tsv) VALUES (%s, %s, %s, %s, %s, %s, 200, 1, 1, to_tsvector('english', %s)) RETURNING text_digest) "
                    "INSERT INTO documents.vectors (text_digest, embedding, model) SELECT text_digest, %s::text::halfvec, %s FROM chunk",
                    rows,
                )
        connection.execute(
            "ANALYZE documents.chunks, documents.vectors, documents.contents, documents.documents"
        )


if __name__ == "__main__":
    sys.exit(main())
