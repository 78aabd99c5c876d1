"""What a file cannot do: outlive its limits, harm its neighbours, reach the network, leave a process behind.

Also what parsing costs: memory, and time beside bare pypdfium2.
"""

import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pypdfium2
import pytest

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.parsing.parsed_files import Limits, ParseOptions
from ingestion_assets.documents.parsing.sandbox import MODULE, end_idle, parse
from ingestion_assets.limited_children import Child, StoppedError, limited, networkless
from ingestion_assets_tests.documents.known_files import known_files
from ingestion_assets_tests.documents.test_chunking import LONG
from ingestion_assets_tests.documents.test_known_files import of_name

QUICK = ParseOptions(ocr="never")
ENDS = {
    "timeout",
    "too_large",
    "corrupted",
    "no_text",
    "archive_bomb",
    "out_of_memory",
    "parser_crashed",
    "low_quality",
    "zero_pages",
}


def children(of: psutil.Process | None = None) -> list[psutil.Process]:
    found = []
    for one in (of or psutil.Process()).children(recursive=True):
        try:
            if MODULE in one.cmdline():
                found.append(one)
        except psutil.NoSuchProcess:
            continue
    return found


def wait_until(condition: "threading.Event | object", seconds: float = 10) -> None:
    ends = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < ends, "not in time"
        time.sleep(0.02)


@pytest.mark.parametrize(
    "ocr", ["never", pytest.param("auto", marks=pytest.mark.skipif(not LONG, reason="renders bombs"))]
)
def test_hostile_files_end_in_time_and_harm_no_neighbour(shared_data: Path, ocr: str) -> None:
    hostile = [one for one in known_files(shared_data) if one.kind == "hostile"]
    assert len(hostile) == 9
    timeout_s = 3.0
    for one in hostile:
        began = time.monotonic()
        try:
            one.parsed(ocr=ocr, timeout_s=timeout_s)
        except FileError as error:
            assert error.code in ENDS, one.name
        assert time.monotonic() - began < timeout_s + 5, one.name
        assert of_name(shared_data, "crazyones.pdf").parsed().text


def test_a_child_that_is_killed_costs_no_file(shared_data: Path) -> None:
    """Killed once, the file is parsed anew; killed again, it is the file's fault."""
    file = of_name(shared_data, "pdf2image-memory-error-test-400p.pdf")
    end_idle()

    def kills(times: int) -> str:
        left = [times]

        def progress(page: int, _of: int) -> None:
            if page >= 100 and left[0]:
                for child in children():  # none is left where these are the last words of one
                    child.kill()
                    left[0] -= 1

        return parse(file.path, file.name, QUICK, limits=Limits(), progress=progress).text

    assert kills(1) == kills(0)
    end_idle()
    with pytest.raises(FileError) as failed:
        kills(2)
    assert failed.value.code == "out_of_memory"
    assert failed.value.page


def test_cancelling_ends_the_child_within_seconds(shared_data: Path) -> None:
    file = of_name(shared_data, "bomb240MB.pdf")
    end_idle()
    cancelled = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        parsing = thread.submit(
            parse, file.path, file.name, QUICK, limits=Limits(timeout_s=120), stopped=cancelled.is_set,
            progress=lambda _page, _of: cancelled.set(),
        )  # fmt: skip
        assert cancelled.wait(60)
        began = time.monotonic()
        with pytest.raises(FileError) as failed:
            parsing.result(timeout=30)
    assert failed.value.code == "cancelled"
    assert time.monotonic() - began < 5
    assert not children()


def test_a_child_that_never_stops_talking_is_ended_in_time() -> None:
    for ends, stopped, error in (
        (time.monotonic() + 2, lambda: False, TimeoutError),
        (time.monotonic() + 60, lambda: True, StoppedError),
    ):
        child = Child("ingestion_assets_tests.documents.talking", memory_bytes=2**30)
        began = time.monotonic()
        with pytest.raises(error):
            while True:
                assert child.receive(ends=ends, stopped=stopped) == b"x"
        assert time.monotonic() - began < 7
        assert not child.alive()


