"""Every file of the shared inputs ends as its index says: status, code, words, pages, encoding, digest.

`INGESTION_LONG_TESTS=1` also reads the scans and images, with tesseract where it is installed and with rapidocr.
"""

from pathlib import Path

import pytest

from ingestion_assets.documents.document_chunks import chunks
from ingestion_assets.documents.file_errors import FileError
from ingestion_assets.documents.parsing.quality import score
from ingestion_assets_tests.documents.known_files import KnownFile, known_files, words
from ingestion_assets_tests.documents.test_chunking import LONG, count_tokens

KINDS = (
    "older_pdf",
    "pdf",
    "docx",
    "pptx",
    "xlsx",
    "odt",
    "rtf",
    "epub",
    "msg",
    "html",
    "md",
    "csv",
    "eml",
    "txt",
    "scan",
    "image",
)


def of_name(shared_data: Path, name: str) -> KnownFile:
    return next(one for one in known_files(shared_data) if one.name == name)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_ends_as_its_index_says(shared_data: Path, kind: str) -> None:
    files = [one for one in known_files(shared_data) if one.kind == kind]
    assert files
    assert {one.name: wrong for one in files if (wrong := one.differences())} == {}
    assert not Path(".kreuzberg").exists()  # its cache keeps texts


@pytest.mark.skipif(not LONG, reason="a page takes seconds; INGESTION_LONG_TESTS=1 reads them")
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("kind", ["scan", "image", "pdf"])
def test_scans_and_images_are_read(shared_data: Path, kind: str) -> None:
    files = [one for one in known_files(shared_data) if one.kind == kind and (one.needs_ocr or kind != "pdf")]
    assert {one.name: wrong for one in files if (wrong := one.differences(ocr="auto", timeout_s=1800))} == {}


def test_pages_that_no_engine_reads_are_dropped_and_told(shared_data: Path) -> None:
    """21 of the 23 pages of this review are control characters with pdfium, and their half is missing with pdf_oxide."""
    parsed = of_name(shared_data, "TAMReview.pdf").parsed()
    assert [page.number for page in parsed.pages if page.engine] == [1, 23]
    assert [note.page for note in parsed.warnings if note.code == "page_dropped"] == list(range(2, 23))
    found = chunks(
        parsed, size=1000, overlap=200, max_tokens=256, count_tokens=count_tokens, preserve_structure=True
    )
    assert all(score(chunk.text, needs_language=False)[0] > 0.99 for chunk in found)


def test_a_font_without_a_map_is_read_by_the_second_engine(shared_data: Path) -> None:
    parsed = of_name(shared_data, "contrib_issue-791-non-unicode-cmap.pdf").parsed()
    assert "Peněžní prostředky na účtech" in words(parsed.text)
    assert (parsed.pages[0].engine, parsed.language) == ("pdf_oxide", "cs")


def test_quality_threshold_zero_keeps_every_page(shared_data: Path) -> None:
    parsed = of_name(shared_data, "TAMReview.pdf").parsed(quality_threshold=0.0)
    assert all(page.end > page.start for page in parsed.pages)


def test_a_file_without_one_readable_page_is_of_low_quality(shared_data: Path) -> None:
    with pytest.raises(FileError) as failed:
        of_name(shared_data, "issue18059.pdf").parsed()
    assert (failed.value.code, failed.value.retryable) == ("low_quality", False)


def test_passwords(shared_data: Path) -> None:
    locked = [one for one in known_files(shared_data) if one.passwords]
    assert len(locked) == 4
    for one in locked:
        for passwords, code in (((), "password_required"), (("wrong",), "password_wrong")):
            with pytest.raises(FileError) as failed:
                one.parsed(passwords=passwords)
            assert failed.value.code == code
        assert one.parsed(passwords=("wrong", *one.passwords)).text


def test_formulas_are_latex_or_left_out(shared_data: Path) -> None:
    file = of_name(shared_data, "equations.docx")
    kept, left = file.parsed().text, file.parsed(extract_math=False).text
    assert "this is an inline equation: $A=" in kept
    assert "\\frac" in kept
    assert "$" not in left
    assert "this is an inline equation:" in left


def test_structure_is_found_or_left_out(shared_data: Path) -> None:
    file = of_name(shared_data, "word_tables.docx")
    structured, plain = file.parsed(), file.parsed(preserve_structure=False)
    assert {block.kind for block in structured.blocks} >= {"heading", "table"}
    assert not plain.blocks
    assert "|" not in plain.text
    assert "Header 0.0 Header 0.1" in words(plain.text)


def test_an_outline_gives_a_pdf_its_headings(shared_data: Path) -> None:
    parsed = of_name(shared_data, "bookmark_sample.pdf").parsed()
    assert [block.title for block in parsed.blocks]
    assert all(
        parsed.text[block.start : block.end].casefold().endswith(block.title.casefold())
        for block in parsed.blocks
    )


def test_a_row_with_a_cell_too_many_is_kept_and_told(shared_data: Path) -> None:
    parsed = of_name(shared_data, "csv-too-many-columns.csv").parsed()
    assert [note.code for note in parsed.warnings] == ["uneven_rows"]


def test_an_encoding_that_is_given_wins(shared_data: Path) -> None:
    file = of_name(shared_data, "sample-french-1.txt")
    assert file.parsed(encoding="cp1252").encoding == "cp1252"
    with pytest.raises(FileError) as failed:
        file.parsed(encoding="utf-8")
    assert failed.value.code == "corrupted"
