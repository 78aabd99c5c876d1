"""Jobs over documents beside the bare steps that they are made of, and search in a large collection, through the whole stack.

In turns, in one run: 200 text documents from `start` to the last stored file, the same again, the floor, which reads, cuts, embeds, copies
and indexes the same kind of texts with the same model on the same server and knows nothing of jobs, and LlamaIndex's IngestionPipeline. Then
jobs of one page, PDF beside bare pypdfium2, questions to 50,000 chunks; memory beside large files and many, and growth. `--part speed` (`page`,
`pdf`, `search`, `memory`, `growth`) runs some of it alone.
"""

import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from documents_floors import Measured, floor, llama_index, measured
from documents_growth import growth, memory
from documents_large import questions
from documents_stack import Documents, documents_of, files_of
from documents_texts import prose, written
from measuring import Targets, arguments, bench_stack, console, median, quantile, table

from ingestion_assets.documents.parsing.parsed_files import Limits, ParseOptions
from ingestion_assets.documents.parsing.sandbox import parse
from ingestion_assets.documents.sample_documents import FORMATS
from ingestion_assets.embedding.models import text_model
from ingestion_assets.settings import Settings
from ingestion_assets_tests.stacks import RunningStack

DOCUMENTS, ROUNDS, ONE_PAGE_JOBS, PDF_PAGES, CHUNKS, QUESTIONS = 200, 3, 10, 1000, 50_000, 200
MANY, GROWN = 2000, 5000


def main() -> int:
    given = arguments(
        __doc__,
        part="speed, page, pdf, search, memory or growth; several with commas",
        size="documents, or chunks, of the part",
        rounds="of speed",
    )
    targets = Targets()
    rounds = int(given.rounds) if given.rounds else 1 if given.quick else ROUNDS
    parts: dict[str, Callable[[RunningStack, Targets, int], object]] = {
        "speed": partial(speed, rounds=rounds), "page": one_page, "pdf": pdf, "search": search, "memory": memory, "growth": growth,
    }  # fmt: skip
    full = {
        "speed": DOCUMENTS,
        "page": ONE_PAGE_JOBS,
        "pdf": PDF_PAGES,
        "search": CHUNKS,
        "memory": MANY,
        "growth": GROWN,
    }
    with bench_stack(workers_gpu=1, workers_batch=2, document_roots="/tmp") as stack:  # noqa: S108 - the temporary home lies there
        for name in given.part.split(",") if given.part else parts:
            size = int(given.size) if given.size else full[name] // 20 if given.quick else full[name]
            parts[name](stack, targets, max(2, size))
    return targets.verdict()


def speed(stack: RunningStack, targets: Targets, size: int, rounds: int = ROUNDS) -> None:
    model = text_model(None, Settings())
    model.encode(["warm"])
    documents = documents_of(stack, "warm")
    documents.run(documents.job(documents.connect(written(stack.home / "warm", 4, seed=999))))
    others: dict[str, Callable[[Path], int]] = {
        "the floor": lambda folder: floor(stack, model, folder),
        "LlamaIndex, the model in bf16": lambda folder: llama_index(stack, model, folder),
        "LlamaIndex, the model in fp32": lambda folder: llama_index(stack, model, folder, whole=True),
    }
    found: dict[str, list[Measured]] = {name: [] for name in ("a job, start to last file", *others)}
    again = list[float]()
    for number in range(rounds):
        documents = documents_of(stack, f"speed-{number}")
        connection = documents.connect(written(stack.home / f"speed-{number}", size, seed=number))

        def one_job(documents: Documents = documents, connection: str = connection) -> int:
            job, _ = documents.run(documents.job(connection))
            assert job["completed_files"] == size, job
            return sum(file["chunks"] for file in files_of(job))

        found["a job, start to last file"].append(measured(stack, one_job))
        job, seconds = documents.run(documents.job(connection))
        assert job["skipped_files"] == size, job
        again.append(seconds)
        folder = written(stack.home / f"others-{number}", size, seed=1000 + number)
        for name, work in others.items():
            found[name].append(measured(stack, lambda work=work, folder=folder: work(folder)))
        console.print(
            f"round {number}: "
            + "; ".join(
                f"{name} {of[-1].seconds:.1f} s, {of[-1].processor:.1f} s of processors"
                for name, of in found.items()
            )
        )
    ours, *_ = found.values()
    table(
        f"{size} text documents, medians of {rounds} rounds",
        ("", "seconds", "of processors", "texts", "texts a second", "a job takes", "of processors"),
        [(name, *_figures(of, ours)) for name, of in found.items()],
    )
    console.print(f"the same job again: {median(again):.2f} s")
    for name, most in zip(others, (1.3, 0.5, 0.5), strict=True):
        targets.at_most(f"a job beside {name}, median", _ratio(ours, found[name]), most)
    targets.at_most("the same job again", median(again), 2.0, " s")


def _ratio(ours: list[Measured], others: list[Measured], what: str = "seconds") -> float:
    return median(
        [getattr(one, what) / getattr(other, what) for one, other in zip(ours, others, strict=True)]
    )


def _figures(of: list[Measured], ours: list[Measured]) -> tuple[str, ...]:
    seconds, processor = (median([getattr(one, what) for one in of]) for what in ("seconds", "processor"))
    rate = median([one.texts / one.seconds for one in of])
    ratios = (f"{_ratio(ours, of, what):.2f} times" for what in ("seconds", "processor"))
    return f"{seconds:.1f}", f"{processor:.1f}", f"{of[0].texts}", f"{rate:.1f}", *ratios


def one_page(stack: RunningStack, targets: Targets, number: int) -> None:
    seconds = list(jobs_of_one_page(stack, number))
    targets.at_most("a job of one page, p50", median(seconds), 3.0, " s")


def pdf(stack: RunningStack, targets: Targets, pages: int) -> None:
    ours, bare = pages_a_second(stack.home, pages)
    console.print(f"PDF: {ours:.0f} pages a second, by bare pypdfium2 {bare:.0f}")
    targets.at_least("PDF beside bare pypdfium2", ours / bare, 0.5)


def search(stack: RunningStack, targets: Targets, chunks: int) -> None:
    seconds = list(questions(stack, chunks, QUESTIONS))
    console.print(
        f"search in {chunks} chunks: p50 {1000 * median(seconds):.0f} ms, p95 {1000 * quantile(seconds, 0.95):.0f} ms"
    )
    targets.at_most(f"search in {chunks} chunks, p95", 1000 * quantile(seconds, 0.95), 100, " ms")


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


if __name__ == "__main__":
    sys.exit(main())
