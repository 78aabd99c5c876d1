"""Whether questions lead to the passages that answer them: XQuAD's articles, a document each, through the API with default options.

`python benchmarks/documents_retrieval.py --data FOLDER`: FOLDER has `xquad.en.json` and `xquad.de.json`
(https://github.com/google-deepmind/xquad, CC BY-SA 4.0). A hit is a chunk of the right article that holds the whole answer. The articles
are few and their matters far apart: this tells that something broke, not how good search is elsewhere.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psycopg
from documents_stack import Documents, documents_of
from measuring import Targets, arguments, bench_stack, console, quantile, table

from ingestion_assets.documents.sample_documents import FORMATS
from ingestion_assets_tests.stacks import RunningStack

DEPTH = 10
MODES = ("hybrid", "vector", "text")


class Article(NamedTuple):
    """A title, its paragraphs, and questions with the answers that hold."""

    title: str
    paragraphs: Sequence[str]
    questions: Sequence[tuple[str, Sequence[str]]]


class Scores(NamedTuple):
    """Of all questions: the share whose hit comes first, among five, among ten; the mean reciprocal rank; seconds."""

    first: float
    five: float
    ten: float
    mean_reciprocal: float
    seconds: Sequence[float]


def articles(path: Path, *, quick: bool) -> list[Article]:
    data = json.loads(path.read_text(encoding="utf-8"))["data"]
    found = [
        Article(
            one["title"], [part["context"] for part in one["paragraphs"]],
            [(asked["question"], [answer["text"] for answer in asked["answers"]]) for part in one["paragraphs"] for asked in part["qas"]],
        )
        for one in data
    ]  # fmt: skip
    return found[:8] if quick else found


def main() -> int:
    given = arguments(
        __doc__, data="folder with XQuAD", mode="of searches: hybrid, vector, text; several with commas"
    )
    modes = given.mode.split(",") if given.mode else MODES
    assert given.data, "say where XQuAD is: --data FOLDER"
    english = articles(Path(given.data) / "xquad.en.json", quick=given.quick)
    german = articles(Path(given.data) / "xquad.de.json", quick=given.quick)
    targets = Targets()
    rows: list[tuple[str, Scores]] = []
    with bench_stack(workers_gpu=1, workers_batch=2, document_roots="/tmp") as stack:  # noqa: S108 - the temporary home lies there
        for suffix in ("txt", "docx", "html", "pdf"):
            scores = asked_of(stack, f"en-{suffix}", english, suffix, modes)
            rows += [(f"English .{suffix}, {mode}", one) for mode, one in scores.items()]
            targets.at_least(f"English .{suffix}, hybrid recall@5", scores["hybrid"].five, 0.97)
            targets.at_least(f"English .{suffix}, hybrid recall@1", scores["hybrid"].first, 0.85)
        in_german = asked_of(stack, "de-txt", german, "txt", modes)
        rows += [(f"German .txt, {mode}", one) for mode, one in in_german.items()]
        targets.at_least("German, hybrid recall@5", in_german["hybrid"].five, 0.88)
        large = asked_of(stack, "en-large", english, "txt", modes, chunk_size=4000, chunk_overlap=800)
        rows += [(f"English .txt, chunk_size 4000, {mode}", one) for mode, one in large.items()]
        targets.at_least("chunk_size 4000, hybrid recall@5", large["hybrid"].five, 0.96)
        bf16, fp32 = by_precision(stack, "en-txt", english)
        targets.at_most("recall@5 by vectors, fp32 beside bf16", abs(fp32 - bf16), 0.005)
    table(
        "XQuAD through the API", ("", "recall@1", "recall@5", "recall@10", "MRR", "p50 ms", "p95 ms"),
        [
            (
                name, *(f"{value:.3f}" for value in (one.first, one.five, one.ten, one.mean_reciprocal)),
                *(f"{1000 * quantile(one.seconds, share):.0f}" for share in (0.5, 0.95)),
            )
            for name, one in rows
        ],
    )  # fmt: skip
    return targets.verdict()


def asked_of(
    stack: RunningStack,
    user: str,
    known: Sequence[Article],
    suffix: str,
    modes: Sequence[str],
    **options: int,
) -> dict[str, Scores]:
    """Ingest the articles in a format and ask all questions, by each mode."""
    folder = stack.home / "articles" / user
    folder.mkdir(parents=True)
    for number, article in enumerate(known):
        (folder / f"{number}.{suffix}").write_bytes(FORMATS[suffix]((article.title, article.paragraphs)))
    documents = documents_of(stack, user)
    job, seconds = documents.run(documents.job(documents.connect(folder), **options))
    assert job["status"] == "completed", job
    console.print(f"{user}: {job['total_files']} files in {seconds:.1f} s")
    found = {mode: scores(documents, known, mode) for mode in modes}
    for mode, one in found.items():
        console.print(f"{user}, {mode}: recall@1 {one.first:.3f}, recall@5 {one.five:.3f}")
    return found


def scores(documents: Documents, known: Sequence[Article], mode: str) -> Scores:
    ranks, seconds = [], []
    for number, article in enumerate(known):
        for question, answers in article.questions:
            began = time.perf_counter()
            hits = documents.search(question, mode=mode, limit=DEPTH, fold=False)["items"]
            seconds.append(time.perf_counter() - began)
            ranks.append(
                next((rank for rank, hit in enumerate(hits, start=1) if _right(hit, number, answers)), None)
            )
    return _scores(ranks, seconds)


def _right(hit: dict, number: int, answers: Sequence[str]) -> bool:
    if Path(hit["file"]["path"]).stem != str(number):
        return False
    text = _flat(hit["text"])
    return any(_flat(answer) in text for answer in answers)


def _flat(text: str) -> str:
    """A PDF breaks lines where it likes, and has no letters beyond its encoding."""
    return " ".join(text.encode("cp1252", errors="replace").decode("cp1252").split())


def _scores(ranks: Sequence[int | None], seconds: Sequence[float]) -> Scores:
    def within(most: int) -> float:
        return sum(rank is not None and rank <= most for rank in ranks) / len(ranks)

    reciprocal = sum(1 / rank for rank in ranks if rank is not None) / len(ranks)
    return Scores(within(1), within(5), within(10), reciprocal, seconds)


def by_precision(stack: RunningStack, user: str, known: Sequence[Article]) -> tuple[float, float]:
    """Recall@5 by vectors alone over the stored chunks, in bf16 and in fp32."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 - heavy

    from ingestion_assets.embedding.packaged import MODEL, packaged  # noqa: PLC0415
    from ingestion_assets.embedding.text import TextModel  # noqa: PLC0415

    with psycopg.connect(stack.environment["INGESTION_POSTGRES_URL"]) as connection:
        chunks = connection.execute(
            "SELECT document.path, chunk.text FROM documents.chunks chunk "
            "JOIN documents.documents document ON document.content_id = chunk.content_id WHERE document.user_id = %s",
            [user],
        ).fetchall()
    half, whole = (
        SentenceTransformer(str(packaged(MODEL)), device="cpu", local_files_only=True) for _ in range(2)
    )
    ways: tuple[Callable, Callable] = (
        TextModel(MODEL, half.bfloat16()).encode, lambda texts: whole.encode(texts, normalize_embeddings=True),
    )  # fmt: skip
    asked = [(number, *one) for number, article in enumerate(known) for one in article.questions]
    found = []
    for encode in ways:
        near = encode([question for _, question, _ in asked]) @ encode([text for _, text in chunks]).T
        best = np.argsort(-near, axis=1)[:, :5]
        hits = (
            any(
                Path(chunks[place][0]).stem == str(number)
                and any(answer in chunks[place][1] for answer in answers)
                for place in places
            )
            for (number, _, answers), places in zip(asked, best, strict=True)
        )
        found.append(sum(hits) / len(asked))
    return found[0], found[1]


if __name__ == "__main__":
    sys.exit(main())
