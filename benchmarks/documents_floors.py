"""What the documents flow is measured against: the bare steps in one process, and LlamaIndex's IngestionPipeline.

All read the same kind of files, make vectors with the same model in bf16 and write to tables of the same server that have the same indexes.
The floor cuts by characters alone, so what a piece has beyond the model's window is not read; LlamaIndex cuts at the window, as we do.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg
from measuring import RunningStack
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from ingestion_assets.embedding.models import Model

OVERLAP = 40  # tokens; about 200 characters of this prose


class Measured(NamedTuple):
    """Seconds by the clock and of processors, the stack's and this process's together; and the texts that got a vector."""

    seconds: float
    processor: float
    texts: int


def measured(stack: RunningStack, work: Callable[[], int]) -> Measured:
    """What `work` takes, which gives its number of texts."""
    processor, began = _processor(stack), time.perf_counter()
    texts = work()
    return Measured(time.perf_counter() - began, _processor(stack) - processor, texts)


def _processor(stack: RunningStack) -> float:
    whole = psutil.Process(stack.process.pid)
    spent = time.process_time()
    for process in (whole, *whole.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            spent += sum(process.cpu_times()[:4])  # its own, and of its children that ended
    return spent


@contextmanager
def database(stack: RunningStack) -> Iterator[psycopg.Connection]:
    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"], autocommit=True) as connection:
        yield connection


@contextmanager
def table_for(stack: RunningStack) -> Iterator[psycopg.Connection]:
    """A connection with an empty table `floor` that has the indexes that ours have."""
    with database(stack) as connection:
        register_vector(connection)
        connection.execute(
            "CREATE TEMP TABLE floor (text text, embedding halfvec(384),"
            " tsv tsvector GENERATED ALWAYS AS (to_tsvector('simple', text)) STORED)"
        )
        connection.execute("CREATE INDEX ON floor USING hnsw (embedding halfvec_cosine_ops)")
        connection.execute("CREATE INDEX ON floor USING gin (tsv)")
        yield connection


def stored(connection: psycopg.Connection, pieces: Any, vectors: Any) -> None:
    with connection.cursor().copy("COPY floor (text, embedding) FROM STDIN (FORMAT BINARY)") as copy:
        copy.set_types(["text", "halfvec"])
        for piece, vector in zip(pieces, vectors, strict=True):
            copy.write_row((piece, HalfVector(vector)))


def floor(stack: RunningStack, model: Model, folder: Path) -> int:
    """Read, cut, embed, copy and index the texts of a folder, file by file, in this process."""
    texts = 0
    with table_for(stack) as connection:
        for path in sorted(folder.iterdir()):
            text = path.read_text(encoding="utf-8")
            pieces = [text[start : start + 1000] for start in range(0, max(1, len(text) - 200), 800)]
            stored(connection, pieces, model.encode(pieces))
            texts += len(pieces)
    return texts


def llama_index(stack: RunningStack, model: Model, folder: Path, *, whole: bool = False) -> int:
    """LlamaIndex's reader, splitter, pipeline and document store. `whole`: with the model in fp32, as sentence-transformers loads it."""
    from llama_index.core import SimpleDirectoryReader  # noqa: PLC0415 - of the extra `bench`
    from llama_index.core.embeddings import BaseEmbedding  # noqa: PLC0415
    from llama_index.core.ingestion import IngestionPipeline  # noqa: PLC0415
    from llama_index.core.node_parser import SentenceSplitter  # noqa: PLC0415
    from llama_index.core.storage.docstore import SimpleDocumentStore  # noqa: PLC0415
    from llama_index.core.vector_stores.types import BasePydanticVectorStore  # noqa: PLC0415

    encode = _whole() if whole else model.encode

    class Embedding(BaseEmbedding):
        def _get_text_embedding(self, text: str) -> list[float]:
            return self._get_text_embeddings([text])[0]

        def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
            return encode(texts).tolist()

        _get_query_embedding = _get_text_embedding

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_text_embedding(query)

    with table_for(stack) as connection:

        class Store(BasePydanticVectorStore):
            stores_text: bool = True

            @property
            def client(self) -> psycopg.Connection:
                return connection

            def add(self, nodes: Any, **_: Any) -> list[str]:
                stored(connection, [node.get_content() for node in nodes], [node.embedding for node in nodes])
                return [node.node_id for node in nodes]

            def delete(self, ref_doc_id: str, **_: Any) -> None: ...

            def query(self, query: Any, **_: Any) -> Any:
                raise NotImplementedError

        splitter = SentenceSplitter(
            chunk_size=model.window_tokens - 2, chunk_overlap=OVERLAP, include_metadata=False,
            tokenizer=lambda text: range(model.count_tokens(text) - 2),
        )  # fmt: skip
        pipeline = IngestionPipeline(
            transformations=[splitter, Embedding(embed_batch_size=32)], vector_store=Store(), docstore=SimpleDocumentStore()
        )  # fmt: skip
        return len(pipeline.run(documents=SimpleDirectoryReader(str(folder)).load_data()))


def _whole() -> Any:
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    from ingestion_assets.embedding.packaged import MODEL, packaged  # noqa: PLC0415

    torch.set_num_threads(os.cpu_count() or 1)
    known = SentenceTransformer(str(packaged(MODEL)), device="cpu", local_files_only=True)
    return lambda texts: known.encode(texts, normalize_embeddings=True, show_progress_bar=False)