def test_a_child_ends_with_its_parent(shared_data: Path) -> None:
    path = of_name(shared_data, "bomb240MB.pdf").path
    code = (
        "import sys; from pathlib import Path; from ingestion_assets.documents.parsing.sandbox import parse\n"
        "from ingestion_assets.documents.parsing.parsed_files import *\n"
        f"parse(Path({str(path)!r}), 'x.pdf', ParseOptions(ocr='never'), limits=Limits(), progress=lambda a, b: print(a, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"1\n"
        (child,) = children(psutil.Process(parent.pid))
        parent.kill()
        parent.wait()
        wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_a_child_has_no_network() -> None:
    if not networkless():
        pytest.skip("this system does not allow a process to give its network up")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        connect = [sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"]
        assert subprocess.run(connect, check=False).returncode == 0
        without = limited(connect, memory_bytes=2**30, network=False)
        assert subprocess.run(without, capture_output=True, check=False).returncode != 0


def test_files_are_parsed_at_once_by_several_threads(shared_data: Path) -> None:
    """As a run's workers do; children outlive the threads that first asked for them."""
    files = [one for one in known_files(shared_data) if one.kind in {"docx", "txt", "csv"}]
    alone = [_outcome(one) for one in files]
    for _ in range(2):
        with ThreadPoolExecutor(4) as threads:
            assert list(threads.map(_outcome, files)) == alone


def _outcome(file: object) -> str:
    try:
        return file.parsed().text  # type: ignore[attr-defined]
    except FileError as error:
        return error.code


def test_a_model_reads_bad_pages_alone_and_only_where_there_is_one(shared_data: Path) -> None:
    file = of_name(shared_data, "TAMReview.pdf")
    asked: list[int] = []

    def model(png: bytes, page: int) -> str | None:
        assert png.startswith(b"\x89PNG")
        asked.append(page)
        return None if page > 4 else f"What the model reads on page {page}, in plain English words."

    parsed = parse(
        file.path, file.name, ParseOptions(ocr="never", max_llm_pages=4), limits=Limits(), llm=model
    )
    assert asked == [2, 3, 4, 5]
    assert [page.number for page in parsed.pages if page.engine == "llm"] == [2, 3, 4]
    asked.clear()
    every = parse(
        file.path,
        file.name,
        ParseOptions(ocr="never", llm_pages="all", max_llm_pages=2),
        limits=Limits(),
        llm=model,
    )
    assert asked == [1, 2]
    assert every.pages[0].engine == "llm"


_MEMORY = """
import resource, sys
from pathlib import Path
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.parsing.sandbox import parse, end_idle
from ingestion_assets.documents.parsing.parsed_files import *
for path in sys.argv[1:]:
    try:
        parse(Path(path), path, ParseOptions(ocr="never"), limits=Limits(timeout_s=20))
    except FileError:
        pass
end_idle()
print(*(resource.getrusage(who).ru_maxrss // 1024 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))
"""


def peaks(*paths: Path) -> tuple[int, int]:
    """Megabytes that the parent and the largest child had."""
    said = subprocess.run(
        [sys.executable, "-c", _MEMORY, *map(str, paths)], capture_output=True, text=True, check=True
    )
    parent, child = map(int, said.stdout.split())
    return parent, child


def test_long_files_take_little_memory(shared_data: Path) -> None:
    small = [of_name(shared_data, name).path for name in ("crazyones.pdf", "sample-french.txt")]
    long = [
        of_name(shared_data, name).path
        for name in ("pdf2image-memory-error-test-400p.pdf", "book-war-and-peace-1225p.txt")
    ]
    idle, busy = peaks(*small), peaks(*long)
    assert busy[0] - idle[0] < 100, (idle, busy)
    assert busy[1] - idle[1] < 200, (idle, busy)


@pytest.mark.skipif(not LONG, reason="bombs take their time")
def test_hostile_files_stay_within_the_memory_that_they_may_have(shared_data: Path) -> None:
    parent, child = peaks(*(one.path for one in known_files(shared_data) if one.kind == "hostile"))
    assert parent < 300
    assert child < Limits().memory_bytes // 2**20


def test_the_parents_memory_stays_flat(tmp_path: Path) -> None:
    count = 2_000 if LONG else 300
    memory = []
    for number in range(count):
        path = tmp_path / "a.txt"
        path.write_text(f"Text number {number}. " * 200, encoding="utf-8")
        parse(path, path.name, QUICK, limits=Limits())
        memory.append(psutil.Process().memory_info().rss)
    tenth = count // 10
    assert max(memory[-tenth:]) <= 1.1 * max(memory[tenth : 2 * tenth])


def test_pdf_pages_are_parsed_at_no_less_than_half_of_pypdfium2s_rate(shared_data: Path) -> None:
    """Time of a processor, in turns: text, cleaning, score and language beside the text alone."""
    path = of_name(shared_data, "pdf2image-memory-error-test-400p.pdf").path
    code = f"""
import time
from pathlib import Path
import pypdfium2
from ingestion_assets.documents.parsing import child
from ingestion_assets.documents.parsing.child_messages import Request
from ingestion_assets.documents.parsing.parsed_files import ParseOptions
child._send = lambda _frame: None
request = Request({str(path)!r}, "a.pdf", ParseOptions(ocr="never"), 10**8, frozenset(), False)
def bare():
    document = pypdfium2.PdfDocument({str(path)!r})
    for number in range(len(document)):
        page = document[number]
        text = page.get_textpage()
        text.get_text_range()
        text.close()
        page.close()
    document.close()
def seconds(work):
    began = time.process_time()
    work()
    return time.process_time() - began
child.parse(request)
pairs = [(seconds(bare), seconds(lambda: child.parse(request))) for _ in range(3)]
print(*(min(times) for times in zip(*pairs)))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    bare, ours = map(float, said.stdout.split())
    assert ours <= 2 * bare, f"{400 / ours:.0f} pages/s beside {400 / bare:.0f}"
    assert len(pypdfium2.PdfDocument(path)) == 400
