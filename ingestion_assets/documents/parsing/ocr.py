"""Text of images: tesseract where it is installed, else rapidocr, whose models come with its wheel.

An image that gives few or doubtful words is tried turned; the turn with the best words is taken.
"""

import io
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

from ingestion_assets.documents.parsing import characters
from ingestion_assets.documents.parsing.kinds import MIMES
from ingestion_assets.documents.parsing.page_texts import PageText, Reading, Task, failed

TESSERACT_CPU_S = 120  # a dense page takes 5; the time that a file may take is the parent's to watch
GOOD_CONFIDENCE, FEW_CHARACTERS = 0.75, 12
MOST_LANGUAGES = 4
MOST_FRAMES = 1000  # pages of a fax; what moves is read as it begins
MOST_PIXELS = 400_000_000  # of an image file; one of 1 Gpixel fits into kilobytes
LONG_SIDE = 3000
_EXTENDED = {"osd", "equ"}


def read(task: Task, kind: str) -> Reading:
    """An image file. Raises `FileError` where it cannot be opened."""
    return Reading(mime=MIMES[kind], pages=_frames(task, kind), garbles=True)


def _frames(task: Task, kind: str) -> Any:
    if task.options.ocr == "never":
        raise failed("no_text", 'The file is an image, and the option ocr is "never".')
    Image.MAX_IMAGE_PIXELS = MOST_PIXELS // 2  # twice of it is an error
    try:
        with Image.open(io.BytesIO(task.data)) as opened:
            count = min(MOST_FRAMES, getattr(opened, "n_frames", 1)) if kind == "tiff" else 1
            for number in range(count):
                opened.seek(number)
                opened.draft("L", (LONG_SIDE, LONG_SIDE))
                upright = ImageOps.exif_transpose(opened)
                upright.thumbnail((LONG_SIDE, LONG_SIDE))
                yield read_image(task, _flat(upright), number + 1, count)
    except Image.DecompressionBombError:
        raise failed("too_large", f"The image has more than {MOST_PIXELS:,} pixels.") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        raise failed("corrupted", "The image is damaged.") from None


def _flat(image: Image.Image) -> Image.Image:
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        whole = image.convert("RGBA")
        paper = Image.new("RGBA", whole.size, "white")
        return Image.alpha_composite(paper, whole).convert("L")
    return image.convert("L")


def read_image(task: Task, image: Image.Image, page: int, of: int) -> PageText:
    """The words of a grey image."""
    if image.getextrema()[0] == image.getextrema()[1]:
        return PageText("", "")
    engine = "tesseract" if installed_languages() and "tesseract" not in task.without else "rapidocr"
    if engine in task.without:
        raise failed("ocr_unavailable", "Both OCR engines die of this file.", page)
    task.progress(page, of, engine)
    read_once = _tesseract if engine == "tesseract" else _rapidocr
    best = read_once(task, image)
    if best.sure:
        return best.page(engine)
    for turn in (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180):
        other = read_once(task, image.transpose(turn))
        if other.worth > best.worth:
            best = other
        if other.sure:
            break
    return best.page(engine)


@dataclass(frozen=True)
class _Words:
    text: str
    confidence: float

    @property
    def sure(self) -> bool:
        return self.confidence >= GOOD_CONFIDENCE and len(self.text) >= FEW_CHARACTERS

    @property
    def worth(self) -> float:
        return self.confidence**2 * len(self.text)

    def page(self, engine: str) -> PageText:
        return PageText(characters.letters(self.text), engine, self.confidence)


@cache
def installed_languages() -> tuple[str, ...]:
    """Tesseract's languages; none where it is not installed."""
    program = shutil.which("tesseract")
    if program is None:
        return ()
    said = subprocess.run([program, "--list-langs"], capture_output=True, text=True, check=False)
    return tuple(
        one for one in said.stdout.splitlines()[1:] if one and one not in _EXTENDED and "/" not in one
    )


def _tesseract(task: Task, image: Image.Image) -> _Words:
    installed = installed_languages()
    wanted = (
        task.options.ocr_languages
        or tuple(sorted(installed, key=lambda one: (one != "eng", one)))[:MOST_LANGUAGES]
    )
    if missing := [one for one in wanted if one not in installed]:
        raise failed(
            "ocr_unavailable",
            f"Tesseract has no language pack {', '.join(missing)}; installed: {', '.join(installed)}.",
        )
    limits = ["prlimit", f"--cpu={TESSERACT_CPU_S}", "--", "setpriv", "--pdeathsig", "KILL", "--"]
    command = [*limits, "tesseract", "stdin", "stdout", "-l", "+".join(wanted), "--psm", "1", "tsv"]
    said = subprocess.run(command, input=png(image), capture_output=True, check=False)
    return _from_tsv(said.stdout.decode("utf-8", "replace"))


def _from_tsv(table: str) -> _Words:
    """Words, a line for each of their lines, a blank one between paragraphs."""
    parts: list[str] = []
    sureness, characters, last = 0.0, 0, ("", "", "")
    for row in table.splitlines()[1:]:
        fields = row.split("\t")
        if len(fields) < 12 or fields[0] != "5" or not (word := fields[11].strip()):
            continue
        place = fields[2], fields[3], fields[4]
        parts += [] if not parts else [" " if place == last else "\n" if place[:2] == last[:2] else "\n\n"]
        parts.append(word)
        last = place
        sureness += max(0.0, float(fields[10])) * len(word)
        characters += len(word)
    return _Words("".join(parts), sureness / characters / 100 if characters else 0.0)


@cache
def _engine() -> Any:
    from rapidocr import RapidOCR  # noqa: PLC0415 - seconds, and 800 MB

    return RapidOCR(
        params={"Global.log_level": "critical", "EngineConfig.onnxruntime.intra_op_num_threads": 1}
    )


def _rapidocr(_task: Task, image: Image.Image) -> _Words:
    import numpy as np  # noqa: PLC0415 - needed here alone

    found = _engine()(np.asarray(image.convert("RGB")))
    if not found.txts:
        return _Words("", 0.0)
    characters = sum(map(len, found.txts)) or 1
    sureness = sum(sure * len(text) for sure, text in zip(found.scores, found.txts, strict=True))
    return _Words("\n".join(found.txts), sureness / characters)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
