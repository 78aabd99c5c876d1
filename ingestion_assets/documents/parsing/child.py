"""The parsing child: answers each `Request` on its standard input. Runs in the processes of `sandbox` alone."""

import io
import os
import resource
import sys
import traceback
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import msgspec

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.parsing import encodings, kinds
from ingestion_assets.documents.parsing.assembling import assemble
from ingestion_assets.documents.parsing.child_messages import (
    FROM_PARENT,
    Done,
    Failed,
    Progress,
    Request,
    Shown,
    Told,
)
from ingestion_assets.documents.parsing.page_texts import Reading, Task, failed
from ingestion_assets.documents.parsing.parsed_files import ParsedFile

GROWN_BYTES = 400 * 2**20
_received = sys.stdin.buffer
_answers = os.fdopen(os.dup(1), "wb")


def parse(request: Request) -> ParsedFile:
    """The file's text. Raises `FileError`."""
    data = Path(request.path).read_bytes()
    if not data:
        raise failed("empty_file", "The file is empty.")
    task = Task(
        data=data, name=request.name, options=request.options, without=request.without, progress=_progress,
        model=_model if request.shows_pages else None,
    )  # fmt: skip
    return assemble(task, _reading(task), request.max_characters)


def _reading(task: Task) -> Reading:
    # Readers are loaded when a file first needs them: kreuzberg alone is 100 MB, markitdown takes seconds.
    kind = kinds.binary_kind(task.data, _archive(task.data))
    if kind == "encrypted":
        task, kind = _decrypted(task)
    if kind == "pdf":
        from ingestion_assets.documents.parsing import pdf  # noqa: PLC0415

        return pdf.read(task)
    if kind in kinds.IMAGES:
        from ingestion_assets.documents.parsing import ocr  # noqa: PLC0415

        return ocr.read(task, kind)
    from ingestion_assets.documents.parsing import mail, office, plain_texts  # noqa: PLC0415

    if kind == "pptx":
        return office.read_slides(task)
    if kind is not None:
        return office.read(task, kind)
    text, encoding = encodings.decode(task.data, task.options.encoding)
    kind = kinds.text_kind(text, task.name)
    if kind == "html":
        return office.read_html(task, text, encoding)
    if kind == "eml":
        return mail.read(task, text, encoding)
    return plain_texts.read(task, kind, text, encoding)


def _archive(data: bytes) -> zipfile.ZipFile | None:
    with suppress(zipfile.BadZipFile, ValueError, NotImplementedError):
        return zipfile.ZipFile(io.BytesIO(data)) if data.startswith(b"PK") else None
    return None


def _decrypted(task: Task) -> tuple[Task, str]:
    import msoffcrypto  # noqa: PLC0415 - few files need it

    if not task.options.passwords:
        raise failed(
            "password_required",
            "The office document needs a password; give it in source_specific_options.passwords.",
        )
    for password in task.options.passwords:
        opened = io.BytesIO()
        with suppress(Exception):  # wrong passwords and damaged files raise of many kinds
            file = msoffcrypto.OfficeFile(io.BytesIO(task.data))
            file.load_key(password=password)
            file.decrypt(opened)
            data = opened.getvalue()
            kind = kinds.binary_kind(data, _archive(data))
            if kind is not None:
                return replace(task, data=data), kind
    raise failed("password_wrong", "None of the given passwords opens the office document.")


def _progress(page: int, of: int, engine: str) -> None:
    _send(Progress(page, of, engine))


def _model(png: bytes, page: int) -> str | None:
    _send(Shown(page, png))
    told = _receive()
    return told.text if isinstance(told, Told) else None


def _send(frame: Progress | Shown | Done | Failed) -> None:
    data = msgspec.msgpack.encode(frame)
    _answers.write(len(data).to_bytes(4, "big") + data)
    _answers.flush()


def _receive() -> Request | Told | None:
    size = _received.read(4)
    return FROM_PARENT.decode(_received.read(int.from_bytes(size, "big"))) if size else None


def _answer(request: Request) -> Done | Failed:
    try:
        parsed = parse(request)
    except FileError as error:
        return Failed(error.code, error.sentence, error.page, _grown())
    except MemoryError:
        return Failed("out_of_memory", "The parser needs more memory than a file may have.", None, True)
    except RecursionError:
        return Failed("corrupted", "The file is nested too deeply to be read.", None, True)
    except Exception as error:  # a file of any kind may come; the place is told, its content never
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{type(error).__name__} in {Path(frame.filename).name}, line {frame.lineno}"
        return Failed("parser_crashed", f"The parser fails at this file: {place}.", None, True)
    return Done(parsed, _grown())


def _grown() -> bool:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() > GROWN_BYTES


def serve() -> None:
    """Answer until the input ends."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)  # engines print complaints to the standard output, between the frames
    while isinstance(request := _receive(), Request):
        answer = _answer(request)
        _send(answer)
        if answer.last:
            os._exit(0)


if __name__ == "__main__":
    serve()
