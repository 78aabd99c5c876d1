"""The vectors of a snapshot's text: chunk by chunk, each content once for a model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from ingestion_assets.embedding import errors
from ingestion_assets.embedding.models import text_model
from ingestion_assets.repositories import contents
from ingestion_assets.repositories.contents import Content
from ingestion_assets.repositories.graphing import Graphed
from ingestion_assets.repositories.indexing import Indexing, StoppedError
from ingestion_assets.repositories.key_patterns import may_hold_secret
from ingestion_assets.repositories.source_facts import Chunk
from ingestion_assets.repositories.sourcing import Sourced
from ingestion_assets.settings import load_settings

AT_ONCE = 128  # chunks: what a kill in the middle costs


@dataclass(frozen=True, slots=True)
class TextEmbedded:
    """How many chunks were embedded, how many were known, how many are stored without their text; and of how many files none was new."""

    chunks: int = 0
    reused: int = 0
    withheld: int = 0
    files_reused: int = 0


def embed_text(indexing: Indexing, sourced: Sourced, graphed: Graphed) -> TextEmbedded:
    """Embed the chunks that have no vector yet, and keep them as they come. Raises `StoppedError`, `GoneError`."""
    wanted: dict[Content, Sequence[Chunk]] = {}
    files_of: dict[Content, int] = {}
    for file in graphed.files:
        if file.state == "embedded" and file.language is not None:
            content = Content(file.blob, file.language)
            wanted[content] = graphed.parsed[file.path].chunks
            files_of[content] = files_of.get(content, 0) + 1
    with indexing.engine.connect() as connection:
        known = contents.embedded_numbers(connection, list(wanted), model=indexing.models.text)
    missing = {
        content: [number for number in range(len(chunks)) if number not in known.get(content, ())]
        for content, chunks in wanted.items()
    }
    total = sum(map(len, missing.values()))
    done = withheld = 0
    if total:
        indexing.watch.come_to(0, total, "chunks")
        model = text_model(indexing.settings.text_model, load_settings())
        for batch in _batches(indexing, sourced, wanted, missing):
            indexing.go_on()
            note = partial(_note, indexing, done, total)
            try:
                vectors = model.encode(
                    [words for *_, words in batch], stopped=indexing.stopped, progress=note
                )
            except errors.StoppedError as error:
                raise StoppedError from error
            rows = []
            for (content, number, chunk, words), vector in zip(batch, vectors, strict=True):
                secret = may_hold_secret(words)
                withheld += secret
                kept = None if secret else words
                rows.append((content, number, chunk.start_line, chunk.end_line, kept, vector))
            with indexing.engine.begin() as connection:
                contents.keep_chunks(
                    connection, rows, snapshot=sourced.snapshot_id, model=indexing.models.text
                )
            done += len(batch)
            indexing.watch.come_to(done, total, "chunks")
    return TextEmbedded(
        chunks=total,
        reused=sum(map(len, wanted.values())) - total,
        withheld=withheld,
        files_reused=sum(files_of[content] for content, numbers in missing.items() if not numbers),
    )


def _note(indexing: Indexing, before: int, total: int, more: int) -> None:
    indexing.watch.note(before + more, total, "chunks")


_Wanted = tuple[Content, int, Chunk, str]


def _batches(
    indexing: Indexing,
    sourced: Sourced,
    wanted: dict[Content, Sequence[Chunk]],
    missing: dict[Content, list[int]],
) -> Iterator[list[_Wanted]]:
    languages: dict[bytes, list[str]] = {}
    for content, numbers in missing.items():
        if numbers:
            languages.setdefault(content.blob, []).append(content.language)
    batch: list[_Wanted] = []
    for blob, data in sourced.read(indexing, list(languages)):
        for language in languages[blob]:
            content = Content(blob, language)
            for number in missing[content]:
                chunk: Any = wanted[content][number]
                words = data[chunk.start_byte : chunk.end_byte].decode(errors="replace")
                batch.append((content, number, chunk, words))
                if len(batch) >= AT_ONCE:
                    yield batch
                    batch = []
    if batch:
        yield batch
