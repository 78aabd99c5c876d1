"""A file parsed in a child process with limits of memory and time; what the child dies of costs this file alone.

A child is kept for the next files. One that dies is replaced, and the file tried once more in a new one: without the second engine
or the OCR where it died of those, so that what the first engine read is not lost.
"""

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ingestion_assets.documents.file_errors import Code, FileError
from ingestion_assets.documents.parsing.child_messages import (
    FROM_CHILD,
    Done,
    Failed,
    Progress,
    Request,
    Shown,
    Told,
)
from ingestion_assets.documents.parsing.parsed_files import Limits, ParsedFile, ParseOptions
from ingestion_assets.limited_children import Child, ChildEndedError, StoppedError

MODULE = "ingestion_assets.documents.parsing.child"
OPTIONAL_ENGINES = frozenset({"pdf_oxide", "tesseract", "rapidocr"})
MOST_FILES, MOST_IDLE = 50, 8
FILE_BYTES = 2**27  # libraries unpack their models into unnamed files
_ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "RAYON", "OPENBLAS", "MKL")} | {
    "TOKIO_WORKER_THREADS": "1",
    "OMP_THREAD_LIMIT": "1",
}
_BY_SIGNAL: dict[int, tuple[Code, str]] = {
    -signal.SIGABRT: ("out_of_memory", "The parser needs more memory than a file may have."),
    -signal.SIGKILL: ("out_of_memory", "The system ended the parser, as it does where memory runs out."),
}

_idle: list["_Parser"] = []
_lock = threading.Lock()


class _Parser:
    """A child and what it was used for."""

    def __init__(self, memory_bytes: int) -> None:
        self.memory_bytes, self.files = memory_bytes, 0
        self.child = Child(
            MODULE, memory_bytes=memory_bytes, file_bytes=FILE_BYTES, network=False, environment=_ONE_THREAD
        )


def parse(
    path: Path,
    name: str,
    options: ParseOptions,
    *,
    limits: Limits,
    stopped: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int], None] = lambda _page, _of: None,
    llm: Callable[[bytes, int], str | None] | None = None,
) -> ParsedFile:
    """The text of the file at `path`, called `name` at its source. Any thread may call it.

    `progress` is told the furthest page that was begun, and the pages in all. `llm` reads a page from its image (PNG bytes, page number) or gives None
    where it has had enough; without it no page is shown to a model. Raises `FileError`: `cancelled` where `stopped` said so, all else
    by what is wrong with the file.
    """
    ends = time.monotonic() + limits.timeout_s
    request = Request(
        str(path), name, options, limits.max_characters, frozenset(), shows_pages=llm is not None
    )
    deaths = reached = 0
    while True:
        at = Progress(0, 0, "")
        parser = _take(limits.memory_bytes, fresh=deaths > 0)
        try:
            parser.child.send(msgspec.msgpack.encode(request))
            while not isinstance(answer := _answer(parser, ends, stopped), Done | Failed):
                if isinstance(answer, Progress):
                    at = answer
                    reached = max(reached, at.page)  # an engine may go back to pages that another has read
                    progress(reached, at.of)
                else:
                    told = Told(llm(answer.png, answer.page) if llm else None)
                    parser.child.send(msgspec.msgpack.encode(told))
        except StoppedError:
            raise FileError(
                "cancelled", "parsing", "The job was cancelled while the file was parsed."
            ) from None
        except TimeoutError:
            raise FileError("timeout", "parsing", _late(limits, at), page=at.page or None) from None
        except ChildEndedError as ended:
            deaths += 1
            if at.engine in OPTIONAL_ENGINES - request.without:
                request = msgspec.structs.replace(request, without=request.without | {at.engine})
            elif deaths > 1:
                code, sentence = _BY_SIGNAL.get(
                    ended.code, ("parser_crashed", "The parser dies of this file, twice.")
                )
                raise FileError(code, "parsing", sentence, page=at.page or None) from None
            continue
        except BaseException:
            parser.child.end()
            raise
        _give_back(parser, last=answer.last)
        if isinstance(answer, Failed):
            raise FileError(answer.code, "parsing", answer.sentence, page=answer.page)
        return answer.parsed


def _answer(parser: _Parser, ends: float, stopped: Callable[[], bool]) -> Progress | Shown | Done | Failed:
    return FROM_CHILD.decode(parser.child.receive(ends=ends, stopped=stopped))


def _late(limits: Limits, at: Progress) -> str:
    where = f" at page {at.page} of {at.of}" if at.page else ""
    return f"Parsing took longer than {limits.timeout_s:g} s and was ended{where}; timeout_seconds sets this limit."


def _take(memory_bytes: int, *, fresh: bool) -> _Parser:
    with _lock:
        while _idle and not fresh:
            parser = _idle.pop()
            if parser.memory_bytes == memory_bytes and parser.child.alive():
                return parser
            parser.child.end()
    return _Parser(memory_bytes)


def _give_back(parser: _Parser, *, last: bool) -> None:
    parser.files += 1
    with _lock:
        if not last and parser.files < MOST_FILES and len(_idle) < MOST_IDLE:
            _idle.append(parser)
            return
    parser.child.end()


def end_idle() -> None:
    """End the children that wait for a file."""
    with _lock, contextlib.suppress(IndexError):
        while True:
            _idle.pop().child.end()
