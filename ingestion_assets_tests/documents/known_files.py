"""The real files of the shared inputs, and what must come of each: their two indexes as one table."""

import hashlib
import json
import unicodedata
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.parsing.parsed_files import Limits, Ocr, ParsedFile, ParseOptions
from ingestion_assets.documents.parsing.sandbox import parse

# What the index of the older PDFs leaves open, or says of engines that are not ours.
_PDFS: dict[str, dict[str, Any]] = {
    "pdfjs__bug1020226.pdf": {"status": "failed", "error": "corrupted"},
    "pdfjs__poppler-395-0-fuzzed.pdf": {"status": "failed", "error": "corrupted"},
    "pdfjs__GHOSTSCRIPT-698804-1-fuzzed.pdf": {"status": "failed", "error": "no_text"},
    "pdfjs__issue15590.pdf": {"status": "failed", "error": "no_text"},
    "pdfjs__issue18059.pdf": {"status": "failed", "error": "low_quality"},  # the alphabet, shifted
    # Vertical text in a font that is not embedded, which pdfium and pdf_oxide leave out: only "Hello" and "World" are read.
    "pdfminer__simple3.pdf": {"contains": ["Hello", "World"]},
    "pypdf__Seige_of_Vicksburg_Sample_OCR.pdf": {"contains": ["Vicksburg"]},
    "sample-files__026-latex-multicolumn_multicolumn.pdf": {
        "contains": ["Donec vehicula augue eu neque", "adipiscing elit"]
    },
    "pypdf__crazyones.pdf": {"contains": ["the crazy ones"]},
    "pdfjs__ArabicCIDTrueType.pdf": {"contains": ["انواع الخطوط العربية"]},
    "pdfjs__noembed-eucjp.pdf": {"contains": ["あいうえお"]},
    "pdfjs__hello_world_rotated.pdf": {"contains": ["Hello"]},
}
_NEEDS_A_LANGUAGE_PACK = {"chi_sim_image.jpeg"}
_LOW_QUALITY_WITHOUT_OCR = {"type3_font_nomapping.pdf"}


@dataclass(frozen=True, kw_only=True)
class KnownFile:
    path: Path
    name: str
    kind: str
    expected: dict[str, Any]
    passwords: tuple[str, ...] = ()

    @property
    def needs_ocr(self) -> bool:
        return self.expected.get("needs") == "ocr"

    def parsed(self, *, ocr: Ocr = "never", timeout_s: float = 300, **options: Any) -> ParsedFile:
        chosen = ParseOptions(**{"ocr": ocr, "passwords": self.passwords, **options})
        return parse(self.path, self.name, chosen, limits=Limits(timeout_s=timeout_s))

    def differences(self, *, ocr: Ocr = "never", timeout_s: float = 300) -> list[str]:
        """What came that should not have, in words; nothing where all is as expected."""
        expected = self.expected
        code = None if expected["status"] == "completed" else expected.get("error", "any")
        if ocr == "never" and self.needs_ocr:
            code = "no_text"
        if ocr != "never" and self.name in _NEEDS_A_LANGUAGE_PACK:
            code = "any"  # garbage is not stored, whichever engine there is
        if ocr == "never" and self.name in _LOW_QUALITY_WITHOUT_OCR:
            code = "low_quality"
        try:
            parsed = self.parsed(ocr=ocr, timeout_s=timeout_s)
        except FileError as error:
            assert error.stage == "parsing"
            assert error.sentence.endswith(".")
            return [] if code in {error.code, "any"} else [f"{error.code}: {error.sentence}"]
        if code not in {None, "any"}:
            return [f"completed, not {code}"]
        return list(self._wrong(parsed))

    def _wrong(self, parsed: ParsedFile) -> Any:
        expected, text = self.expected, words(parsed.text)
        recalled = expected.get("word_recall_at_least")
        if recalled is None:
            yield from (f"without {run!r}" for run in expected.get("contains", ()) if words(run) not in text)
        elif (share := recall(expected["contains"], text)) < recalled:
            yield f"recall {share:.2f}"
        if expected.get("pages", len(parsed.pages)) != len(parsed.pages):
            yield f"{len(parsed.pages)} pages"
        encoding = expected.get("encoding", parsed.encoding)
        if encoding != parsed.encoding and not encoding.endswith("family"):
            yield f"encoding {parsed.encoding}"
        if expected.get("digest", digest(text)) != digest(text):
            yield "another text"
        if "\0" in parsed.text or parsed.text.encode("utf-8", "surrogatepass") != parsed.text.encode(
            "utf-8", "replace"
        ):
            yield "characters that cannot be stored"
        ends = [page.end for page in parsed.pages]
        if (
            any(page.start > page.end for page in parsed.pages)
            or ends != sorted(ends)
            or ends[-1] != len(parsed.text)
        ):
            yield "pages that are not the text's"
        blocks = [place for block in parsed.blocks for place in (block.start, block.end)]
        if blocks != sorted(blocks) or (blocks and blocks[-1] > len(parsed.text)):
            yield "blocks that overlap"


def words(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).split())


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def recall(wanted: list[str], text: str) -> float:
    counted, there = (
        Counter(word for run in wanted for word in run.lower().split()),
        Counter(text.lower().split()),
    )
    return sum(min(count, there[word]) for word, count in counted.items()) / counted.total()


def known_files(shared_data: Path) -> list[KnownFile]:
    """All but the archives, which are sources."""
    folder = shared_data / "documents"
    found = []
    for one in json.loads((folder / "INDEX.json").read_text(encoding="utf-8")):
        contains = [one["expected_text_contains"]] if one["expected_text_contains"] else []
        expected = {"status": "completed", "contains": contains}
        if one["expected_pages"]:
            expected["pages"] = one["expected_pages"]
        expected |= _PDFS.get(one["file"], {})
        found.append(_known(folder, one["file"], "older_pdf", expected, one["password"]))
    for one in json.loads((folder / "INDEX-formats.json").read_text(encoding="utf-8")):
        expected = dict(one["expected"])
        expected["digest"] = expected.pop("text_sha256_nfkc_single_spaced", None) or expected.get("digest")
        found.append(
            _known(
                folder,
                one["file"],
                one["kind"],
                {key: value for key, value in expected.items() if value is not None},
            )
        )
    return [one for one in found if one.kind != "zip"]


def _known(folder: Path, file: str, kind: str, expected: dict[str, Any], password: str = "") -> KnownFile:
    name = file.rpartition("/")[2].partition("__")[2] or file.rpartition("/")[2]
    return KnownFile(
        path=folder / file, name=name, kind=kind, expected=expected, passwords=(password,) if password else ()
    )
