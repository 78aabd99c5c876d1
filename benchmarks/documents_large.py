"""Search in a large collection of made-up documents, with random vectors, put into the tables directly."""

import hashlib
import random
import time
import uuid
from collections.abc import Iterator

import numpy as np
from documents_floors import database
from documents_stack import Documents, documents_of
from documents_texts import WORDS, prose
from measuring import RunningStack

from ingestion_assets.documents.vectors import index_for
from ingestion_assets.embedding.models import text_model
from ingestion_assets.settings import Settings
from ingestion_assets.stores.postgres import engine


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
    # As where a job's vectors were the first: the index is there, and grows.
    index_for(engine(stack.environment["INGESTION_POSTGRES_URL"]), model.id, 384)
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
