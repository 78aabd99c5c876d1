"""What documents cost when there are many of them, and the memory that many and large ones take."""

import random
import statistics
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from documents_stack import Documents, documents_of, files_of
from documents_texts import prose
from measuring import RunningStack, Targets, console, median, memory_mb

from ingestion_assets.documents.sample_documents import FORMATS

A_JOB = 50
LOOK_S = 0.25


def short(folder: Path, number: int, *, seed: int) -> Path:
    """A folder with so many text files of a chunk each."""
    chance = random.Random(seed)
    folder.mkdir()
    for place in range(number):
        (folder / f"{place}.txt").write_text(prose(chance, 1)[0][:500], encoding="utf-8")
    return folder


def growth(stack: RunningStack, targets: Targets, size: int) -> None:
    """Seconds of jobs of 50 documents when a user has none yet, and when there are as many as `size`."""
    documents = documents_of(stack, "growth")

    def some(name: str, number: int) -> float:
        folder = short(stack.home / name, number, seed=zlib.crc32(name.encode()))
        job, seconds = documents.run(documents.job(documents.connect(folder)))
        assert job["completed_files"] == number, job
        return seconds

    some("growth-warm", A_JOB)
    few = [some(f"growth-few-{place}", A_JOB) for place in range(3)]
    filled = [some(f"growth-{start}", min(500, size - start)) for start in range(0, size, 500)]
    many = [some(f"growth-many-{place}", A_JOB) for place in range(3)]
    console.print(
        f"{A_JOB} documents: {median(few):.2f} s after {A_JOB}, {median(many):.2f} s after {size}; "
        f"500 documents: {filled[0]:.1f} s first, {filled[-1]:.1f} s last"
    )
    targets.at_most(f"document {size} beside document {A_JOB}", median(many) / median(few), 1.2)


def memory(stack: RunningStack, targets: Targets, size: int) -> None:
    """Of the workers that run jobs, with the parsers that they start: over many files, and beside large ones."""
    documents = documents_of(stack, "memory")
    _stored(documents, short(stack.home / "memory-warm", 20, seed=1))
    with sampled(stack) as over_many:
        _stored(documents, short(stack.home / "memory-many", size, seed=2))
    tenth = max(1, len(over_many) // 10)
    early, late = (statistics.mean(one) for one in (over_many[tenth : 2 * tenth], over_many[-tenth:]))
    console.print(f"{size} files: {early:.0f} MB in the second tenth, {late:.0f} MB in the last")
    targets.at_most(f"memory over {size} files, the last tenth beside the second", late / early, 1.1)
    chance = random.Random(4)
    pages = FORMATS["pdf"](("Long", prose(chance, 1600)))
    text = "\n\n".join(prose(chance, 100) * 28).encode()[
        :3_200_000
    ]  # the same texts again and again: their vectors are known
    for name, content in (("400 pages.pdf", pages), ("3.2 MB.txt", text)):
        folder = stack.home / name.replace(" ", "-")
        folder.mkdir()
        (folder / name).write_bytes(content)
        idle = _memory(stack)
        with sampled(stack) as beside:
            job = _stored(documents, folder)
        (file,) = files_of(job)
        console.print(
            f"{name}: {file['pages']} pages, {file['chunks']} chunks; {idle:.0f} MB idle, {max(beside):.0f} MB most"
        )
        targets.at_most(f"{name}, above idle", max(beside) - idle, 200, " MB")


def _stored(documents: Documents, folder: Path) -> dict:
    job, _ = documents.run(documents.job(documents.connect(folder)))
    assert job["status"] == "completed", job
    return job


def _memory(stack: RunningStack) -> float:
    try:
        return memory_mb(stack.pid_of("worker-batch"))
    except psutil.NoSuchProcess:  # a parser that ended meanwhile
        return _memory(stack)


@contextmanager
def sampled(stack: RunningStack) -> Iterator[list[float]]:
    """Memory in MB, again and again while the block runs."""
    found: list[float] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK_S):
            found.append(_memory(stack))

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
